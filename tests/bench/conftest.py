"""Ratios of two ways of doing the same, measured in one run and printed at its end.

`pytest tests/bench -m bench`. No test here can fail for being slow: seconds depend on the machine
and its neighbours. What can fail is that both ways do the same.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

_LINES = pytest.StashKey[list[str]]()
ROUNDS = 3

Compare = Callable[[str, Callable[[], object], Callable[[], object]], None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_LINES] = []


@pytest.fixture(scope="session")
def compare(pytestconfig: pytest.Config) -> Compare:
    """Return `compare(what, first, second)`: times both, in turns; prints first over second.

    Turns, so that a neighbour slows both; the median of the rounds' ratios, beside the extremes.
    """

    def measure(what: str, first: Callable[[], object], second: Callable[[], object]) -> None:
        ratios, seconds = [], []
        for _ in range(ROUNDS):
            pair = [_seconds(first), _seconds(second)]
            ratios.append(pair[0] / pair[1])
            seconds.append(pair)
        medians = (statistics.median(s[i] for s in seconds) for i in range(2))
        pytestconfig.stash[_LINES].append(
            f"{statistics.median(ratios):6.2f} [{min(ratios):.2f}, {max(ratios):.2f}]  {what}"
            + " ({:.3f} s over {:.3f} s)".format(*medians)
        )

    return measure


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if config.stash[_LINES]:
        terminalreporter.section(f"time ratios, medians of {ROUNDS} rounds [smallest, largest]")
        for line in config.stash[_LINES]:
            terminalreporter.write_line(line)
