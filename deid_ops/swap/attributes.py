"""Run the attribute network: landmarks, pose and expression of crops.

Each crop is read as it is and mirrored, and the two readings are averaged: what the network gets
wrong on small and turned faces it gets wrong differently each time.
"""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass

import numpy as np
import onnx

from deid_ops.errors import SetupError
from deid_ops.inference.contracts import check_contract
from deid_ops.inference.session import Runtime
from deid_ops.swap.contract import ATTRIBUTES, FACE_SHAPE_KEY
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.layout import EXPRESSION_MIRROR, POINT_MIRROR, mirrored_points
from deid_ops.swap.retarget import POSE_MIRROR, FaceShape
from deid_ops.types import F32

BUCKETS = (1, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What was read from `n` crops."""

    points_px: F32  # [n, 136, 2]
    pose_deg: F32  # [n, 3] roll, pitch, yaw
    expression: F32  # [n, 52]

    def mirrored(self) -> Attributes:
        """Return what a perfect reader reads from the mirrored crops."""
        return Attributes(
            mirrored_points(self.points_px, POINT_MIRROR, CROP_SIZE_PX),
            self.pose_deg * POSE_MIRROR,
            self.expression[:, EXPRESSION_MIRROR],
        )


class AttributeReader:
    """The attribute network with the mean face it was trained with.

    Args:
        path: the ONNX file; its metadata holds the mean face.
        runtime: providers and threads.

    Raises:
        SetupError: the file is missing, has other inputs or outputs, or lacks the mean face.
    """

    def __init__(self, path: str, runtime: Runtime) -> None:
        self._model = runtime.open(path, BUCKETS, path)
        check_contract(self._model, ATTRIBUTES)
        self.shape = read_face_shape(path)

    def read(self, planes_rgb: F32) -> Attributes:
        """Read crops [n, 3, 128, 128], RGB in [0, 1], as they are and mirrored; give the mean."""
        first, second = self.both_ways(planes_rgb)
        half = np.float32(0.5)
        return Attributes(
            half * (first.points_px + second.points_px),
            half * (first.pose_deg + second.pose_deg),
            half * (first.expression + second.expression),
        )

    def both_ways(self, planes_rgb: F32) -> tuple[Attributes, Attributes]:
        """Read crops [n, 3, 128, 128] as they are, and mirrored with the reading mirrored back."""
        n = len(planes_rgb)
        out = self._model.run({"crops_rgb": np.concatenate([planes_rgb, planes_rgb[..., ::-1]])})
        values = (out["points_px"], out["pose_deg"], out["expression"])
        first, second = (Attributes(*(v[half] for v in values)) for half in np.s_[:n, n:])
        return first, second.mirrored()


def read_face_shape(path: str) -> FaceShape:
    """Read the mean face out of an attribute file's metadata.

    Raises:
        SetupError: it is not there or damaged.
    """
    properties = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
    try:
        raw = base64.b64decode(properties[FACE_SHAPE_KEY], validate=True)
        with np.load(io.BytesIO(raw), allow_pickle=False) as data:
            return FaceShape(data["mean_xyz"], data["basis_xyz"])
    except (KeyError, binascii.Error, ValueError, OSError) as error:
        raise SetupError(
            f"{path}: the metadata holds no mean face ({FACE_SHAPE_KEY}); "
            "export the attribute network again with `deid train export`"
        ) from error
