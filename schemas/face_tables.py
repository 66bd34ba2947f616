"""The tables about faces, as numbers: tracks, identity audit, evaluations."""

from __future__ import annotations

from schemas.columns import (
    BOOL,
    INT32,
    Column,
    Table,
    list_of,
)
from schemas.fields import (
    COMMITTED,
    IDENTITY_SCOPE,
    RUN_ID,
    TRACK_STATE,
    WHERE,
    count,
    one_of,
    per_face,
    real,
    sha256_hex,
    text,
)

TRACKS = Table(
    "tracks",
    "One row per face track, and one with `track` -1 for a unit without faces: `found` by the find "
    "pass, `treated` once the clip is published. Boxes and landmarks only; no crop, no embedding.",
    (
        text("unit_id", "Segment of the track.", key=True),
        Column(
            "track",
            INT32,
            "Number of the track in its segment; -1: the unit was searched and has no face.",
            key=True,
            check="track >= -1",
        ),
        one_of("state", "Which pass wrote the row.", TRACK_STATE),
        text("find_fingerprint", "Hash of all that decides the tracks.", key=True),
        text(
            "pipeline_fingerprint",
            "Hash of all that decides the output; null: found only.",
            null=True,
        ),
        RUN_ID,
        *WHERE,
        text("person_id", "Pseudonym of the person within the identity scope and key."),
        text(
            "anchor_id",
            "Synthetic identity: the first choice of a found track, the shown one of a treated.",
        ),
        real("anchor_distance", "Cosine distance of the person to `anchor_id`, where known."),
        per_face("other_anchor_ids", "i", "Further choices that the ladder had; -1: none."),
        one_of("identity_scope", "Within what one person keeps one anchor.", IDENTITY_SCOPE),
        text("key_id", "Name of the secret key by a one-way hash."),
        Column("first_frame", INT32, "First frame of the track in its segment."),
        Column("last_frame", INT32, "Last frame of the track (inclusive)."),
        count("n_faces", "Boxes in the track."),
        count("n_detected", "Boxes that the detector found."),
        count("n_interpolated", "Boxes filled in between detections."),
        count("n_extended", "Boxes of the margin at both ends."),
        count("n_repaired", "Boxes that the audit added."),
        real("face_seconds", "Time in view.", "s", null=False),
        per_face("frame_index", "i", "Frame of each box, rising."),
        per_face("boxes_xyxy_px", "f", "x0, y0, x1, y1 of each box, flattened.", "px"),
        per_face("landmarks_xy_px", "f", "Five points x, y of each box, flattened.", "px"),
        Column("has_landmarks", list_of(BOOL), "Whether a box has landmarks of its own."),
        per_face("origin", "i", "0 detected, 1 interpolated, 2 extended, 3 repaired."),
        per_face("score", "f", "Detector score of each box."),
        per_face("eye_distance_px", "f", "Distance of the eyes in each box.", "px"),
        per_face("blur", "f", "Blur of each box, 0 sharp to 1."),
        per_face("turn", "f", "Turn of each face, 0 frontal to 1 profile."),
        per_face("treatment", "s", "What each face is planned to get, or got."),
        per_face("reason", "s", "Why each face ended there."),
        count("n_swapped", "Faces planned to be, or that were, swapped."),
        count("n_redacted", "Faces planned to be, or that were, redacted."),
        real("eye_distance_px_p50", "Median distance of the eyes.", "px"),
        real("score_p50", "Median detector score of the detected boxes."),
        COMMITTED,
    ),
    partition_by=("drive_date",),
    constraints=(
        ("track_counts_close", "n_faces = n_detected + n_interpolated + n_extended + n_repaired"),
        ("treatments_close", "n_faces = n_swapped + n_redacted"),
        ("frames_in_order", "first_frame >= 0 AND last_frame >= first_frame"),
    ),
)


def _spread(what: str, doc: str) -> tuple[Column, ...]:
    parts = (
        ("min", "least"),
        ("p01", "1st percentile"),
        ("p05", "5th percentile"),
        ("p50", "median"),
    )
    return tuple(
        real(f"distance_{what}_{suffix}", f"Cosine distance {doc}: {word} over the judged faces.")
        for suffix, word in parts
    )


def _retrieved(prefix: str, doc: str) -> tuple[Column, ...]:
    return tuple(
        count(f"n_{prefix}_far_1e{e}", f"Faces {doc} at the threshold of FAR 1e-{e}.")
        for e in (2, 3, 4)
    )


