"""The faces that the painters learn from, in memory: heads turned, crops placed as the job does."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deid_ops.geometry import similarity_from_points, transform_points
from deid_ops.swap.crop import CROP_SIZE_PX, TEMPLATE_PX
from deid_ops.swap.layout import five_points
from deid_ops.swap.retarget import FaceShape, retarget
from deid_ops.train.data import Pack
from deid_ops.train.head_turn import drawn_along, turned_head
from deid_ops.train.shape import layout_points, pose_labels
from deid_ops.types import F32, I64, U8, Bool


@dataclass(frozen=True, slots=True)
class PaintData:
    """One split in memory."""

    crops_rgb: U8  # [n, 128, 128, 3]
    inside_bits: U8  # [n, 2048]
    mesh_xyz_px: F32  # [n, 478, 3]
    points_px: F32  # [n, 136, 2] retargeted
    pose_deg: F32  # [n, 3] roll, pitch, yaw
    expression: F32  # [n, 52]
    identity_unit: F32  # [n, 128]
    anchors_unit: F32  # [m, 128], may be empty
    shape: FaceShape  # on which landmarks are retargeted
    rows_by_source: tuple[I64, ...]  # each one's rows; none is empty

    def draw_rows(self, n: int, rng: np.random.Generator) -> I64:
        """Draw `n` rows, each source equally often.

        Of 27,000 faces of the shipped weights one in seven is of a portrait as large as what is
        painted; where these were drawn as seldom, a painter forgot them first.
        """
        source = rng.integers(0, len(self.rows_by_source), n)
        return np.array([rng.choice(self.rows_by_source[s]) for s in source], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Misplacing:
    """How far crops lie off from where they should: standard deviations.

    The job's do because its network misreads a face a little, and now and then a detector places
    a crop instead.
    """

    shift_px: float = 0.8
    scale: float = 0.015  # natural logarithm
    rotation_deg: float = 1.0


@dataclass(frozen=True, slots=True)
class PaintFaces:
    """Some faces as the painters get to see them."""

    crops_rgb: U8  # [n, 128, 128, 3]
    inside: F32  # [n, 128, 128] 1 where the picture is
    points_px: F32  # [n, 136, 2] retargeted
    pose_deg: F32  # [n, 3] roll, pitch, yaw


def load_paint_data(
    pack: Pack, shape: FaceShape, split: int, anchors_unit: F32 | None = None
) -> PaintData:
    """Read one split and retarget its landmarks."""
    rows = pack.rows(split)
    columns = pack.columns
    mesh, expression = np.asarray(columns["mesh_xyz_px"][rows]), columns["expression"][rows]
    pose = pose_labels(mesh, shape, expression)
    source = np.asarray(columns["source_index"][rows])
    return PaintData(
        np.asarray(columns["crops_rgb"][rows]),
        np.asarray(columns["inside_bits"][rows]),
        mesh,
        retarget(shape, layout_points(mesh), pose, expression),
        pose,
        np.asarray(expression),
        np.asarray(columns["identity_unit"][rows]),
        np.zeros((0, 128), np.float32) if anchors_unit is None else anchors_unit,
        shape,
        tuple(np.flatnonzero(source == number) for number in np.unique(source)),
    )


def faces_at(
    data: PaintData, rows: I64, turned: Bool, turn_deg: float, rng: np.random.Generator
) -> PaintFaces:
    """Return the faces of some rows, some of them with their heads turned.

    Portraits look into the camera: of the training faces one in twelve is turned by more than 20
    degrees. A painter that has hardly seen a far cheek smears it.

    Args:
        data: the faces.
        rows: [n] which.
        turned: [n] which heads are turned.
        turn_deg: of yaw, at most (`turned_head`).
        rng: draws the angles.
    """
    bits = np.unpackbits(data.inside_bits[rows], axis=1)
    faces = PaintFaces(
        data.crops_rgb[rows],
        bits.reshape(-1, CROP_SIZE_PX, CROP_SIZE_PX).astype(np.float32),
        data.points_px[rows],
        data.pose_deg[rows],
    )
    chosen = np.flatnonzero(turned)
    if len(chosen):
        _turn_heads(data, faces, rows, chosen, turn_deg, rng)
    return faces


def placed(faces: PaintFaces, off: Misplacing, rng: np.random.Generator) -> PaintFaces:
    """Return faces cut out of their crops as the job cuts them (`deid_ops/pipeline/place.py`).

    The mean face's eyes, nose and mouth corners come to lie on the template, but for `off`. A
    detector's points, by which training crops were cut, lie around the person's own.
    """
    n, centre = len(faces.points_px), (CROP_SIZE_PX - 1) / 2
    goal = TEMPLATE_PX - centre
    angle = np.deg2rad(off.rotation_deg) * rng.standard_normal(n)
    scale = np.exp(off.scale * rng.standard_normal(n))
    along, across = (scale * f(angle) for f in (np.cos, np.sin))
    turns = np.stack([along, -across, across, along], axis=1).reshape(n, 2, 2)
    shift = off.shift_px * rng.standard_normal((n, 1, 2))
    goals = goal @ turns.transpose(0, 2, 1) + centre + shift
    matrices = similarity_from_points(five_points(faces.points_px), goals).astype(np.float32)
    roll_deg = np.rad2deg(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    pictures = zip(faces.crops_rgb, faces.inside, matrices, strict=True)
    cut = [_cut(crop, inside, matrix) for crop, inside, matrix in pictures]
    return PaintFaces(
        np.stack([crop for crop, _ in cut]),
        np.stack([inside for _, inside in cut]),
        transform_points(matrices, faces.points_px).astype(np.float32),
        faces.pose_deg + np.stack([roll_deg, 0 * roll_deg, 0 * roll_deg], 1).astype(np.float32),
    )


def _cut(crop: U8, inside: F32, matrix: F32) -> tuple[U8, F32]:
    """Warp a crop [128, 128, 3] and where it shows its picture [128, 128]; borders repeat."""
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    # a bilinear warp would blur what the painter shall learn to paint sharp
    new = cv2.warpAffine(crop, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpAffine(inside, matrix, size, flags=cv2.INTER_LINEAR) > 0.99
    return np.asarray(new, dtype=np.uint8), seen.astype(np.float32)


def _turn_heads(
    data: PaintData,
    faces: PaintFaces,
    rows: I64,
    chosen: I64,
    turn_deg: float,
    rng: np.random.Generator,
) -> None:
    """Turn the chosen of the faces in their arrays, which are copies of the data's."""
    meshes = []
    for row in chosen:
        mesh = data.mesh_xyz_px[rows[row]]
        picture = np.dstack([faces.crops_rgb[row], faces.inside[row] * 255.0]).astype(np.uint8)
        head = turned_head(mesh, rng, turn_deg)
        drawn = drawn_along(picture, mesh, head)
        faces.crops_rgb[row], faces.inside[row] = drawn[..., :3], drawn[..., 3] > 254
        meshes.append(head.mesh_xyz_px)
    after = np.stack(meshes)
    expression = data.expression[rows[chosen]]
    faces.pose_deg[chosen] = pose_labels(after, data.shape, data.expression)
    faces.points_px[chosen] = retarget(
        data.shape, layout_points(after), faces.pose_deg[chosen], expression
    )
