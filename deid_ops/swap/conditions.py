"""What the painters may know about a face, read off its crop once.

Leak rule: of the pixels inside the face's mask only its light passes, in a few numbers
(`light.py`), and six that say how strong the detail in it is. Two crops that agree outside the
mask, in the averages over its cells of 16x16 px and in those six, in pose, expression, gaze and the
length of the face give the very same feeds (tested).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.identity.vectors import unit_rows
from deid_ops.swap.contract import FINE_CELLS, LIGHT_CELLS, N_STRENGTHS
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.face_mask import face_masks, part_rows
from deid_ops.swap.layout import N_POINTS
from deid_ops.swap.light import mouth_shares, told_light
from deid_ops.types import F32, I32, I64, U8, Bool

CELL_PX = CROP_SIZE_PX // LIGHT_CELLS
RIM_SHARE = 1.0 / 16.0  # what the cells around count, beside the part of a cell in the mask
OUTSIDE_SHARE = 1e-3  # what pixels outside the mask count where no cell around has others
_PART_ROWS = part_rows()


@dataclass(frozen=True, slots=True)
class FaceConditions:
    """What was read off `n` original faces, and follows them through swap and diffusion.

    Attributes:
        points_px: [n, 136, 2] the mean face in the person's pose, expression, gaze and length.
        detail_rms: [n, 6] strength of the face's detail, see `detail_of`.

    Raises:
        InvariantError: the shapes differ.
    """

    points_px: F32
    detail_rms: F32

    def __post_init__(self) -> None:
        """Compare the shapes."""
        n = len(self.points_px)
        if self.points_px.shape != (n, N_POINTS, 2) or self.detail_rms.shape != (n, N_STRENGTHS):
            raise InvariantError(
                f"FaceConditions: points {self.points_px.shape}, detail {self.detail_rms.shape}"
            )

    def __len__(self) -> int:
        return len(self.points_px)

    def masks(self) -> Bool:
        """Return the pixels of each crop that are replaced, [n, 128, 128]."""
        return face_masks(self.points_px)

    def take(self, rows: I32 | I64) -> FaceConditions:
        """Return the conditions of some faces."""
        return FaceConditions(self.points_px[rows], self.detail_rms[rows])

    @classmethod
    def blank(cls, n: int) -> FaceConditions:
        """Return room for `n` faces, all zeros."""
        points, detail = (n, N_POINTS, 2), (n, N_STRENGTHS)
        return cls(np.zeros(points, np.float32), np.zeros(detail, np.float32))

    @classmethod
    def join(cls, parts: Sequence[FaceConditions]) -> FaceConditions:
        """Put conditions one after another; none at all give none."""
        all_of = [cls.blank(0), *parts]
        return cls(
            np.concatenate([part.points_px for part in all_of]),
            np.concatenate([part.detail_rms for part in all_of]),
        )


def to_planes(crops_bgr: U8) -> F32:
    """Turn crops [n, 128, 128, 3] BGR uint8 into [n, 3, 128, 128] RGB in [0, 1]."""
    planes = crops_bgr[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray(planes / np.float32(255.0))


def to_bgr(planes_rgb: F32) -> U8:
    """Turn [n, 3, 128, 128] RGB in [0, 1] into crops [n, 128, 128, 3] BGR uint8."""
    codes = np.clip(np.rint(planes_rgb * 255.0), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(codes.transpose(0, 2, 3, 1)[..., ::-1])


def surroundings_of(planes_rgb: F32, masks: Bool) -> F32:
    """Blank everything inside the masks [n, 128, 128]."""
    return np.where(masks[:, None], np.float32(0.0), planes_rgb).astype(np.float32)


def mask_planes(masks: Bool) -> F32:
    """Turn masks [n, 128, 128] into what the painters are fed, [n, 1, 128, 128]."""
    return masks[:, None].astype(np.float32)


def light_of(planes_rgb: F32, points_px: F32, masks: Bool) -> F32:
    """Return the light that is told of faces, [n, 3, 8, 8] in [0, 1].

    Args:
        planes_rgb: [n, 3, 128, 128] in [0, 1].
        points_px: [n, 136, 2] retargeted landmarks in crop pixels.
        masks: [n, 128, 128] what is replaced.
    """
    cells = cell_means(planes_rgb, masks, LIGHT_CELLS)
    return told_light(cells, cell_shares(masks), mouth_shares(points_px))


def cell_shares(masks: Bool) -> F32:
    """Return how much of each cell of the light lies in the masks [n, 128, 128]: [n, 1, 8, 8]."""
    return _pooled(mask_planes(masks), LIGHT_CELLS)


def detail_of(planes_rgb: F32, masks: Bool) -> F32:
    """Measure how strong a face's detail is in two bands and three parts, [n, 6].

    The root mean square, in units of the planes, of the brightness between cells of 16 and of 4 px
    on forehead, eyes and nose, mouth and chin, then of what is finer than 4 px on the same. The
    first tells contrast (haze, glass, glare), the second sharpness and grain; neither can be told
    from the surroundings, which may be a plain wall. The parts keep a bare forehead bare.

    Args:
        planes_rgb: [n, 3, 128, 128] in [0, 1].
        masks: [n, 128, 128] where to measure.
    """
    grey = planes_rgb.mean(axis=1, keepdims=True, dtype=np.float32)
    coarse, fine = (
        _enlarged(cell_means(grey, masks, cells)) for cells in (LIGHT_CELLS, FINE_CELLS)
    )
    bands = np.concatenate([fine - coarse, grey - fine], axis=1)
    parts = masks[:, None] * _PART_ROWS[None, :, :, None]
    total = parts.sum(axis=(2, 3))[:, None] + 1e-6
    squares = np.einsum("nbyx,npyx->nbp", bands**2, parts) / total
    return np.asarray(np.sqrt(squares).reshape(-1, N_STRENGTHS), dtype=np.float32)


def cell_means(planes: F32, masks: Bool, cells: int) -> F32:
    """Average [n, c, 128, 128] over `cells` x `cells` cells, within the mask: [n, c, cells, cells].

    A cell at the rim would else give hair's or the background's colour to the skin beside it. One
    that has hardly any of the mask is drawn to the averages of the cells around, so that no single
    pixel decides it; one far from the mask keeps its own average.
    """
    inside = mask_planes(masks)
    share, inner, whole = (_pooled(v, cells) for v in (inside, planes * inside, planes))
    near, near_share = (_means_of_nine(v) for v in (inner, share))
    around = (near + OUTSIDE_SHARE * whole) / (near_share + OUTSIDE_SHARE)
    return np.asarray((inner + RIM_SHARE * around) / (share + RIM_SHARE), dtype=np.float32)


def _pooled(planes: F32, cells: int) -> F32:
    n, channels = planes.shape[:2]
    side = CROP_SIZE_PX // cells
    parts = planes.reshape(n, channels, cells, side, cells, side)
    return np.asarray(parts.mean(axis=(3, 5), dtype=np.float64), dtype=np.float32)


def _means_of_nine(cells: F32) -> F32:
    """Average each cell with its eight neighbours; beyond the border there are zeros."""
    k = cells.shape[-1]
    framed = np.pad(cells, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = sum(framed[..., y : y + k, x : x + k] for y in range(3) for x in range(3))
    return np.asarray(total / np.float32(9.0), dtype=np.float32)


def _enlarged(cells: F32) -> F32:
    """Enlarge [n, 1, k, k] to [n, 1, 128, 128], bilinearly."""
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    big = [cv2.resize(one[0], size, interpolation=cv2.INTER_LINEAR) for one in cells]
    return np.asarray(big, dtype=np.float32).reshape(len(cells), 1, *size)


def generator_feeds(
    planes_rgb: F32, conditions: FaceConditions, anchors_unit: F32
) -> dict[str, F32]:
    """Return the generator's feeds by input name.

    Args:
        planes_rgb: [n, 3, 128, 128] the crops to paint on, RGB in [0, 1].
        conditions: of the originals.
        anchors_unit: [n, 128] identities to paint.
    """
    masks = conditions.masks()
    return {
        "surroundings_rgb": surroundings_of(planes_rgb, masks),
        "mask": mask_planes(masks),
        "light_rgb": light_of(planes_rgb, conditions.points_px, masks),
        "points_px": conditions.points_px,
        "detail_rms": conditions.detail_rms,
        "anchor_unit": unit_rows(anchors_unit),
    }
