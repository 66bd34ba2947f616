"""Attribute readers: the project's own network, or third-party teachers for judging."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deid_ops.metrics.utility import FaceAttributes, attributes_from_mesh
from deid_ops.train.teachers import Teachers
from deid_ops.types import U8

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
