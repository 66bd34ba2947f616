"""From one judge's look at one track to the columns of `identity_audit`."""

from __future__ import annotations

import numpy as np

from deid_ops.pipeline.drift import TrackDrift
from deid_ops.pipeline.judging import TrackAudit
from jobs.rows import Row

_QUANTILES = {"min": 0.0, "p01": 0.01, "p05": 0.05, "p50": 0.5}
_DRIFT = {
    "pose_drift_deg": "pose_deg",
    "gaze_drift_deg": "gaze_deg",
    "expression_drift": "expression",
    "landmark_drift": "landmark_shift_percent",
}


def identity_row(
    audit: TrackAudit, drift: TrackDrift | None, encoder_sha256: str, far_used: float
) -> Row:
    """Return the measured columns; those of the run are added when the row is committed.

    Args:
        audit: one judge's look at one track.
        drift: of the same track, the same for every judge; None where it was not measured.
        encoder_sha256: of the judge.
        far_used: operating point of the ladder.
    """
    row: Row = {
        "track": audit.track,
        "encoder": audit.encoder,
        "encoder_sha256": encoder_sha256,
        "n_faces": audit.n_faces,
        "n_faces_judged": audit.n_faces_judged,
        "n_swapped_judged": audit.n_swapped_judged,
        "others_retrieved_far_1e3": audit.matched_others,
        "distance_anchor_p50": None,
        "threshold_used": audit.thresholds[far_used],
        "n_rank1": audit.n_rank1,
        "gallery_size": audit.gallery_size,
        "consistency_original": audit.consistency_original,
        "consistency_output": audit.consistency_output,
        "eye_distance_px_p50": audit.eye_distance_px_p50,
    }
    for name, kept in _DRIFT.items():
        row[name] = None if drift is None else getattr(drift, kept)
    for name, q in _QUANTILES.items():
        row[f"distance_original_{name}"] = float(np.quantile(audit.to_original, q))
        row[f"distance_negation_{name}"] = float(np.quantile(audit.to_negation, q))
    for far, count in audit.matched.items():
        suffix = f"far_1e{round(-np.log10(far))}"
        row[f"n_retrieved_{suffix}"] = count
        row[f"n_negation_retrieved_{suffix}"] = audit.matched_negation[far]
        row[f"threshold_{suffix}"] = audit.thresholds[far]
    return row
