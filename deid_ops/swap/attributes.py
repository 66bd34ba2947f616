"""Run the attribute network: landmarks, pose and expression of crops."""

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
from deid_ops.swap.retarget import FaceShape
from deid_ops.types import F32

BUCKETS = (1, 4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Attributes:
    """What was read from `n` crops."""

    points_px: F32  # [n, 136, 2]
    pose_deg: F32  # [n, 3] roll, pitch, yaw
    expression: F32  # [n, 52]


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
        """Read crops [n, 3, 128, 128], RGB in [0, 1]."""
        out = self._model.run({"crops_rgb": planes_rgb})
        return Attributes(out["points_px"], out["pose_deg"], out["expression"])


def read_face_shape(path: str) -> FaceShape:
    """Read the mean face out of an attribute file's metadata.

    Raises:
        SetupError: it is not there or damaged.
    """
    properties = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
    try:
        raw = base64.b64decode(properties[FACE_SHAPE_KEY], validate=True)
        with np.load(io.BytesIO(raw), allow_pickle=False) as data:
            return FaceShape(data["mean_xyz"], data["basis_xyz"], data["mirror"])
    except (KeyError, binascii.Error, ValueError, OSError) as error:
        raise SetupError(
            f"{path}: the metadata holds no mean face ({FACE_SHAPE_KEY}); "
            "export the attribute network again with `deid train export`"
        ) from error
