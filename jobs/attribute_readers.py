"""Attribute readers: the project's own network, or third-party teachers for judging."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from deid_ops.inference.session import CPU, Runtime
from deid_ops.metrics.attributes import rotation_from_euler
from deid_ops.metrics.utility import FaceAttributes, attributes_from_mesh
from deid_ops.swap.attributes import AttributeReader as AttributeNetwork
from deid_ops.swap.attributes import Attributes
from deid_ops.swap.conditions import to_planes
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.layout import MESH_INDEX, MESH_POINTS
from deid_ops.train.teachers import Teachers, mean_mesh, meshes_both_ways
from deid_ops.types import F32, U8


class TeacherReader:
    """MediaPipe's mesh and expression networks, from which the generator's own network learned.

    Each crop is read as it is and mirrored, and their mean counts, see `mean_mesh`.

    Args:
        folder: holds `mp_face_landmarks.onnx` and `mp_blendshapes.onnx`, see `Teachers`.
        threads: CPU threads.
    """

    name = "mediapipe_mesh_both_ways"

    def __init__(self, folder: Path, threads: int = 2) -> None:
        self._teachers = Teachers(folder, threads)

    def read(self, crops_bgr: U8) -> FaceAttributes:
        """Read `[n, 256, 256, 3]` crops; sure of a face are those whose both readings are."""
        return self._attributes(*mean_mesh(self._teachers, crops_bgr[..., ::-1]))

    def both_ways(self, crops_bgr: U8) -> tuple[FaceAttributes, FaceAttributes]:
        """Read crops as they are, and mirrored with the reading mirrored back."""
        first, second = meshes_both_ways(self._teachers, crops_bgr[..., ::-1])
        return self._attributes(*first), self._attributes(*second)

    def _attributes(self, mesh_xyz_px: F32, presence: F32) -> FaceAttributes:
        return attributes_from_mesh(mesh_xyz_px, self._teachers.expression(mesh_xyz_px), presence)


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
        return _as_face_attributes(self._network.read(_planes(crops_bgr)))

    def both_ways(self, crops_bgr: U8) -> tuple[FaceAttributes, FaceAttributes]:
        """Read crops as they are, and mirrored with the reading mirrored back."""
        first, second = self._network.both_ways(_planes(crops_bgr))
        return _as_face_attributes(first), _as_face_attributes(second)


def _planes(crops_bgr: U8) -> F32:
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    return to_planes(
        np.stack([cv2.resize(c, size, interpolation=cv2.INTER_AREA) for c in crops_bgr])
    )


def _as_face_attributes(found: Attributes) -> FaceAttributes:
    return FaceAttributes(
        found.points_px,
        rotation_from_euler(found.pose_deg),
        gaze_of_points(found.points_px),
        found.expression,
        np.ones(len(found.points_px), np.bool_),
    )


def gaze_of_points(points_px: F32) -> F32:
    """Return the eyes' angles in the head [n, 2] that lie in this project's landmarks [n, 136, 2].

    The same proxy as `attributes_from_mesh` has.
    """
    n = len(points_px)
    mesh = np.zeros((n, MESH_POINTS, 3), np.float32)
    mesh[:, MESH_INDEX, :2] = points_px
    return attributes_from_mesh(mesh, np.zeros((n, 52), "f4"), np.ones(n, np.float32)).gaze_deg
