"""Pictures of a report: frames and faces of published clips, originals only when asked for.

Originals are decoded from the source files while the report is written; they are stored nowhere
else. Everything is shown the way a player would, with the display rotation applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from deid_ops.errors import InputError, RetryableError
from deid_ops.types import U8, Span
from deid_ops.video.child import DecodeLimits, open_frames
from deid_ops.video.index import read_index
from jobs.report.figures import RunQueries
from jobs.sources import SourceCache

CROP_PX = 128


@dataclass(frozen=True, slots=True)
class Wanted:
    """One frame of a clip, or one face in it where `box_xyxy_px` is given."""

    frame_index: int
    box_xyxy_px: tuple[float, float, float, float] | None
    caption: str


Request = tuple[dict[str, Any], Wanted]  # a row that names a clip and its source, what to cut


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as published and, where asked for and readable, as recorded (BGR)."""

    caption: str
    after: U8
    before: U8 | None
    problem: str  # why there is no `before` although it was asked for


def frames_wanted(queries: RunQueries, n_clips: int, n_frames: int) -> list[Request]:
    """Choose frames of the clips with most faces, spread over each clip, one clip a recording."""
    requests: list[Request] = []
    for clip in queries.table(queries.sql("clips")).to_pylist()[:n_clips]:
        frames = sorted(set(clip["frames_with_faces"]))
        picked = {frames[(2 * i + 1) * len(frames) // (2 * n_frames)] for i in range(n_frames)}
        requests += [
            (clip, Wanted(index, None, f"{clip['recording_id']}, frame {index}"))
            for index in sorted(picked)
        ]
    return requests


def faces_wanted(queries: RunQueries, n_faces: int) -> list[Request]:
    """Choose the largest face of each track at the head of the review queue."""
    tracks = queries.table(queries.sql("review_faces")).to_pylist()[:n_faces]
    return [(track, _largest_face(track)) for track in tracks]


def load_pictures(
    requests: list[Request], sources: SourceCache, show_originals: bool
) -> list[Picture]:
    """Return the pictures in the order of the requests; each clip is decoded once.

    Raises:
        InputError: a published clip is missing or not what its row says.
    """
    pictures: dict[int, Picture] = {}
    for unit_id in dict.fromkeys(row["unit_id"] for row, _ in requests):
        mine = [i for i, (row, _) in enumerate(requests) if row["unit_id"] == unit_id]
        wanted = [requests[i][1] for i in mine]
        loaded = _pictures_of(requests[mine[0]][0], wanted, sources, show_originals)
        pictures |= zip(mine, loaded, strict=True)
    return [pictures[i] for i in range(len(requests))]


def _largest_face(track: dict[str, Any]) -> Wanted:
    boxes = np.asarray(track["boxes_xyxy_px"], np.float32).reshape(-1, 4)
    best = int(np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])))
    x0, y0, x1, y1 = (float(v) for v in boxes[best])
    caption = f"{track['recording_id']}, track {track['track']}: {track['treatment'][best]}"
    return Wanted(
        track["frame_index"][best], (x0, y0, x1, y1), f"{caption} ({track['reason'][best]})"
    )


def _pictures_of(
    clip: dict[str, Any], wanted: list[Wanted], sources: SourceCache, show_originals: bool
) -> list[Picture]:
    """Decode a clip, and its source where asked for, up to the last frame wanted."""
    indices = {w.frame_index for w in wanted}
    path = sources.local(clip["clip_uri"], clip["clip_sha256"])
    index = read_index(str(path))  # our own file, its checksum has been compared
    turns = index.facts.rotation_deg // 90
    whole = Span(
        index.facts.stream_index, int(index.pts[0]), None, len(index), index.facts.time_base
    )
    after = _frames_at(path, whole, indices, None)
    before, problem = ({}, "") if not show_originals else _originals(clip, indices, sources)
    pictures = []
    for w in wanted:
        original = before.get(w.frame_index)
        pictures.append(
            Picture(
                w.caption,
                _cut(after[w.frame_index], w.box_xyxy_px, turns),
                None if original is None else _cut(original, w.box_xyxy_px, turns),
                problem,
            )
        )
    return pictures


def _originals(
    clip: dict[str, Any], indices: set[int], sources: SourceCache
) -> tuple[dict[int, U8], str]:
    """Return frames of the source, or why there are none: a source may be gone by now."""
    span = Span(
        clip["stream_index"],
        clip["pts_start"],
        clip["pts_end"],
        clip["n_frames_in"],
        Fraction(clip["time_base_num"], clip["time_base_den"]),
    )
    try:
        path = sources.local(clip["source_uri"], clip["source_sha256"])
        return _frames_at(path, span, indices, DecodeLimits()), ""
    except (InputError, RetryableError) as error:
        return {}, f"original not shown: {error}"


def _frames_at(
    path: Path, span: Span, indices: set[int], limits: DecodeLimits | None
) -> dict[int, U8]:
    found: dict[int, U8] = {}
    with open_frames(str(path), span, "bgr", limits) as frames:
        for decoded in frames:
            if decoded.index in indices and decoded.bgr is not None:
                found[decoded.index] = decoded.bgr.copy()
            if len(found) == len(indices):
                break
    return found


def _cut(image: U8, box_xyxy_px: tuple[float, float, float, float] | None, turns: int) -> U8:
    """Return the frame, or a square around the box at `CROP_PX`, turned upright."""
    if box_xyxy_px is not None:
        x0, y0, x1, y1 = box_xyxy_px
        side = 1.6 * max(x1 - x0, y1 - y0, 1.0)
        scale = CROP_PX / side
        matrix = np.array(
            [
                [scale, 0, CROP_PX / 2 - scale * (x0 + x1) / 2],
                [0, scale, CROP_PX / 2 - scale * (y0 + y1) / 2],
            ]
        )
        mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.warpAffine(image, matrix, (CROP_PX, CROP_PX), flags=mode), np.uint8)
    return np.ascontiguousarray(np.rot90(image, turns))
