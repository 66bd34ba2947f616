"""Spark over the lake, reading only: `delta-spark` with jars from Maven Central, on a local JVM.

Spark needs a JDK of version 17 and, the first time, Maven Central; the jars stay in Ivy's cache.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from deid_ops.errors import SetupError
from jobs.lake.tables import Lake
from jobs.s3_env import s3_endpoint, s3_region
from schemas.ddl import spark_ddl
from schemas.tables import TABLES

if TYPE_CHECKING:
    from jobs.sql import Statement

HADOOP_AWS = "org.apache.hadoop:hadoop-aws:3.5.0"  # the Hadoop that Spark 4.2 is built with


class SparkEngine:
    """A Spark session over one lake."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, sql: str) -> pa.Table:
        """Return the rows of one query; `SetupError` if Spark refuses it."""
        from pyspark.errors import PySparkException

        try:
            return self._session.sql(sql).toArrow()
        except PySparkException as error:
            raise SetupError(f"Spark: {error}") from error


def why_no_spark() -> str | None:
    """Return what is missing for Spark on this machine, or None when nothing is.

    Whether Maven Central answers is only seen when the session starts.
    """
    try:
        import delta  # noqa: F401
        import pyspark  # noqa: F401
    except ModuleNotFoundError as error:
        return f"the package {error.name} is not installed; install deid-lake[spark]"
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (home and (Path(home) / "bin/java").exists()):
        return "there is no Java; install a JDK 17"
    return None


@contextmanager
def spark_engine(lake: Lake, views: Mapping[str, Statement]) -> Iterator[SparkEngine]:
    """Start a local Spark session with the tables and views of a lake, and stop it at the end.

    Raises:
        SetupError: Spark, Java or the jars are missing.
    """
    session = start_session(lake.root)
    try:
        yield attach(session, lake, views)
    finally:
        session.stop()


def attach(session: Any, lake: Lake, views: Mapping[str, Statement]) -> SparkEngine:
    """Make the tables and views of a lake known to a session, as temporary views."""
    for table in TABLES:
        delta = session.read.format("delta").load(_spark_uri(lake, table.name))
        delta.createOrReplaceTempView(table.name)
    engine = SparkEngine(session)
    for view in views.values():
        engine.run(f"CREATE OR REPLACE TEMPORARY VIEW {view.name} AS {view.sql}")
    return engine


def registration(lake: Lake, views: Mapping[str, Statement]) -> list[str]:
    """Return the statements that make a lake known to a Spark catalog for good.

    They are run once, by someone who may create tables in the current database; afterwards the
    tables follow the lake by themselves. `infra/spark/register.py` runs them.
    """
    tables = [spark_ddl(t, _spark_uri(lake, t.name)) for t in TABLES]
    return tables + [
        f"CREATE OR REPLACE VIEW {v.name} COMMENT '{_escaped(v.doc)}' AS {v.sql}"
        for v in views.values()
    ]


def start_session(root: str, settings: Mapping[str, str] | None = None) -> Any:
    """Return a local Spark session that can read Delta tables under `root`.

    Args:
        root: of the lake; decides whether the S3 client is loaded.
        settings: Spark settings that add to or replace those made here.

    Raises:
        SetupError: Spark, Java or the jars are missing.
    """
    missing = why_no_spark()
    if missing is not None:
        raise SetupError(f"Spark: {missing}")
    from delta import configure_spark_with_delta_pip
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("deid-lake").master("local[2]")
    for name, value in (_settings(root) | dict(settings or {})).items():
        builder = builder.config(name, value)
    extra = [HADOOP_AWS] if root.startswith("s3://") else []
    try:
        return configure_spark_with_delta_pip(builder, extra_packages=extra).getOrCreate()
    except (PySparkException, Py4JError, OSError) as error:
        raise SetupError(
            f"Spark did not start; it needs a JDK 17 and, the first time, Maven Central: {error}"
        ) from error


def _spark_uri(lake: Lake, name: str) -> str:
    return lake.table_uri(name).replace("s3://", "s3a://", 1)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _settings(root: str) -> dict[str, str]:
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.session.timeZone": "UTC",
        # The defaults (200 and 50 tasks) are for a cluster; here they cost seconds a query.
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "1g",
    }
    if not root.startswith("s3://"):
        return settings
    settings["spark.hadoop.fs.s3a.endpoint.region"] = s3_region()
    endpoint = s3_endpoint()
    if endpoint:
        settings |= {
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": str(endpoint.startswith("https")).lower(),
        }
    return settings
