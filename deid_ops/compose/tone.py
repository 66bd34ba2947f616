"""Brightness and tint of the published picture, which mosaics take over.

Only samples that no edit of the frame may change are averaged: they are in the published frame as
they are here, so a mosaic made of them tells nothing that is not shown anyway. All heads of a frame
get the same tone: that of what lies beside a head would say in which light its face is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from deid_ops.compose.mask import MaskRegion
from deid_ops.compose.planes import PlaneLayout
from deid_ops.types import F32, Bool
from deid_ops.video.frame import Frame

_SAMPLES = 64  # looked at along each axis of a plane: enough for a mean good to about a code


def tones_of_frame(
    frame: Frame, layout: PlaneLayout, regions: Sequence[MaskRegion]
) -> tuple[F32 | None, ...]:
    """Return the mean samples of what is published of a frame, for each plane.

    Args:
        frame: the original.
        layout: of its planes.
        regions: masks of all its edits.

    Returns:
        For each plane `[1]` codes, `[3]` for packed BGR; None where masks leave nothing.
    """
    tones: list[F32 | None] = []
    for i, plane in enumerate(frame.planes):
        step_y, step_x = (math.ceil(n / _SAMPLES) for n in plane.shape[:2])
        shown = _shown(plane.shape[:2], (step_x, step_y), layout.plane_sub_xy(i), regions)
        samples = plane[::step_y, ::step_x][shown]
        mean = samples.mean(axis=0, dtype=np.float64) if len(samples) else None
        tones.append(None if mean is None else np.atleast_1d(mean).astype(np.float32))
    return tuple(tones)


def _shown(
    shape: Sequence[int],
    step_xy: tuple[int, int],
    sub_xy: tuple[int, int],
    regions: Sequence[MaskRegion],
) -> Bool:
    """Which of every `step`-th sample lie beside all masks' rectangles; those hold footprints."""
    rows, columns = (np.arange(0, n, s) for n, s in zip(shape, step_xy[::-1], strict=True))
    shown = np.ones((len(rows), len(columns)), np.bool_)
    for region in regions:
        x0, y0, x1, y1 = region.box_xyxy_px
        in_rows = (rows >= y0 // sub_xy[1]) & (rows < -(-y1 // sub_xy[1]))
        in_columns = (columns >= x0 // sub_xy[0]) & (columns < -(-x1 // sub_xy[0]))
        shown &= ~(in_rows[:, None] & in_columns[None, :])
    return shown
