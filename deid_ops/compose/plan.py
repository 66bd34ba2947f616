"""From tracks and treatments to the edits of each frame: every face gets exactly one."""

from __future__ import annotations

from collections.abc import Sequence

from deid_ops.compose.blend import FaceEdit, RedactEdit, SwapEdit
from deid_ops.errors import InvariantError
from deid_ops.redact.fill import RedactParams
from deid_ops.redact.noise import noise_seed
from deid_ops.types import FaceCrops, FaceTracks, Treatment


def edits_by_frame(
    tracks: FaceTracks,
    treatments: Sequence[Treatment],
    crops: FaceCrops,
    key: bytes,
    noise_scope: str,
    params: RedactParams,
) -> dict[int, list[FaceEdit]]:
    """Return the edits of every frame that has faces.

    Args:
        tracks: all boxes of a segment.
        treatments: one per row of `tracks`.
        crops: replacement crops of the rows to be swapped.
        key: secret run key, for the redaction noise.
        noise_scope: names the segment; the same scope, track and key give the same noise.
        params: `steady` decides whether the noise also depends on the frame.

    Raises:
        InvariantError: a row without a treatment, a swap without a crop, two crops for a row, or a
            crop for a row that is not to be swapped: nothing may pass through untreated.
    """
    if len(treatments) != len(tracks):
        raise InvariantError(f"{len(treatments)} treatments for {len(tracks)} boxes")
    crop_of_row = {int(row): k for k, row in enumerate(crops.row)}
    swapped = {i for i, t in enumerate(treatments) if t == Treatment.SWAPPED}
    if len(crop_of_row) != len(crops) or set(crop_of_row) != swapped:
        raise InvariantError(f"{len(crops)} crops for {len(swapped)} boxes to be swapped")
    edits: dict[int, list[FaceEdit]] = {}
    for row, treatment in enumerate(treatments):
        frame, track = int(tracks.frame_index[row]), int(tracks.track[row])
        if treatment == Treatment.SWAPPED:
            k = crop_of_row[row]
            edit: FaceEdit = SwapEdit(track, crops.crops_bgr[k], crops.crop_from_frame[k])
        elif treatment == Treatment.REDACTED:
            seed = noise_seed(key, noise_scope, track, None if params.steady else frame)
            edit = RedactEdit(track, tracks.boxes_xyxy_px[row], seed)
        else:
            raise InvariantError(f"box {row} has the treatment {treatment!r}")
        edits.setdefault(frame, []).append(edit)
    if sum(len(e) for e in edits.values()) != len(tracks):
        raise InvariantError("a box was left without an edit")
    return edits
