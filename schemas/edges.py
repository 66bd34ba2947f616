"""What passes between the stages: one row a segment, one Arrow schema an edge.

Every edge repeats the columns of the planned segment and adds its own. Frames never appear. The
columns marked `biometric` exist in memory while a wave runs and in no table; where they appear is
listed in `WIRE_EDGES`, and a test compares the two.
"""

from __future__ import annotations

import pyarrow as pa

from schemas.columns import (
    BOOL,
    DATE,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    SECONDS_BY_NAME,
    STRING,
    Column,
    Edge,
    list_of,
)
from schemas.fields import WHERE
from schemas.tables import IDENTITY_AUDIT

_F = list_of(FLOAT32)
_I = list_of(INT32)
_B = list_of(BOOL)
_S = list_of(STRING)

#: Columns of `identity_audit` that the driver adds to what the audit stage measures.
DRIVER_COLUMNS = frozenset(
    {"run_id", "pipeline_fingerprint", "committed_at", "unit_id", "person_id", "anchor_id"}
    | {c.name for c in WHERE}
)
_IDENTITY = pa.struct(
    [pa.field(c.name, c.type) for c in IDENTITY_AUDIT.columns if c.name not in DRIVER_COLUMNS]
)

SEGMENT = (
    Column("plan_id", STRING, "Hash of the planned units."),
    Column("unit_id", STRING, "Hash of recording, source version, stream and span.", key=True),
    Column("recording_id", STRING, "Recording, from the manifest."),
    Column("drive_id", STRING, "Drive, from the manifest."),
    Column("drive_date", DATE, "Calendar day of the drive (UTC)."),
    Column("fleet", STRING, "Fleet, from the manifest."),
    Column("vehicle_id", STRING, "Vehicle, from the manifest."),
    Column("camera", STRING, "Camera, from the manifest."),
    Column("source_uri", STRING, "Where the recording lies."),
    Column("source_sha256", STRING, "Checksum from the manifest.", nullable=True),
    Column("source_version", STRING, "Checksum, ETag, or size and time of the source."),
    Column("container", STRING, "Container format, FFmpeg's name."),
    Column("codec", STRING, "Video codec, FFmpeg's name."),
    Column("stream_index", INT32, "Video stream within the file."),
    Column("pts_start", INT64, "First timestamp of the span.", unit="time_base"),
    Column("pts_end", INT64, "End of the span, exclusive.", unit="time_base", nullable=True),
    Column("n_frames", INT32, "Frames in the span according to the container index."),
    Column("time_base_num", INT32, "Numerator of the time base.", unit="s"),
    Column("time_base_den", INT32, "Denominator of the time base."),
    Column("duration_s", FLOAT64, "Length of the span.", unit="s"),
    Column("rotation_deg", INT32, "Display rotation, a multiple of 90.", unit="deg"),
    Column("width_px", INT32, "Coded width.", unit="px"),
    Column("height_px", INT32, "Coded height.", unit="px"),
    Column("segment_index", INT32, "Position of the segment in its recording."),
    Column("start_frame", INT32, "Frames of the recording before the segment."),
    Column("whole_file", BOOL, "The span covers the whole recording."),
    Column("scope_id", STRING, "Identity scope: one person keeps one face within it."),
    Column("attempt", INT32, "Which attempt at this unit, from 1."),
    Column("status", STRING, "`ok` or `quarantined`; a quarantined row passes all later stages."),
    Column("refused_by", STRING, "Stage that quarantined the unit; empty when it is not."),
    Column("reason", STRING, "Why the unit is quarantined; empty when it is not."),
    Column("detail", STRING, "What was found, with the numbers."),
    Column("remedy", STRING, "What the user can do about it."),
    Column("stage_seconds", SECONDS_BY_NAME, "Wall time by stage.", unit="s"),
    Column("idle_seconds", SECONDS_BY_NAME, "Time an actor waited for this row.", unit="s"),
)

FACES = (
    Column("face_frame_index", _I, "Frame of each detection."),
    Column("face_boxes_xyxy_px", _F, "Boxes, four values each.", unit="px"),
    Column("face_landmarks_xy_px", _F, "Five points, ten values each.", unit="px"),
    Column("face_score", _F, "Detector score in [0, 1]."),
    Column("face_eye_distance_px", _F, "Distance of the eyes.", unit="px"),
    Column("face_blur", _F, "Loss of detail in [0, 1]."),
    Column("face_turn", _F, "Turn of the head in [0, 1]."),
    Column("face_embedding", _F, "Identity vectors, `embedding_dim` values each.", biometric=True),
    Column("face_has_embedding", _B, "Whether the row of `face_embedding` is one."),
    Column("embedding_dim", INT32, "Values of one identity vector."),
    Column("face_guard_vector", _F, "A judge's vectors, zeros where not taken.", biometric=True),
    Column("guard_dim", INT32, "Values of one judge's vector."),
)

BOXES = (
    Column("box_frame_index", _I, "Frame of each box."),
    Column("box_track", _I, "Track of each box, from 0 within the segment."),
    Column("box_boxes_xyxy_px", _F, "Boxes, four values each.", unit="px"),
    Column("box_landmarks_xy_px", _F, "Five points, ten values each.", unit="px"),
    Column("box_has_landmarks", _B, "Whether the points are measured or interpolated."),
    Column("box_origin", _I, "0 detected, 1 interpolated, 2 extended, 3 repaired."),
    Column("box_score", _F, "Detector score in [0, 1]."),
    Column("box_eye_distance_px", _F, "Distance of the eyes.", unit="px"),
    Column("box_blur", _F, "Loss of detail in [0, 1]."),
    Column("box_turn", _F, "Turn of the head in [0, 1]."),
)

