"""Portraits and looks: the file that ships, and what each tone colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deid_ops.errors import SetupError
from jobs.fleet.portraits import ASTRONAUT, Look, Portrait, dress

FOREHEAD, HAIR, SUIT = (88, 230), (40, 230), (300, 150)


def test_the_portrait_ships_with_a_dependency() -> None:
    assert ASTRONAUT.read().shape == (512, 512, 3)


def test_a_missing_portrait_names_the_remedy() -> None:
    with pytest.raises(SetupError, match=r"constraints\.txt"):
        replace(ASTRONAUT, file="data/nobody.png").path()


def test_a_damaged_portrait_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    monkeypatch.setattr(Portrait, "path", lambda _: broken)
    with pytest.raises(SetupError, match="install the package again"):
        ASTRONAUT.read()


def test_a_plain_look_is_the_portrait() -> None:
    np.testing.assert_array_equal(dress(ASTRONAUT, Look()), ASTRONAUT.read())


@pytest.mark.parametrize(
    ("look", "coloured"),
    [
        (Look(tone_bgr=(0.5, 0.5, 0.5)), {FOREHEAD, HAIR, SUIT}),
        (Look(hair_bgr=(0.5, 0.5, 0.5)), {HAIR}),
        (Look(clothes_bgr=(0.5, 0.5, 0.5)), {SUIT}),
    ],
)
def test_tones_colour_their_part(look: Look, coloured: set[tuple[int, int]]) -> None:
    before, after = ASTRONAUT.read(), dress(ASTRONAUT, look)
    for place in (FOREHEAD, HAIR, SUIT):
        share = 0.5 if place in coloured else 1.0
        np.testing.assert_allclose(after[place], share * before[place], atol=1.5)
