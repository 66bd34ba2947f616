"""Puts replacements into a frame, inside their masks only.

Swapped crops are warped into the frame and converted from BGR to the frame's own planes; redacted
heads are painted in these planes directly. Everything happens on the rectangle around a face:
samples whose pixels have weight 0 keep their bits. A chroma sample changes if one of its luma
pixels may change, and then with the largest weight among them, so that no original chroma stays
under a fully replaced pixel.

Order: redactions from the smallest (farthest) to the largest, then swaps the same way, ties by
track; so the result does not depend on the order of the edits. Where the two overlap the swap is
seen: what it paints is synthetic and has been judged, so nothing is shown that the redaction hides
(its soft rim mixes with the redaction, not with the original), and a box that was added for safety
around a neighbour's doubtful detection does not destroy a good face. Redactions take nothing from
the frame but the mean of what no edit changes (`compose.tone`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.compose.mask import (
    HeadMaskParams,
    MaskRegion,
    head_hull_px,
    head_region,
    swap_region,
    warp_to_frame,
)
from deid_ops.compose.planes import PlaneLayout, layout_of, max_over_footprints, planes_from_bgr
from deid_ops.compose.tone import tones_of_frame
from deid_ops.redact.fill import (
    Extent,
    RedactParams,
    draw_pattern,
    fill_chroma,
    fill_luma,
    fill_packed,
)
from deid_ops.redact.keyed import seeded_generator
from deid_ops.types import F32, U8
from deid_ops.video.frame import Frame

Plane = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class SwapEdit:
    """A face that gets a generated crop.

    Attributes:
        track: track of the face; decides ties in the order.
        crop_bgr: `[S, S, 3]` uint8.
        crop_from_frame: `[2, 3]` similarity, frame pixels to crop pixels.
        weight: `[S, S]` uint8, how much of each crop pixel is drawn, of 255.
    """

    track: int
    crop_bgr: U8
    crop_from_frame: F32
    weight: U8


@dataclass(frozen=True, slots=True)
class RedactEdit:
    """A face that is made unreadable.

    Attributes:
        track: track of the face.
        box_xyxy_px: `[4]` face box, without margin.
        pattern_seed: from `redact.keyed.pattern_seed`.
    """

    track: int
    box_xyxy_px: F32
    pattern_seed: int


FaceEdit = SwapEdit | RedactEdit


@dataclass(frozen=True, slots=True)
class ComposeParams:
    """Redaction and its mask; the same for every frame of a run."""

    head: HeadMaskParams = field(default_factory=HeadMaskParams)
    redact: RedactParams = field(default_factory=RedactParams)


@dataclass(frozen=True, slots=True)
class ComposedFrame:
    """A frame after its edits, and where it may have changed.

    Attributes:
        frame: the result; without edits the input itself.
        regions: one per edit that touches the frame, in drawing order. Their `inside` pixels,
            and the chroma samples of these pixels, may differ from the input; nothing else.
    """

    frame: Frame
    regions: tuple[MaskRegion, ...]


def compose_frame(frame: Frame, edits: Sequence[FaceEdit], params: ComposeParams) -> ComposedFrame:
    """Replace the faces of one frame.

    Args:
        frame: as decoded; it is not changed.
        edits: one per face.
        params: redaction and its mask.

    Raises:
        InvariantError: pixel format or colour matrix that the decoder should have refused.
    """
    if not edits:
        return ComposedFrame(frame, ())
    layout = layout_of(frame)
    planes = [plane.copy() for plane in frame.planes]
    placed: list[tuple[FaceEdit, MaskRegion]] = []
    for edit in sorted(edits, key=_drawing_order):
        region = _region_of(edit, frame, layout, params)
        if region is not None:
            placed.append((edit, region))
    regions = tuple(region for _, region in placed)
    tones = tones_of_frame(frame, layout, regions)
    for edit, region in placed:
        if isinstance(edit, SwapEdit):
            _draw_swap(planes, frame, layout, edit, region)
        else:
            _draw_redaction(planes, layout, edit, region, tones, params)
    return ComposedFrame(replace(frame, planes=tuple(planes)), regions)


def _drawing_order(edit: FaceEdit) -> tuple[int, float, int]:
    if isinstance(edit, RedactEdit):
        x0, y0, x1, y1 = (float(v) for v in edit.box_xyxy_px)
        return 0, (x1 - x0) * (y1 - y0), edit.track
    squared_scale = abs(float(np.linalg.det(np.asarray(edit.crop_from_frame)[:, :2])))
    return 1, edit.crop_bgr.shape[0] ** 2 / max(squared_scale, 1e-12), edit.track


def _region_of(
    edit: FaceEdit, frame: Frame, layout: PlaneLayout, params: ComposeParams
) -> MaskRegion | None:
    size, sub = frame.size_wh_px, layout.sub_xy
    if isinstance(edit, SwapEdit):
        return swap_region(edit.crop_from_frame, edit.weight, size, sub)
    return head_region(edit.box_xyxy_px, size, sub, params.head)


def _draw_swap(
    planes: list[Plane], frame: Frame, layout: PlaneLayout, edit: SwapEdit, region: MaskRegion
) -> None:
    box = region.box_xyxy_px
    patch = warp_to_frame(edit.crop_bgr, edit.crop_from_frame, box, repeat_border=True)
    for i, values in enumerate(planes_from_bgr(patch, frame, layout)):
        _blend(planes[i], values, region, layout, i)


def _draw_redaction(
    planes: list[Plane],
    layout: PlaneLayout,
    edit: RedactEdit,
    region: MaskRegion,
    tones: Sequence[F32 | None],
    params: ComposeParams,
) -> None:
    extent = Extent(head_hull_px(edit.box_xyxy_px, params.head), region.box_xyxy_px)
    pattern = draw_pattern(seeded_generator(edit.pattern_seed))
    for i, (tone, codes) in enumerate(zip(tones, layout.codes, strict=True)):
        level = None if tone is None else float(tone.mean())
        values: F32 | float
        if i > 0:
            values = fill_chroma(level, codes, params.redact)
        elif layout.packed_bgr:
            values = fill_packed(tone, pattern, extent, codes, params.redact)
        else:
            values = fill_luma(level, pattern, extent, codes, params.redact)
        _blend(planes[i], values, region, layout, i)


def _blend(
    plane: Plane, values: F32 | float, region: MaskRegion, layout: PlaneLayout, plane_index: int
) -> None:
    """`plane + weight * (values - plane)`, rounded, in place; exact for weights 0 and 1."""
    sub_xy = layout.plane_sub_xy(plane_index)
    weight = max_over_footprints(region.weight, sub_xy)
    target = plane[_samples(region, sub_xy)]
    codes = layout.codes[plane_index]
    if plane.ndim == 3:
        weight = weight[..., None]
    old = target.astype(np.float32)
    step = np.clip(np.asarray(values, dtype=np.float32), codes.low, codes.high) - old
    step *= weight
    step += old
    np.rint(step, out=step)
    target[...] = step  # within the codes of the plane, so the cast is exact


def _samples(region: MaskRegion, sub_xy: tuple[int, int]) -> tuple[slice, slice]:
    """The samples of a plane whose footprints lie in the region."""
    x0, y0, x1, y1 = region.box_xyxy_px
    sx, sy = sub_xy
    return slice(y0 // sy, -(-y1 // sy)), slice(x0 // sx, -(-x1 // sx))
