"""Attribute readers: the project's own network, or third-party teachers for judging."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from deid_ops.inference.session import CPU, Runtime
from deid_ops.metrics.attributes import rotation_from_euler
from deid_ops.metrics.utility import FaceAttributes, attributes_from_mesh
from deid_ops.swap.attributes import AttributeReader as AttributeNetwork
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.layout import MESH_INDEX
from deid_ops.train.teachers import MESH_POINTS, Teachers
from deid_ops.types import F32, U8

_BATCH = 16


class TeacherReader:
    """MediaPipe's mesh and expression networks, from which the generator's own network learned.

    Args:
        folder: holds `mp_face_landmarks.onnx` and `mp_blendshapes.onnx`, see `Teachers`.
        threads: CPU threads.
    """

    name = "mediapipe_mesh"

    def __init__(self, folder: Path, threads: int = 2) -> None:
        self._teachers = Teachers(folder, threads)

    def read(self, crops_bgr: U8) -> FaceAttributes:
        """Read `[n, 256, 256, 3]` crops."""
        parts = [
            self._read(crops_bgr[i : i + _BATCH]) for i in range(0, max(len(crops_bgr), 1), _BATCH)
        ]
        return FaceAttributes(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("points_xy_px", "rotation", "gaze_deg", "expression", "present")
            )
        )

    def _read(self, crops_bgr: U8) -> FaceAttributes:
        mesh, presence = self._teachers.mesh(np.ascontiguousarray(crops_bgr[..., ::-1]))
        return attributes_from_mesh(mesh, self._teachers.expression(mesh), presence)


class OwnReader:
    """The project's own attribute network.

    It also feeds the generator, so its figures flatter the replacement; prefer `TeacherReader`
    where its files are at hand. It has no opinion on whether a crop shows a face: every crop counts
    as read.

    Args:
        path: the attribute network.
        runtime: provider and threads.
    """

    name = "own_attributes"

    def __init__(self, path: str, runtime: Runtime = CPU) -> None:
        self._network = AttributeNetwork(path, runtime)

    def read(self, crops_bgr: U8) -> FaceAttributes:
        """Read `[n, 256, 256, 3]` crops."""
        size = (CROP_SIZE_PX, CROP_SIZE_PX)
        small = [cv2.resize(c, size, interpolation=cv2.INTER_AREA)[..., ::-1] for c in crops_bgr]
        planes = np.stack(small).transpose(0, 3, 1, 2).astype(np.float32) / 255.0
        found = self._network.read(np.ascontiguousarray(planes))
        return FaceAttributes(
            found.points_px,
            rotation_from_euler(found.pose_deg),
            gaze_of_points(found.points_px),
            found.expression,
            np.ones(len(crops_bgr), np.bool_),
        )


def gaze_of_points(points_px: F32) -> F32:
    """Return the eyes' angles in the head [n, 2] that lie in this project's landmarks [n, 136, 2].

    The same proxy as `attributes_from_mesh` has.
    """
    n = len(points_px)
    mesh = np.zeros((n, MESH_POINTS, 3), np.float32)
    mesh[:, MESH_INDEX, :2] = points_px
    return attributes_from_mesh(mesh, np.zeros((n, 52), "f4"), np.ones(n, np.float32)).gaze_deg
