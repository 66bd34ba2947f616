"""The two embedded engines: DuckDB with its delta extension, and DataFusion inside delta-rs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
from botocore.session import Session  # type: ignore[import-untyped]
from deltalake import QueryBuilder
from deltalake.exceptions import DeltaError

from deid_ops.errors import SetupError
from jobs.lake.tables import Lake
from jobs.s3_env import s3_endpoint, s3_region
from schemas.tables import TABLES

if TYPE_CHECKING:
    from jobs.sql import Statement


class DuckDbEngine:
    """DuckDB over one lake."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def run(self, sql: str) -> pa.Table:
        """Return the rows of one query; `SetupError` if DuckDB refuses it."""
        try:
            return self._connection.execute(sql).to_arrow_table()
        except duckdb.Error as error:
            raise SetupError(f"DuckDB: {error}") from error


class DataFusionEngine:
    """DataFusion over one lake."""

    def __init__(self, builder: QueryBuilder) -> None:
        self._builder = builder

    def run(self, sql: str) -> pa.Table:
        """Return the rows of one query; `SetupError` if DataFusion refuses it."""
        try:
            return pa.table(self._builder.execute(sql).read_all())
        except (DeltaError, OSError, ValueError) as error:
            raise SetupError(f"DataFusion: {error}") from error


@contextmanager
def duckdb_engine(lake: Lake, views: Mapping[str, Statement]) -> Iterator[DuckDbEngine]:
    """Open DuckDB with the tables and views of a lake; works without a network."""
    with duckdb.connect() as connection:
        for name in ("delta", "httpfs") if lake.root.startswith("s3://") else ("delta",):
            connection.execute(f"LOAD {_quoted(_extension_file(name))}")
        connection.execute("SET TimeZone = 'UTC'")
        if lake.root.startswith("s3://"):
            connection.execute(_s3_secret())
        for table in TABLES:
            uri = _quoted(lake.table_uri(table.name))
            # Pinned: all queries of this connection see one version, read once.
            attached = f"delta_{table.name}"
            connection.execute(f"ATTACH {uri} AS {attached} (TYPE delta, PIN_SNAPSHOT)")
            connection.execute(
                f"CREATE VIEW {table.name} AS SELECT * FROM {attached}"  # noqa: S608  our own names
            )
        engine = DuckDbEngine(connection)
        for view in views.values():
            engine.run(f"CREATE VIEW {view.name} AS {view.sql}")
        yield engine


@contextmanager
def datafusion_engine(lake: Lake, views: Mapping[str, Statement]) -> Iterator[DataFusionEngine]:
    """Open DataFusion with the tables and views of a lake."""
    builder = QueryBuilder()
    for table in TABLES:
        builder.register(table.name, lake.open(table.name))
    engine = DataFusionEngine(builder)
    for view in views.values():
        engine.run(f"CREATE VIEW {view.name} AS {view.sql}")
    yield engine


def _extension_file(name: str) -> str:
    """Return the extension that the package `duckdb-extension-{name}` carries.

    Raises:
        SetupError: the package is missing or made for another DuckDB.
    """
    version = f"v{duckdb.__version__}"
    try:
        folder: Any = files(f"duckdb_extension_{name}")
    except ModuleNotFoundError as error:
        raise SetupError(
            f"install duckdb-extension-{name}=={duckdb.__version__} to read the lake with DuckDB"
        ) from error
    file = folder / "extensions" / version / f"{name}.duckdb_extension"
    if not file.is_file():
        raise SetupError(
            f"duckdb-extension-{name} has no build for DuckDB {duckdb.__version__}; install the "
            "same version of both"
        )
    return str(file)


def _s3_secret() -> str:
    """Return the statement that gives DuckDB what botocore finds in the environment."""
    found = Session().get_credentials()
    parts = ["TYPE s3", f"REGION {_quoted(s3_region())}"]
    if found is not None:
        keys = found.get_frozen_credentials()
        parts += [f"KEY_ID {_quoted(keys.access_key)}", f"SECRET {_quoted(keys.secret_key)}"]
        if keys.token:
            parts.append(f"SESSION_TOKEN {_quoted(keys.token)}")
    endpoint = s3_endpoint()
    if endpoint:
        address = urlsplit(endpoint)
        parts += [
            f"ENDPOINT {_quoted(address.netloc)}",
            "URL_STYLE 'path'",
            f"USE_SSL {'true' if address.scheme == 'https' else 'false'}",
        ]
    return f"CREATE SECRET lake ({', '.join(parts)})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
