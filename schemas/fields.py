"""Column shorthands, vocabularies and column groups that several tables share."""

from __future__ import annotations

from schemas.columns import (
    DATE,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    STRING,
    TIMESTAMP,
    Column,
    list_of,
)

HEX64 = "length({0}) = 64"
COUNT = "{0} >= 0"


def text(name: str, doc: str, *, key: bool = False, null: bool = False) -> Column:
    """Return a string column."""
    return Column(name, STRING, doc, key=key, nullable=null)


def sha256_hex(name: str, doc: str, *, null: bool = False) -> Column:
    """Return a column for a SHA-256 in lowercase hex."""
    return Column(name, STRING, doc, nullable=null, check=HEX64.format(name))


def one_of(name: str, doc: str, values: tuple[str, ...], *, null: bool = False) -> Column:
    """Return a string column limited to the given values."""
    listed = ", ".join(f"'{v}'" for v in values)
    return Column(
        name,
        STRING,
        f"{doc} One of: {', '.join(values)}.",
        nullable=null,
        check=f"{name} IN ({listed})",
    )


def count(name: str, doc: str, unit: str = "") -> Column:
    """Return a column that counts something, never negative."""
    return Column(name, INT64, doc, unit=unit, check=COUNT.format(name))


def real(name: str, doc: str, unit: str = "", *, null: bool = True) -> Column:
    """Return a float64 column."""
    return Column(name, FLOAT64, doc, unit=unit, nullable=null)


def per_face(name: str, kind: str, doc: str, unit: str = "") -> Column:
    """Return a list column with `i` int32, `f` float32 or `s` string items, one list per track."""
    item = {"i": INT32, "f": FLOAT32, "s": STRING}[kind]
    return Column(name, list_of(item), doc, unit=unit)


RUN_STATUS = ("started", "clean", "quarantined", "failed")
SEGMENT_STATUS = ("published", "quarantined")
SEGMENT_TREATMENT = ("copied", "anonymized")
TRACK_STATE = ("found", "treated")
IDENTITY_SCOPE = ("segment", "recording", "drive")

RUN_ID = text("run_id", "The driver process that wrote the row.", key=True)
WHERE = (
    text("recording_id", "Recording, as in the manifest."),
    text("drive_id", "Drive the recording belongs to."),
    Column("drive_date", DATE, "Day of the drive (UTC); the tables are partitioned by it."),
    text("fleet", "Fleet, as in the manifest."),
    text("vehicle_id", "Vehicle, as in the manifest."),
    text("camera", "Camera name, as in the manifest."),
)
COMMITTED = Column("committed_at", TIMESTAMP, "When the driver built the commit with this row.")