TRACK_VECTORS = (
    Column("track_embedding", _F, "Mean identity vector of each track.", biometric=True),
    Column("track_has_embedding", _B, "Whether the track has an identity vector."),
    Column("embedding_dim", INT32, "Values of one identity vector."),
    Column("track_guard_vector", _F, "Mean of a judge's vectors of each track.", biometric=True),
    Column("guard_dim", INT32, "Values of one judge's vector."),
)

TRACK_PERSONS = (
    Column("track_person_id", _S, "Person of each track within the identity scope."),
    Column("track_anchor_id", _I, "Row of the anchor bank; -1: none admissible."),
    Column("track_other_anchor_ids", _I, "Further anchors of each track, as many for each; -1."),
    Column(
        "track_anchor_number",
        _I,
        "Which of its anchors a track shows: 0 the first, n the n-th further.",
    ),
    Column("track_anchor_distance", _F, "Cosine distance of anchor and person; -1: unknown."),
)

PERSONS = (
    *TRACK_PERSONS,
    Column("box_treatment", _S, "Treatment of each box: planned, then final."),
    Column("box_reason", _S, "Reason of the treatment."),
)

CROPS = (
    Column("crop_row", _I, "Box that each crop replaces."),
    Column("crop_size_px", INT32, "Side of a crop.", unit="px"),
    Column("crop_from_frame", _F, "2x3 matrices, six values each."),
    Column("crop_pixels", pa.large_binary(), "BGR crops, one after another.", biometric=True),
    Column(
        "crop_weight",
        pa.large_binary(),
        "How much of each crop's pixels is drawn, of 255.",
        biometric=True,
    ),
)

TOLD = (
    Column("told_points_px", _F, "Mean face in each original's pose, 272 values each.", unit="px"),
    Column("told_detail_rms", _F, "Strength of each original's detail, six values each."),
)

JUDGED_ORIGINALS = (
    Column("judge_dim", INT32, "Values of one row of `judge_original`."),
    Column(
        "judge_original",
        _F,
        "Vectors of each original face by the ladder's guards.",
        biometric=True,
    ),
)

CROP_JUDGEMENT = (
    Column("crop_judge_distance", _F, "Cosine distance of replacement and original."),
)

STAGED = (
    Column("staged_uri", STRING, "Where the encoded clip waits for its audit."),
    Column("staged_sha256", STRING, "Checksum of the staged clip."),
    Column("staged_bytes", INT64, "Size of the staged clip.", unit="bytes"),
    Column("clip_treatment", STRING, "`copied` (no face, bit-exact) or `anonymized`."),
    Column("n_frames_in", INT32, "Frames decoded from the source."),
    Column("n_frames_out", INT32, "Frames written."),
    Column("pts_sha256", STRING, "Hash of the written timestamps."),
    Column("pixels_outside_changed", INT64, "Samples outside the masks that changed: zero."),
)

AUDITED = (
    Column("verdict", STRING, "`publish` or `quarantine`."),
    Column("n_missed", INT32, "Faces the second detector found uncovered."),
    Column("n_repairs", INT32, "Faces covered by the repair pass."),
    Column("psnr_outside_db", FLOAT64, "Fidelity outside the masks.", unit="dB", nullable=True),
    Column("n_frames_audited", INT32, "Frames of the output the second detector has seen."),
    Column("audit_detector", STRING, "The second detector."),
    Column("identity_rows", pa.list_(_IDENTITY), "What `identity_audit` needs from this unit."),
)

PUBLISHED_CLIP = (
    Column("clip_uri", STRING, "Where the clip lies; empty when quarantined."),
    Column("clip_sha256", STRING, "Checksum of the clip."),
    Column("clip_bytes", INT64, "Size of the clip.", unit="bytes"),
)

PLANNED = Edge("planned", "Segments that the lake does not hold yet.", SEGMENT)
DETECTED = Edge("detected", "Faces of every frame.", SEGMENT + FACES)
TRACKED = Edge("tracked", "Boxes of every frame.", SEGMENT + BOXES + TRACK_VECTORS)
LINKED = Edge("linked", "Tracks with person, anchor and plan.", SEGMENT + BOXES + PERSONS)
SWAPPED = Edge(
    "swapped",
    "Generated crops, what was told of the originals, and the judge's vectors of them.",
    SEGMENT + BOXES + PERSONS + CROPS + TOLD + JUDGED_ORIGINALS,
)
TRIED = Edge(
    "tried", "Which anchor suits who is seen in several segments.", SEGMENT + TRACK_PERSONS
)
DIFFUSED = Edge(
    "diffused",
    "Final crops and treatments.",
    SEGMENT + BOXES + PERSONS + CROPS + CROP_JUDGEMENT,
)
COMPOSED = Edge(
    "composed",
    "A staged clip; the crops stay for one repair.",
    SEGMENT + BOXES + PERSONS + CROPS + CROP_JUDGEMENT + STAGED,
)
AUDIT_DONE = Edge(
    "audited", "A staged clip with its verdict.", SEGMENT + BOXES + PERSONS + STAGED + AUDITED
)
PUBLISHED = Edge(
    "published",
    "What the driver commits.",
    SEGMENT + BOXES + PERSONS + STAGED + AUDITED + PUBLISHED_CLIP,
)

EDGES = (
    PLANNED, DETECTED, TRACKED, LINKED, SWAPPED, TRIED, DIFFUSED, COMPOSED, AUDIT_DONE, PUBLISHED,
)  # fmt: skip

#: The only edges on which biometric data may travel.
WIRE_EDGES = ("detected", "tracked", "swapped", "diffused", "composed")
