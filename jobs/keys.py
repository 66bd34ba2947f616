"""The secret key: from the environment, or a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from deid_ops.errors import SetupError

KEY_VARIABLE = "DEID_KEY"
KEY_BYTES = 32


def key_from_environment() -> bytes:
    """Return the key in `DEID_KEY` (64 hex digits).

    Raises:
        SetupError: it is missing or malformed; the value is never printed.
    """
    text = os.environ.get(KEY_VARIABLE, "")
    if not text:
        raise SetupError(
            f"{KEY_VARIABLE} is not set. It decides which synthetic face a person gets and must "
            f"stay secret and the same between runs. Make one with: "
            f'{KEY_VARIABLE}=$(python3 -c "import secrets; print(secrets.token_hex(32))")'
        )
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SetupError(f"{KEY_VARIABLE} must be {2 * KEY_BYTES} hex digits")
    return key


def key_from_file(path: Path) -> bytes:
    """Return the key in a file, made on first use with access for its owner only.

    Raises:
        SetupError: the file holds something else, or others may read it.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(secrets.token_hex(KEY_BYTES))
    if path.stat().st_mode & 0o077:
        raise SetupError(f"{path}: others may read the key. Run: chmod 600 {path}")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (ValueError, UnicodeDecodeError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SetupError(f"{path}: expected {2 * KEY_BYTES} hex digits")
    return key


def key_of_run(key_file: Path | None) -> bytes:
    """Return the key of a scheduled run: from the file where one is named, else `DEID_KEY`."""
    return key_from_file(key_file) if key_file is not None else key_from_environment()