def _drift(name: str, doc: str, unit: str = "") -> Column:
    return real(
        name,
        f"Mean {doc} between source and output over the sampled swapped faces, the same for every "
        "encoder. The network that reads it also conditions the generator, which flatters the "
        "replacement. Null: no detected face of the track was swapped, or no such network is set.",
        unit,
    )


IDENTITY_AUDIT = Table(
    "identity_audit",
    "One row per track and judging encoder: how far the published faces are from the original "
    "person, as numbers only.",
    (
        text("unit_id", "Segment of the track.", key=True),
        Column("track", INT32, "Number of the track in its segment.", key=True),
        text("encoder", "Judging encoder.", key=True),
        sha256_hex("encoder_sha256", "Checksum of the encoder's weights."),
        text("pipeline_fingerprint", "Hash of all that decides the output.", key=True),
        RUN_ID,
        *WHERE,
        text("person_id", "Pseudonym of the person within the identity scope and key."),
        text("anchor_id", "Synthetic identity shown."),
        count("n_faces", "Faces of the track."),
        count("n_faces_judged", "Faces that were encoded before and after and compared."),
        count("n_swapped_judged", "Of the judged faces: those that show a replacement."),
        *_spread("original", "to the original face"),
        *_spread("negation", "to the negated embedding of the original"),
        real("distance_anchor_p50", "Cosine distance to the anchor: median."),
        real("threshold_far_1e2", "Distance below which FAR is 1e-2."),
        real("threshold_far_1e3", "Distance below which FAR is 1e-3."),
        real("threshold_far_1e4", "Distance below which FAR is 1e-4."),
        real("threshold_used", "Distance below which the ladder takes the next step."),
        *_retrieved("retrieved", "matched to the original"),
        *_retrieved("negation_retrieved", "matched to the negated original"),
        real(
            "others_retrieved_far_1e3",
            "Faces that would match somebody else of the segment at the threshold of FAR 1e-3, "
            "expected for a person picked at random: what matches say nothing about the person. "
            "Null: nobody else is in view.",
        ),
        count("n_rank1", "Faces whose nearest person in the recording is the original."),
        count("gallery_size", "Persons in the recording that rank 1 was searched among."),
        real("consistency_original", "Identity variation along the track in the source (M_tc)."),
        real("consistency_output", "Identity variation along the track in the output (M_tc)."),
        _drift("pose_drift_deg", "turn of the head", "degree"),
        _drift("gaze_drift_deg", "change of the eyes' angles in the head", "degree"),
        _drift("expression_drift", "distance of the expression coefficients"),
        _drift("landmark_drift", "shift of the landmarks", "% of the eye distance"),
        real("eye_distance_px_p50", "Median distance of the eyes.", "px"),
        COMMITTED,
    ),
    partition_by=("drive_date",),
    constraints=(
        ("judged_at_most_all", "n_faces_judged <= n_faces"),
        ("judged_has_distances", "n_faces_judged = 0 OR distance_original_p50 IS NOT NULL"),
        ("swapped_at_most_judged", "n_swapped_judged <= n_faces_judged"),
        ("retrieved_at_most_judged", "n_retrieved_far_1e2 <= n_faces_judged"),
    ),
)

EVALUATIONS = Table(
    "evaluations",
    "One row per measured figure of an attack, a benchmark or an evaluation, with its interval.",
    (
        text("evaluation_id", "One invocation of an evaluation.", key=True),
        text("protocol", "Name of the protocol, for example `retrieval` or `inversion`."),
        text(
            "subject",
            "What was measured: `ours`, `blur`, `mosaic`, `untouched`, a release.",
            key=True,
        ),
        text("dataset", "Data it was measured on.", key=True),
        text("encoder", "Judging encoder, where one took part.", key=True, null=True),
        text("metric", "Name of the figure.", key=True),
        real("value", "The figure.", null=False),
        real("ci_low", "Lower end of the 95 % interval."),
        real("ci_high", "Upper end of the 95 % interval."),
        count("n_samples", "Sample size."),
        real("bar", "The value to reach, where there is one."),
        one_of("better", "Direction of improvement.", ("lower", "higher"), null=True),
        text("params_json", "JSON object: the parameters that decide the figure."),
        text("weights_json", "JSON object: weight name to sha256."),
        text("code_version", "Package version and source revision."),
        text("run_id", "Run whose output was measured, where there is one.", null=True),
        COMMITTED,
    ),
)
