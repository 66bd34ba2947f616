"""What the sub-commands share: options, logging, exit codes."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from deid_ops.errors import DeidError, InputError, RetryableError
from jobs.config import JobConfig, load_config

EXIT_FAILED = 1
EXIT_QUARANTINED = 3

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file; see configs/. Defaults where absent.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value, over the file. May be given several times."),
]
LakeOption = Annotated[str, typer.Option("--lake", help="Root of tables and clips; path or s3://")]
KeyFileOption = Annotated[
    Path | None,
    typer.Option("--key-file", help="Secret key, made on first use. Default: DEID_KEY."),
]
ScratchOption = Annotated[
    Path | None, typer.Option("--scratch", help="Local folder for downloads and clips in work.")
]


def config_of(path: Path | None, overrides: list[str] | None) -> JobConfig:
    """Return the resolved configuration of a command."""
    return load_config(path, tuple(overrides or ()))


@contextmanager
def scratch_folder(given: Path | None) -> Iterator[Path]:
    """Yield the scratch folder; a temporary one is removed at the end."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="deid-") as folder:
        yield Path(folder)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; never more of a message than its text."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        return json.dumps(entry, ensure_ascii=False)


def set_up_logging(*, verbose: bool) -> None:
    """Log to stderr: plain text on a terminal, JSON lines otherwise."""
    handler = logging.StreamHandler(sys.stderr)
    if sys.stderr.isatty():
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    else:
        handler.setFormatter(JsonFormatter())
    root = logging.getLogger("deid")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if verbose else logging.WARNING)


@contextmanager
def named_failures() -> Iterator[None]:
    """Print the project's own errors as one message and exit 1 (3 for a refused input)."""
    try:
        yield
    except InputError as error:
        typer.echo(f"refused: {error}", err=True)
        raise typer.Exit(EXIT_QUARANTINED) from error
    except RetryableError as error:
        typer.echo(f"failed, and may succeed when tried again: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from error
    except DeidError as error:
        typer.echo(f"failed: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from error
