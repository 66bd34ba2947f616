"""The dense landmarks of this project: which of the teacher's 478 points, in which groups.

The attribute network predicts `N_POINTS` points; heat maps are drawn one channel per group. The
numbers are indices into MediaPipe's canonical face mesh with irises (468 + 10 points).
"Left" is the left of the image, as in `deid_ops.types`.
"""

from __future__ import annotations

from typing import Final

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
