"""The networks that label training crops: dense landmarks, expression, identity.

They are used when data is prepared and never at run time; the project's own networks learn from
them. Files: MediaPipe's face mesh with irises and its blendshape network, and a MobileFaceNet
(foamliu, MS1M), all as ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from deid_ops.errors import SetupError
from deid_ops.swap.crop import CROP_SIZE_PX, ENCODER_SLICE
from deid_ops.swap.layout import MESH_MIRROR, MESH_POINTS, mirrored_points
from deid_ops.types import F32, U8

MESH_SIZE_PX = 256
_BATCH = 16  # faces the mesh network is shown at once
ENCODER_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
ENCODER_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# The 146 mesh points the blendshape network reads, in its order (MediaPipe, Apache-2.0).
BLENDSHAPE_INPUT = np.array(
    [
        0,
        1,
        4,
        5,
        6,
        7,
        8,
        10,
        13,
        14,
        17,
        21,
        33,
        37,
        39,
        40,
        46,
        52,
        53,
        54,
        55,
        58,
        61,
        63,
        65,
        66,
        67,
        70,
        78,
        80,
        81,
        82,
        84,
        87,
        88,
        91,
        93,
        95,
        103,
        105,
        107,
        109,
        127,
        132,
        133,
        136,
        144,
        145,
        146,
        148,
        149,
        150,
        152,
        153,
        154,
        155,
        157,
        158,
        159,
        160,
        161,
        162,
        163,
        168,
        172,
        173,
        176,
        178,
        181,
        185,
        191,
        195,
        197,
        234,
        246,
        249,
        251,
        263,
        267,
        269,
        270,
        276,
        282,
        283,
        284,
        285,
        288,
        291,
        293,
        295,
        296,
        297,
        300,
        308,
        310,
        311,
        312,
        314,
        317,
        318,
        321,
        323,
        324,
        332,
        334,
        336,
        338,
        356,
        361,
        362,
        365,
        373,
        374,
        375,
        377,
        378,
        379,
        380,
        381,
        382,
        384,
        385,
        386,
        387,
        388,
        389,
        390,
        397,
        398,
        400,
        402,
        405,
        409,
        415,
        454,
        466,
        468,
        469,
        470,
        471,
        472,
        473,
        474,
        475,
        476,
        477,
    ]
)


@dataclass(frozen=True, slots=True)
class Labels:
    """What the teachers say about `n` crops."""

    mesh_xyz_px: F32  # [n, 478, 3] in crop pixels (z in the same unit, smaller is nearer)
    presence: F32  # [n] the mesh network's own confidence that this is a face, in [0, 1]
    expression: F32  # [n, 52] in [0, 1]
    identity_unit: F32  # [n, 128]


def _session(path: Path, threads: int) -> ort.InferenceSession:
    if not path.is_file():
        raise SetupError(f"{path}: no such teacher network; give the folder with --teachers")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Teachers:
    """The three labelling networks, loaded once.

    Args:
        folder: where `mp_face_landmarks.onnx`, `mp_blendshapes.onnx` and
            `mobilefacenet_foamliu_ms1m.onnx` lie.
        threads: CPU threads per network.
        identity_only: label nothing but identity (five times faster; enough to distil the
            encoder); landmarks and expression are then zero.

    Raises:
        SetupError: one of the files is missing.
    """

    def __init__(self, folder: Path, threads: int = 2, *, identity_only: bool = False) -> None:
        self.identity_only = identity_only
        self._mesh = None if identity_only else _session(folder / "mp_face_landmarks.onnx", threads)
        # 2 ms a face at batch 1: more threads cost more than they give.
        self._blend = None if identity_only else _session(folder / "mp_blendshapes.onnx", 1)
        self._identity = _session(folder / "mobilefacenet_foamliu_ms1m.onnx", threads)

    def label(self, fine_rgb: U8, crops_rgb: U8) -> Labels:
        """Label `n` faces.

        Args:
            fine_rgb: [n, 256, 256, 3], the crop's field of view at twice its resolution.
            crops_rgb: [n, 128, 128, 3].
        """
        identity = self.identity(crops_rgb)
        if self._mesh is None:
            n = len(crops_rgb)
            mesh = np.zeros((n, MESH_POINTS, 3), np.float32)
            expression = np.zeros((n, 52), np.float32)
            return Labels(mesh, np.ones(n, np.float32), expression, identity)
        mesh, presence = self.mesh(fine_rgb)
        return Labels(mesh, presence, self.expression(mesh), identity)

    def mesh(self, fine_rgb: U8) -> tuple[F32, F32]:
        """Return landmarks [n, 478, 3] in crop pixels and presence [n]."""
        if self._mesh is None:
            raise SetupError("these teachers label identity only")
        feed = fine_rgb.astype(np.float32) / 255.0
        raw, score, _ = self._mesh.run(None, {self._mesh.get_inputs()[0].name: feed})
        points = raw.reshape(len(fine_rgb), MESH_POINTS, 3) * (CROP_SIZE_PX / MESH_SIZE_PX)
        points[..., :2] -= 0.5  # the mesh counts from pixel edges
        presence = 1.0 / (1.0 + np.exp(-score.reshape(len(fine_rgb))))
        return points.astype(np.float32), presence.astype(np.float32)

    def expression(self, mesh_xyz_px: F32) -> F32:
        """Return 52 expression coefficients [n, 52]; the network takes one face at a time."""
        if self._blend is None:
            raise SetupError("these teachers label identity only")
        name = self._blend.get_inputs()[0].name
        points = np.ascontiguousarray(mesh_xyz_px[:, BLENDSHAPE_INPUT, :2]) * 2.0
        rows = [self._blend.run(None, {name: p[None]})[0] for p in points]
        return np.asarray(rows, dtype=np.float32).reshape(len(points), 52)

    def identity(self, crops_rgb: U8) -> F32:
        """Return unit identity vectors [n, 128] of crops [n, 128, 128, 3]."""
        rows, columns = ENCODER_SLICE
        feed = (crops_rgb[:, rows, columns].astype(np.float32) / 255.0 - ENCODER_MEAN) / ENCODER_STD
        feed = np.ascontiguousarray(feed.transpose(0, 3, 1, 2))
        raw = self._identity.run(None, {self._identity.get_inputs()[0].name: feed})[0]
        return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), dtype=np.float32)


def meshes_both_ways(teachers: Teachers, fine_rgb: U8) -> tuple[tuple[F32, F32], tuple[F32, F32]]:
    """Read crops [n, 256, 256, 3] as they are, and mirrored with the reading mirrored back.

    Returns:
        Twice `(mesh [n, 478, 3] in pixels of the 128 px crop, presence [n])`.
    """
    mesh, sure = _mesh_in_batches(teachers, fine_rgb)
    mirrored, sure_mirrored = _mesh_in_batches(teachers, fine_rgb[:, :, ::-1])
    return (mesh, sure), (mirrored_points(mirrored, MESH_MIRROR, CROP_SIZE_PX), sure_mirrored)


def mean_mesh(teachers: Teachers, fine_rgb: U8) -> tuple[F32, F32]:
    """Read crops [n, 256, 256, 3] both ways and return the mean mesh and the lesser presence.

    On small faces a mesh and the one of the mirrored picture are as far apart as what an output's
    may differ from its original's (`deid evaluate --clip`, `source_mirrored`); the mean's error is
    about half of that.

    Returns:
        `(mesh [n, 478, 3] in pixels of the 128 px crop, presence [n] in [0, 1])`.
    """
    (first, sure), (second, sure_mirrored) = meshes_both_ways(teachers, fine_rgb)
    return np.float32(0.5) * (first + second), np.minimum(sure, sure_mirrored)


def _mesh_in_batches(teachers: Teachers, fine_rgb: U8) -> tuple[F32, F32]:
    starts = range(0, max(len(fine_rgb), 1), _BATCH)
    parts = [teachers.mesh(np.ascontiguousarray(fine_rgb[i : i + _BATCH])) for i in starts]
    meshes, presences = zip(*parts, strict=True)
    return np.concatenate(meshes), np.concatenate(presences)


def sharpness(crop_rgb: U8) -> float:
    """Variance of the Laplacian of the grey crop, on a 0..255 scale; small means blurred."""
    grey = cv2.cvtColor(crop_rgb, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())
