"""The faces that the painters learn from, in memory, and some of them with their heads turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deid_ops.swap.crop import CROP_SIZE_PX
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
