"""The dense landmarks of this project: which of the teacher's 478 points, in which groups.

The attribute network predicts `N_POINTS` points; heat maps are drawn one channel per group. The
numbers are indices into MediaPipe's canonical face mesh with irises (468 + 10 points).
"Left" is the left of the image, as in `deid_ops.types`.

Mirrored, a point becomes its partner on the other side, and so does an expression coefficient.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from deid_ops.types import F32, I64

_GROUPS: Final[dict[str, tuple[int, ...]]] = {
    "contour": (
        10,
        297,
        284,
        389,
        454,
        361,
        397,
        379,
        400,
        152,
        176,
        150,
        172,
        132,
        234,
        162,
        54,
        67,
    ),
    "left_brow": (46, 53, 52, 65, 55, 70, 63, 105, 66, 107),
    "right_brow": (276, 283, 282, 295, 285, 300, 293, 334, 296, 336),
    "left_eye": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    "right_eye": (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
    "left_iris": (468, 469, 470, 471, 472),
    "right_iris": (473, 474, 475, 476, 477),
    "nose": (168, 6, 197, 195, 5, 4, 1, 19, 94, 2, 98, 97, 326, 327, 64, 294),
    "outer_lips": (
        61,
        146,
        91,
        181,
        84,
        17,
        314,
        405,
        321,
        375,
        291,
        409,
        270,
        269,
        267,
        0,
        37,
        39,
        40,
        185,
    ),
    "inner_lips": (
        78,
        95,
        88,
        178,
        87,
        14,
        317,
        402,
        318,
        324,
        308,
        415,
        310,
        311,
        312,
        13,
        82,
        81,
        80,
        191,
    ),
}
GROUP_NAMES: Final = tuple(_GROUPS)
MESH_INDEX: Final = tuple(i for points in _GROUPS.values() for i in points)
N_POINTS: Final = len(MESH_INDEX)
N_GROUPS: Final = len(GROUP_NAMES)
N_EXPRESSION: Final = 52
MESH_POINTS: Final = 478
MESH_SURFACE_POINTS: Final = 468  # the first, on the skin; the rest are the irises
OUTLINE: Final = _GROUPS["contour"]
# Pairs of mesh points whose middle a detector finds: eyes, nose, mouth corners.
FIVE_POINTS: Final = ((33, 133), (263, 362), (4, 4), (61, 61), (291, 291))

# (left, right, how many in a row): partners in the mesh. The other 28 points lie in the middle.
_MESH_PARTNERS: Final = (
    *((3, 248, 1), (7, 249, 1), (20, 250, 74), (95, 324, 56), (153, 380, 11), (165, 391, 3)),
    *((169, 394, 6), (176, 400, 19), (196, 419, 1), (198, 420, 1), (201, 421, 47)),
    *((468, 473, 1), (469, 476, 1), (470, 475, 1), (471, 474, 1), (472, 477, 1)),
)
# Partners among the 52 coefficients, in the order of MediaPipe's names.
_EXPRESSION_PARTNERS: Final = (
    *((1, 2), (4, 5), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (17, 18), (19, 20), (21, 22)),
    *((24, 26), (28, 29), (30, 31), (33, 39), (34, 35), (36, 37), (44, 45), (46, 47), (48, 49)),
    (50, 51),
)


def group_slice(name: str) -> slice:
    """Return where a group's points lie in the `N_POINTS` order.

    Example:
        >>> group_slice("left_brow")
        slice(18, 28, None)
    """
    start = 0
    for other, points in _GROUPS.items():
        if other == name:
            return slice(start, start + len(points))
        start += len(points)
    raise KeyError(name)


def position_of(mesh_index: int) -> int:
    """Return the position of a mesh point in the `N_POINTS` order."""
    return MESH_INDEX.index(mesh_index)


def five_points(points: F32) -> F32:
    """Return eyes, nose and mouth corners [n, 5, d] of landmarks [n, 136, d]."""
    pairs = np.array([[position_of(i) for i in pair] for pair in FIVE_POINTS])
    return np.asarray(points[:, pairs].mean(axis=2), dtype=np.float32)


def _mirror(n: int, pairs: Iterable[tuple[int, int]]) -> I64:
    """Return the partner of each of `n` entries; one that is in no pair is its own."""
    partner = np.arange(n)
    for left, right in pairs:
        partner[[left, right]] = right, left
    return partner


MESH_MIRROR: Final = _mirror(
    MESH_POINTS, ((a + i, b + i) for a, b, count in _MESH_PARTNERS for i in range(count))
)
POINT_MIRROR: Final = np.array([position_of(int(MESH_MIRROR[i])) for i in MESH_INDEX])
EXPRESSION_MIRROR: Final = _mirror(N_EXPRESSION, _EXPRESSION_PARTNERS)


def mirrored_points(points_px: F32, partner: I64, size_px: int) -> F32:
    """Return landmarks [n, k, d] of pictures of a width, mirrored left to right.

    Args:
        points_px: the first of the `d` coordinates is x.
        partner: [k] of each point, `POINT_MIRROR` or `MESH_MIRROR`.
        size_px: width of the picture.

    Returns:
        [n, k, d]; mirrored twice, points are what they were.
    """
    out = points_px[:, partner].copy()
    out[..., 0] = size_px - 1 - out[..., 0]
    return out
