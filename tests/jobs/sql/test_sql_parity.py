"""Three engines, equal rows: every view, check and question."""

import math

import pytest

from deid_ops.errors import SetupError
from jobs.sql import checks, named, open_engine, plain_types, questions, views
from jobs.sql_spark import SparkEngine, attach, registration, start_session, why_no_spark
from schemas.tables import TABLES

# For a few rows, generating and compiling code is all that takes time.
INTERPRETED = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
}
STATEMENTS = [*(t.name for t in TABLES), *views(), *checks(), *questions()]


def rows_of(engine, name):
    table = plain_types(engine.run(named(name)))
    return table.schema.names, table.schema.types, sorted(map(_key, table.to_pylist()))


def _key(row):
    return tuple(_text(v) for v in row.values())


def _text(value):
    """A value as text; floats to nine digits, for engines add in different orders."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{value:.9g}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_text, value)) + "]"
    return str(value)


@pytest.fixture
def duckdb_rows(filled_lake):
    with open_engine(filled_lake.root, "duckdb") as engine:
        return {name: rows_of(engine, name) for name in STATEMENTS}


def assert_equal(found, expected, name):
    assert found[0] == expected[0], name
    assert list(map(str, found[1])) == list(map(str, expected[1])), name
    assert found[2] == expected[2], name


def test_datafusion_gives_the_rows_of_duckdb(filled_lake, duckdb_rows):
    with open_engine(filled_lake.root, "datafusion") as engine:
        for name in STATEMENTS:
            assert_equal(rows_of(engine, name), duckdb_rows[name], name)
    assert sum(len(rows) for _, _, rows in duckdb_rows.values()) > 60


@pytest.fixture(scope="module")
def spark_session(tmp_path_factory):
    missing = why_no_spark()
    if missing is not None:
        pytest.skip(f"Spark: {missing}")
    try:
        session = start_session(str(tmp_path_factory.mktemp("spark")), INTERPRETED)
    except SetupError as error:
        pytest.skip(f"Spark: Maven Central is out of reach: {error}")
    yield session
    session.stop()


@pytest.mark.spark
@pytest.mark.timeout(600)
def test_spark_gives_the_rows_of_duckdb(disk_lake, spark_session):
    with open_engine(disk_lake.root, "duckdb") as engine:
        expected = {name: rows_of(engine, name) for name in STATEMENTS}
    spark = attach(spark_session, disk_lake, views())
    for table in TABLES:
        spark_session.catalog.cacheTable(table.name)
    for name in STATEMENTS:
        assert_equal(rows_of(spark, name), expected[name], name)


@pytest.mark.spark
@pytest.mark.timeout(600)
def test_a_registered_lake_is_there_for_other_sessions(disk_lake, spark_session, tmp_path):
    session = spark_session.newSession()
    session.sql(f"CREATE DATABASE registered LOCATION '{tmp_path}/warehouse'")
    session.sql("USE registered")
    for statement in registration(disk_lake, views()):
        session.sql(statement)
    other = spark_session.newSession()
    other.sql("USE registered")
    with open_engine(disk_lake.root, "duckdb") as engine:
        assert_equal(rows_of(SparkEngine(other), "exposure"), rows_of(engine, "exposure"), "")
    described = other.sql("DESCRIBE segments").collect()
    assert any("Hash of recording" in (row["comment"] or "") for row in described)


@pytest.mark.spark
@pytest.mark.timeout(600)
def test_spark_refuses_in_its_own_words(disk_lake, spark_session):
    spark = attach(spark_session, disk_lake, views())
    with pytest.raises(SetupError, match=r"Spark: .*no_such_column"):
        spark.run("SELECT no_such_column FROM segments")
