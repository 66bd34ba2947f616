"""Which drive dates a night takes when nobody says."""

from __future__ import annotations

import datetime as dt

import pyarrow.compute as pc

from jobs.lake.tables import Lake
from jobs.plan import Window

#: Drives that end after midnight, and uploads that come a day late.
OVERLAP = dt.timedelta(days=2)


def since_last_success(lake_uri: str) -> Window:
    """Return the drive dates since the last successful night, some days of overlap included.

    A run counts as successful when it came to its end, also with quarantined units. Without one
    every date is taken. Recordings with older dates that arrive late need `--from` or `--all`.
    """
    lake = Lake(lake_uri)
    if not lake.exists("runs"):
        return Window()
    ended = pc.field("status").isin(["clean", "quarantined"])
    nightly = pc.field("command") == "nightly"
    started = lake.read("runs", ["started_at"], ended & nightly)["started_at"].to_pylist()
    return Window(first=max(started).date() - OVERLAP) if started else Window()
