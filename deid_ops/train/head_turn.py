"""Turn a head in a picture out of the plane, for networks that must read or paint turned heads.

Portraits look into the camera. Their landmarks are known in space, so the face is turned as a
surface of triangles and drawn anew: what comes to lie behind the nose or the head's edge is hidden
(Zhu et al. 2016, "face profiling"). Hair and surroundings are drawn along with the face's outline.
Then the crop is aligned again, as a detector would align it: a turned face fills more of its crop.
A teacher that looks at the result says what it shows; a painter is told the turned landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import Delaunay

from deid_ops.geometry import similarity_from_points, transform_points
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.layout import FIVE_POINTS, MESH_SURFACE_POINTS, OUTLINE
from deid_ops.swap.retarget import rotation_matrices
from deid_ops.types import F32, I32, I64, U8, Bool

_CELLS = 16  # the displacement around a face is computed at this many places a side
_BORDER_POINTS = 8  # a side, which stay
_NEAR_PX2 = 4.0  # squared distance within which a point of the outline is followed
_RAYS_PX = np.arange(0.0, 96.0, 0.5, dtype=np.float32)  # where a face's edge is looked for
_SUBPIXEL_BITS = 4  # of the triangles' corners, for OpenCV
_BOWED = 0.75  # of the most a head is turned
_STRAIGHT_DEG = 8.0  # turned by less, a head may be turned to either side
_EARS = (234, 454)  # the outline's points beside them, left and right


@dataclass(frozen=True, slots=True)
class TurnedHead:
    """Landmarks [478, 3] after a turn, and the similarity [2, 3] that aligned the crop again."""

    mesh_xyz_px: F32
    aligned_from_crop: F32


def turn(crop: U8, mesh_xyz_px: F32, rng: np.random.Generator, most_deg: float) -> U8:
    """Turn the head in a crop [128, 128, 3] with landmarks [478, 3], as `turned_head` does."""
    return drawn_along(crop, mesh_xyz_px, turned_head(mesh_xyz_px, rng, most_deg))


def turned_head(mesh_xyz_px: F32, rng: np.random.Generator, most_deg: float) -> TurnedHead:
    """Turn a head further away from the camera, to the side and up or down.

    What looks to a side already is turned on to that side: a cheek seen edgewise cannot be
    unfolded.

    Args:
        mesh_xyz_px: [478, 3] landmarks in crop pixels, z away from the camera.
        rng: draws the angles.
        most_deg: the head's yaw afterwards, unless it is turned further already. Necks bow less
            than they turn: up or down, it is moved by three quarters of this at most.
    """
    yaw_deg = _yaw_deg(mesh_xyz_px)
    pitch, share, side = rng.uniform(-1.0, 1.0, 3)
    if abs(yaw_deg) > _STRAIGHT_DEG:
        side = yaw_deg
    room_deg = max(most_deg - abs(yaw_deg), 0.0)
    return head_at(mesh_xyz_px, _BOWED * most_deg * pitch, np.sign(side) * abs(share) * room_deg)


def _yaw_deg(mesh_xyz_px: F32) -> float:
    """Return about how far a head is turned, from the line between its ears."""
    left, right = mesh_xyz_px[_EARS[0]], mesh_xyz_px[_EARS[1]]
    return float(np.rad2deg(np.arctan2(left[2] - right[2], right[0] - left[0])))


def head_at(mesh_xyz_px: F32, pitch_deg: float, yaw_deg: float) -> TurnedHead:
    """Turn landmarks [478, 3] about their centre by two angles, and align them as they were."""
    rotation = rotation_matrices(np.array([[0.0, pitch_deg, yaw_deg]], dtype=np.float32))[0]
    centre = mesh_xyz_px.mean(axis=0)
    mesh = np.asarray((mesh_xyz_px - centre) @ rotation.T + centre, dtype=np.float32)
    aligned = similarity_from_points(_five(mesh)[None], _five(mesh_xyz_px))[0].astype(np.float32)
    mesh[:, :2] = transform_points(aligned[None], mesh[None, :, :2])[0]
    return TurnedHead(mesh, aligned)


def _five(mesh_xyz_px: F32) -> F32:
    """Return eyes, nose and mouth corners [5, 2] of landmarks [478, 3]."""
    return np.asarray(mesh_xyz_px[np.array(FIVE_POINTS), :2].mean(axis=1), dtype=np.float32)


def drawn_along(picture: U8, mesh_xyz_px: F32, head: TurnedHead) -> U8:
    """Draw a picture so that its landmarks lie where a turn put them.

    Args:
        picture: [128, 128, c].
        mesh_xyz_px: [478, 3] its landmarks in pixels.
        head: where they shall lie.

    Returns:
        [128, 128, c]. Beyond the picture's border its border repeats.
    """
    before, after = mesh_xyz_px[:MESH_SURFACE_POINTS], head.mesh_xyz_px[:MESH_SURFACE_POINTS]
    triangles = np.asarray(Delaunay(before[:, :2]).simplices, dtype=np.int64)
    front = _triangle_in_front(after, triangles)
    maps = _around(front >= 0, before, after, head.aligned_from_crop)
    y, x = np.nonzero(front >= 0)
    corners = triangles[front[y, x]]
    pixels = np.stack([x, y], axis=1).astype(np.float32)
    shares = _barycentric(pixels, after[corners][..., :2])
    maps[y, x] = (shares[..., None] * before[corners][..., :2]).sum(axis=1)
    new = cv2.remap(
        picture, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(new, dtype=np.uint8)


def _triangle_in_front(mesh_xyz_px: F32, triangles: I64) -> I32:
    """Return which of the triangles [t, 3] each pixel shows, [128, 128]; -1 where there is none.

    The furthest is drawn first (the painter's algorithm). What shows its back is not drawn.
    """
    corners = mesh_xyz_px[triangles]
    a, b, c = (corners[:, k, :2] for k in range(3))
    area = _cross(b - a, c - a)
    front = np.full((CROP_SIZE_PX, CROP_SIZE_PX), -1, dtype=np.int32)
    fixed = np.rint(corners[..., :2] * 2**_SUBPIXEL_BITS).astype(np.int32)
    for index in np.argsort(-corners[..., 2].mean(axis=1)):
        if area[index] > 0.0:
            cv2.fillConvexPoly(front, fixed[index], int(index), shift=_SUBPIXEL_BITS)
    return front


def _barycentric(points: F32, corners: F32) -> F32:
    """Return the shares [n, 3] of the corners [n, 3, 2] in points [n, 2].

    A pixel on an edge has its middle outside its triangle by up to half a pixel: shares may be
    negative, within limits, because slivers would throw it far.
    """
    a, b, c = (corners[:, k] for k in range(3))
    u, v, w = b - a, c - a, points - a
    area = _cross(u, v)
    area = np.where(np.abs(area) < 1e-6, 1e-6, area)
    s, t = (np.clip(_cross(*sides) / area, -0.5, 1.5) for sides in ((w, v), (u, w)))
    return np.asarray(np.stack([1.0 - s - t, s, t], axis=1), dtype=np.float32)


def _cross(first: F32, second: F32) -> F32:
    """Return the cross products [n] of vectors [n, 2]: twice the area of their triangles."""
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _around(shown: Bool, before: F32, after: F32, aligned_from_crop: F32) -> F32:
    """Return where in the picture each pixel around the face comes from, [128, 128, 2].

    The face's outline moves to the edge of what is shown of it, the border with the alignment;
    between them the moves are averaged by distance (Shepard 1968).
    """
    outline = np.array(OUTLINE)
    edge = _to_the_edge(shown, after[outline, :2])
    border = _border()
    moved = transform_points(aligned_from_crop[None], border[None])[0]
    known = np.concatenate([edge, moved])
    moves = known - np.concatenate([before[outline, :2], border])
    places = np.linspace(0, CROP_SIZE_PX - 1, _CELLS, dtype=np.float32)
    grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 1, 2)
    weight = 1.0 / (np.square(grid - known).sum(axis=2) + _NEAR_PX2) ** 2
    field = (weight @ moves / weight.sum(axis=1, keepdims=True)).reshape(_CELLS, _CELLS, 2)
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    field = cv2.resize(field.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    pixels = np.stack(np.meshgrid(*[np.arange(CROP_SIZE_PX, dtype=np.float32)] * 2), axis=-1)
    return np.asarray(pixels - field, dtype=np.float32)


def _to_the_edge(shown: Bool, outline: F32) -> F32:
    """Move an outline [k, 2] along rays from its middle to where the face ends in the picture."""
    middle = outline.mean(axis=0)
    ray = outline - middle
    length = np.linalg.norm(ray, axis=1, keepdims=True)
    ray = ray / np.maximum(length, 1e-6)
    places = middle + _RAYS_PX[:, None, None] * ray
    x, y = np.clip(np.rint(places), 0, CROP_SIZE_PX - 1).astype(np.int64).transpose(2, 0, 1)
    hit = shown[y, x]
    last = _RAYS_PX[len(hit) - 1 - np.argmax(hit[::-1], axis=0)][:, None]
    return np.asarray(middle + np.where(hit.any(0)[:, None], last, length) * ray, dtype=np.float32)


def _border() -> F32:
    """Return points on the crop's border [32, 2]."""
    edge = np.linspace(0, CROP_SIZE_PX - 1, _BORDER_POINTS, dtype=np.float32)
    near, far = np.zeros_like(edge), np.full_like(edge, CROP_SIZE_PX - 1)
    sides = ((edge, near), (edge, far), (near, edge), (far, edge))
    return np.concatenate([np.stack(side, 1) for side in sides])
