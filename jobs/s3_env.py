"""Addresses, and the S3 settings of the environment as each library wants them."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from deid_ops.errors import SetupError


def normalize_uri(uri: str) -> str:
    """Return `s3://bucket/key` or an absolute local path, without a trailing slash.

    Raises:
        SetupError: any other scheme.
    """
    parts = urlsplit(uri)
    if parts.scheme in {"s3", "s3a"}:
        return f"s3://{parts.netloc}{posixpath.normpath(parts.path or '/')}".rstrip("/")
    if parts.scheme == "file":
        return str(Path(unquote(parts.path)).absolute())
    if "://" not in uri:
        return os.path.normpath(Path(uri).expanduser().absolute())
    raise SetupError(f"{uri}: scheme {parts.scheme!r} is not supported; use a path or s3://")


def delta_storage_options(root: str) -> dict[str, str]:
    """Return delta-rs storage options for a root, from the environment; empty for a local path.

    Commits on S3 rely on conditional puts (`If-None-Match`), which delta-rs uses by itself.
    """
    if not root.startswith("s3://"):
        return {}
    options = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("AWS_") and name not in {"AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"}
    }
    endpoint = s3_endpoint()
    options["AWS_REGION"] = s3_region()
    if endpoint:
        options["AWS_ENDPOINT_URL"] = endpoint
        options["AWS_ALLOW_HTTP"] = "true" if endpoint.startswith("http://") else "false"
    return options


def s3_endpoint() -> str | None:
    """Return the endpoint of an S3-compatible store, or None for the public service."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def s3_region() -> str:
    """Return the region; S3-compatible stores take any name."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def s3fs_options() -> dict[str, Any]:
    """Return the arguments of s3fs; credentials are left to botocore's own chain."""
    options: dict[str, Any] = {"client_kwargs": {"region_name": s3_region()}}
    endpoint = s3_endpoint()
    if endpoint:
        options["endpoint_url"] = endpoint
    return options
