"""The tables of the lake and the manifest that users hand in.

Naming: `segments` rows are lineage (one row for each segment and attempt outcome, append-only);
the state of now is the view `current_segments`. Times are UTC. Hashes are lowercase hex.
Tables of results are split by what a row is about: a run, a segment, a track, a track under one
encoder, a refused unit, a measured figure.
"""

from __future__ import annotations

from schemas.columns import Table
from schemas.face_tables import EVALUATIONS, IDENTITY_AUDIT, TRACKS
from schemas.run_tables import MANIFEST, QUARANTINE, RUNS, SEGMENTS

__all__ = [
    "EVALUATIONS",
    "IDENTITY_AUDIT",
    "MANIFEST",
    "QUARANTINE",
    "RUNS",
    "SEGMENTS",
    "TABLES",
    "TABLE_BY_NAME",
    "TRACKS",
]

TABLES: tuple[Table, ...] = (RUNS, SEGMENTS, TRACKS, IDENTITY_AUDIT, QUARANTINE, EVALUATIONS)
TABLE_BY_NAME: dict[str, Table] = {t.name: t for t in TABLES}
