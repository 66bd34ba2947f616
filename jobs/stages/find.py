"""The find pass: `detect` and `track`."""

from __future__ import annotations

from deid_ops.detect.faces import find_faces
from deid_ops.track.tracker import track_faces
from jobs.media import open_media
from jobs.models import (
    conditioning_encoder,
    decode_limits,
    detect_params,
    first_detector,
    first_guard,
    track_params,
)
from jobs.rows import (
    Row,
    faces_from_row,
    faces_to_row,
    segment_part,
    span_from_row,
    tracks_to_row,
)
from jobs.sources import SourceCache
from jobs.stages.stage import Stage, StageContext
from schemas.edges import DETECTED, PLANNED, TRACKED


class Detect:
    """Decode, find faces and landmarks in every frame, embed on a stride."""

    def __init__(self, context: StageContext) -> None:
        config = context.config
        self._sources = SourceCache(context.scratch_dir)
        self._detector = first_detector(config)
        self._encoder = conditioning_encoder(config)
        self._guard = first_guard(config)
        self._params = detect_params(config)
        self._limits = decode_limits(config)

    def __call__(self, row: Row) -> Row:
        """Add the `face_*` columns."""
        source = self._sources.local(row["source_uri"], row["source_sha256"])
        with open_media(str(source), self._limits).images(span_from_row(row)) as images:
            faces = find_faces(
                images,
                self._detector,
                self._encoder,
                self._params,
                row["rotation_deg"],
                self._guard,
            )
        return segment_part(row) | faces_to_row(faces)


class Track:
    """Join detections to tracks, fill gaps, extend ends."""

    def __init__(self, context: StageContext) -> None:
        self._params = track_params(context.config)

    def __call__(self, row: Row) -> Row:
        """Replace the `face_*` columns by `box_*` and `track_*`."""
        size_wh_px = (row["width_px"], row["height_px"])
        result = track_faces(faces_from_row(row), row["n_frames"], size_wh_px, self._params)
        return (
            segment_part(row)
            | tracks_to_row(result.tracks)
            | {
                "track_embedding": result.embedding,
                "track_has_embedding": result.has_embedding,
                "embedding_dim": int(result.embedding.shape[1]),
                "track_guard_vector": result.guard_vector,
                "guard_dim": int(result.guard_vector.shape[1]),
            }
        )


DETECT = Stage("detect", Detect, PLANNED, DETECTED, can_crash=True)
TRACK = Stage("track", Track, DETECTED, TRACKED)
FIND = (DETECT, TRACK)
