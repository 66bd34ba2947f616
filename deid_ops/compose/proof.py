"""Proof, before encoding, that nothing changed outside the masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deid_ops.compose.mask import MaskRegion
from deid_ops.compose.planes import layout_of, max_over_footprints
from deid_ops.errors import InvariantError
from deid_ops.video.frame import Frame


def n_samples_changed_outside(before: Frame, after: Frame, regions: Sequence[MaskRegion]) -> int:
    """Count samples of all planes that differ although no mask allows it.

    A luma (or packed) sample may change where a region's `inside` is true; a chroma sample where
    it is true for one of the pixels it belongs to.

    Args:
        before: the decoded frame.
        after: the composed frame.
        regions: what `compose_frame` returned.

    Raises:
        InvariantError: the frames have another format, place, size or timestamp.
    """
    same = (
        before.pix_fmt == after.pix_fmt
        and (before.index, before.pts) == (after.index, after.pts)
        and [p.shape for p in before.planes] == [p.shape for p in after.planes]
        and [p.dtype for p in before.planes] == [p.dtype for p in after.planes]
    )
    if not same:
        raise InvariantError(
            f"frame {before.index} (pts {before.pts}, {before.pix_fmt}) was compared with frame "
            f"{after.index} (pts {after.pts}, {after.pix_fmt})"
        )
    layout = layout_of(before)
    count = 0
    for i, (old, new) in enumerate(zip(before.planes, after.planes, strict=True)):
        if old is new:
            continue
        differs = old != new
        sx, sy = layout.plane_sub_xy(i)
        for region in regions:
            x0, y0, x1, y1 = region.box_xyxy_px
            allowed = max_over_footprints(region.inside, (sx, sy))
            part = differs[y0 // sy : -(-y1 // sy), x0 // sx : -(-x1 // sx)]
            part &= ~(allowed if differs.ndim == 2 else allowed[..., None])
        count += int(np.count_nonzero(differs))
    return count


def require_untouched_outside(before: Frame, after: Frame, regions: Sequence[MaskRegion]) -> None:
    """Raise unless `n_samples_changed_outside` is zero.

    Raises:
        InvariantError: with the number of samples and the frame.
    """
    count = n_samples_changed_outside(before, after, regions)
    if count:
        raise InvariantError(
            f"frame {before.index} (pts {before.pts}): {count} samples changed outside the masks"
        )
