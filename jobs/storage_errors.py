"""Names for what storage does wrong."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import aiohttp
from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    ClientError,
    NoCredentialsError,
)

from deid_ops.errors import InputError, RetryableError, SetupError

_TRANSIENT_ERRNO = frozenset({errno.EIO, errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT, errno.ESTALE})


@contextmanager
def named_errors(uri: str, *, writing: bool = False) -> Iterator[None]:
    """Translate what file systems and botocore raise into the project's own errors.

    While reading, a missing or denied object is that object's fault (`InputError`); while
    `writing`, it means that the destination was set up wrongly (`SetupError`).
    """
    try:
        yield
    except FileNotFoundError as error:
        if writing:
            raise SetupError(f"{uri}: the bucket or folder to write to does not exist") from error
        missing(uri, error)
    except PermissionError as error:
        if writing:
            raise SetupError(f"{uri}: the store refuses to be written by this job") from error
        raise InputError(
            "source_denied", uri, "the store refuses access", "grant this job's role the access"
        ) from error
    except NoCredentialsError as error:
        raise SetupError(
            f"{uri}: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run "
            "under a role"
        ) from error
    except (BotoCoreError, ClientError, aiohttp.ClientError) as error:
        raise RetryableError(f"{uri}: {error}") from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError(f"{uri}: no space left on the device") from error
        if error.errno is None or error.errno in _TRANSIENT_ERRNO:
            raise RetryableError(f"{uri}: {error}") from error
        raise SetupError(f"{uri}: {error}") from error


def missing(uri: str, cause: OSError | None = None) -> NoReturn:
    """Raise the error of an object that is not there."""
    raise InputError(
        "source_missing", uri, "no object lies there", "check the address in the manifest"
    ) from cause


def mismatch(subject: str, expected: str, found: str) -> NoReturn:
    """Raise the error of content with another checksum than promised."""
    raise InputError(
        "checksum_mismatch",
        subject,
        f"expected sha256 {expected}, found {found}",
        "copy the file again or correct the manifest",
    )


def check_content(
    uri: str, n_bytes: int, expect_bytes: int, sha256: str, expect_sha256: str | None
) -> None:
    """Compare size and, where one is expected, checksum.

    Raises:
        InputError: `truncated_transfer` or `checksum_mismatch`.
    """
    if n_bytes != expect_bytes:
        raise InputError(
            "truncated_transfer",
            uri,
            f"expected {expect_bytes} bytes, found {n_bytes}",
            "copy the file again",
        )
    if expect_sha256 is not None and sha256 != expect_sha256:
        mismatch(uri, expect_sha256, sha256)
