"""Brightness and tint of the published picture around a head, which its mosaic takes over.

Only samples that no edit of the frame may change are averaged: they are in the published frame as
they are here, so a mosaic made of them tells nothing that is not shown anyway.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deid_ops.compose.mask import MaskRegion
from deid_ops.compose.planes import PlaneLayout, max_over_footprints
from deid_ops.types import F32, Bool
from deid_ops.video.frame import Frame

#: Width of the band around a mask, as a share of the mask's size; wide enough for a steady mean.
BAND = 0.25
BAND_MIN_PX = 4


def tones_around(
    frame: Frame, layout: PlaneLayout, region: MaskRegion, regions: Sequence[MaskRegion]
) -> tuple[F32 | None, ...]:
    """Return the mean samples of the published picture around a mask, for each plane.

    Args:
        frame: the original.
        layout: of its planes.
        region: the mask.
        regions: masks of all edits of the frame, this one among them.

    Returns:
        For each plane `[1]` codes, `[3]` for packed BGR; None where every sample of the band around
        the mask may be changed by an edit, or lies outside the frame.
    """
    box = _band_px(region, frame.size_wh_px, layout.sub_xy)
    covered = _covered(box, regions)
    tones: list[F32 | None] = []
    for i, plane in enumerate(frame.planes):
        sx, sy = layout.plane_sub_xy(i)
        shown = ~max_over_footprints(covered, (sx, sy))
        part = plane[box[1] // sy : -(-box[3] // sy), box[0] // sx : -(-box[2] // sx)]
        samples = part[shown]
        mean = samples.mean(axis=0, dtype=np.float64) if len(samples) else None
        tones.append(None if mean is None else np.atleast_1d(mean).astype(np.float32))
    return tuple(tones)


def _band_px(
    region: MaskRegion, frame_size_wh_px: tuple[int, int], sub_xy: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The mask's rectangle with the band around it, cut at the frame, of whole footprints."""
    x0, y0, x1, y1 = region.box_xyxy_px
    ends: list[tuple[int, int]] = []
    for start, stop, sub, size in zip((x0, y0), (x1, y1), sub_xy, frame_size_wh_px, strict=True):
        band = max(round(BAND * (stop - start)), BAND_MIN_PX)
        ends.append((max(start - band, 0) // sub * sub, min(-(-(stop + band) // sub) * sub, size)))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def _covered(box_xyxy_px: tuple[int, int, int, int], regions: Sequence[MaskRegion]) -> Bool:
    """Pixels of the box that an edit may change."""
    x0, y0, x1, y1 = box_xyxy_px
    covered = np.zeros((y1 - y0, x1 - x0), np.bool_)
    for other in regions:
        left, top, right, bottom = other.box_xyxy_px
        a, b, c, d = max(left, x0), max(top, y0), min(right, x1), min(bottom, y1)
        if a < c and b < d:
            inside = other.inside[b - top : d - top, a - left : c - left]
            covered[b - y0 : d - y0, a - x0 : c - x0] |= inside
    return covered
