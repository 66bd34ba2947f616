"""Write a segment with its faces replaced, and prove on the way that nothing else changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from deid_ops.compose.blend import ComposeParams, FaceEdit, RedactEdit, SwapEdit, compose_frame
from deid_ops.compose.proof import n_samples_changed_outside
from deid_ops.errors import InvariantError
from deid_ops.redact.keyed import pattern_seed
from deid_ops.types import FaceCrops, FaceTracks, Treatment
from deid_ops.video.frame import Frame


class FrameSink(Protocol):
    """Takes the frames of a clip in order."""

    def write(self, frame: Frame) -> None:
        """Take the next frame."""
        ...


@dataclass(frozen=True)
class ComposeReport:
    """Counts of one segment; `n_samples_changed_outside` must be zero."""

    n_frames: int
    n_swapped: int
    n_redacted: int
    n_samples_changed_outside: int


@dataclass(frozen=True)
class RedactKey:
    """What the patterns of redacted faces are derived from."""

    secret: bytes
    place: str  # recording and segment
    steady: bool


def compose_segment(
    frames: Iterable[Frame],
    sink: FrameSink,
    tracks: FaceTracks,
    treatment: Sequence[str],
    crops: FaceCrops,
    params: ComposeParams,
    key: RedactKey,
) -> ComposeReport:
    """Apply every face's treatment and hand the frames to the encoder.

    Args:
        frames: native frames of the segment, in order.
        sink: the encoder.
        tracks: every box.
        treatment: [n] treatment of each box; a swapped one has a crop.
        crops: accepted replacements.
        params: masks and redaction.
        key: of the redaction patterns.

    Raises:
        InvariantError: a box lies in a frame that does not exist, a swapped face has no crop, or
            a sample changed outside the masks.
    """
    edits = _edits_by_frame(tracks, treatment, crops, key)
    n_frames = n_outside = n_drawn = 0
    for frame in frames:
        here = edits.pop(frame.index, [])
        composed = compose_frame(frame, here, params)
        n_outside += n_samples_changed_outside(frame, composed.frame, composed.regions)
        sink.write(composed.frame)
        n_frames += 1
        n_drawn += len(here)
    if edits or n_drawn != len(tracks):
        raise InvariantError(
            f"compose: {len(tracks)} faces, {n_drawn} treated; frames without a picture: "
            f"{sorted(edits)[:5]}"
        )
    if n_outside:
        raise InvariantError(f"compose: {n_outside} samples changed outside the masks")
    n_swapped = sum(t == Treatment.SWAPPED for t in treatment)
    return ComposeReport(n_frames, n_swapped, len(tracks) - n_swapped, n_outside)


def _edits_by_frame(
    tracks: FaceTracks, treatment: Sequence[str], crops: FaceCrops, key: RedactKey
) -> dict[int, list[FaceEdit]]:
    if len(treatment) != len(tracks):
        raise InvariantError(f"compose: {len(tracks)} faces, {len(treatment)} treatments")
    crop_of_row = {int(row): k for k, row in enumerate(crops.row)}
    edits: dict[int, list[FaceEdit]] = {}
    for row in range(len(tracks)):
        frame, track = int(tracks.frame_index[row]), int(tracks.track[row])
        edit: FaceEdit
        if treatment[row] == Treatment.SWAPPED:
            if row not in crop_of_row:
                raise InvariantError(f"compose: face {row} is to be swapped and has no crop")
            k = crop_of_row[row]
            edit = SwapEdit(track, crops.crops_bgr[k], crops.crop_from_frame[k], crops.weight[k])
        else:
            seed = pattern_seed(key.secret, key.place, track, None if key.steady else frame)
            edit = RedactEdit(track, np.asarray(tracks.boxes_xyxy_px[row]), seed)
        edits.setdefault(frame, []).append(edit)
    return edits
