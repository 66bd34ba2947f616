import numpy as np

from deid_ops.judge.calibration import FARS
from deid_ops.pipeline.drift import TrackDrift
from deid_ops.pipeline.judging import TrackAudit
from jobs.identity_rows import identity_row
from schemas.edges import DRIVER_COLUMNS
from schemas.tables import IDENTITY_AUDIT

SHA = "a" * 64


def audit():
    distance = np.float32([0.9, 1.1])
    none, limits = dict.fromkeys(FARS, 0), dict.fromkeys(FARS, 0.4)
    return TrackAudit(
        3, "judge", 7, 2, 1, distance, distance, none, none, 0.25, limits, 0, 1, None, None, 24.0
    )


def test_a_row_has_every_column_that_the_driver_does_not_add():
    row = identity_row(audit(), TrackDrift(2.5, 1.5, 4.0, 0.25), SHA, 1e-3)
    assert set(row) == {c.name for c in IDENTITY_AUDIT.columns} - DRIVER_COLUMNS
    assert (row["landmark_drift"], row["pose_drift_deg"]) == (2.5, 1.5)
    assert (row["gaze_drift_deg"], row["expression_drift"]) == (4.0, 0.25)


def test_unmeasured_drift_is_null_not_zero():
    row = identity_row(audit(), None, SHA, 1e-3)
    names = ("landmark_drift", "pose_drift_deg", "gaze_drift_deg", "expression_drift")
    assert {row[name] for name in names} == {None}
