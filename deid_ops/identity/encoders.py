"""Face encoders: from an image and five landmarks to a unit vector of identity.

Convention
    Landmarks `[n, 5, 2]` in pixels of the image: left eye, right eye (centres), nose, left and
    right mouth corner. Crops are BGR, uint8, `[n, S, S, 3]`. Vectors are float32, of unit length:
    the cosine distance of two of them is `1 - u . v`. Everything runs in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.errors import SetupError
from deid_ops.geometry import F64, arcface_template, crop_matrices
from deid_ops.identity.dlib_dat import CHIP_SIZE_PX, face_resnet_graph, read_face_resnet
from deid_ops.identity.vectors import unit_rows
from deid_ops.inference.session import CPU, OrtModel, Runtime
from deid_ops.types import F32, U8

_BUCKETS = (1, 4, 8, 16, 32)
Array = npt.NDArray[Any]

# SphereFace's template for 96 x 112 crops, as fractions of the crop
_SPHEREFACE: F64 = np.array(
    [
        [30.2946, 51.6963],
        [65.5318, 51.5014],
        [48.0252, 71.7366],
        [33.5493, 92.3655],
        [62.7299, 92.2041],
    ]
) / np.array([96.0, 112.0])

# dlib cuts its chips by the eye corners and the base of the nose. This is where the five points of
# CenterFace lie in such chips, as fractions of the chip: medians over 579 faces of UTKFace and of
# generated portraits, standard deviation 2 to 4 of 150 px.
_DLIB: F64 = np.array(
    [
        [0.3200, 0.3133],
        [0.6825, 0.3120],
        [0.4920, 0.5120],
        [0.3420, 0.6690],
        [0.6440, 0.6660],
    ]
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What an encoder expects of its crops."""

    template_xy_px: F64
    size_px: int
    prepare: Callable[[U8], Array]


def _as_is(crops_bgr: U8) -> Array:
    return crops_bgr


def _planes_bgr(crops_bgr: U8) -> Array:
    return crops_bgr.transpose(0, 3, 1, 2).astype(np.float32)


def _planes_imagenet(crops_bgr: U8) -> Array:
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    std = np.array([0.229, 0.224, 0.225], np.float32)
    rgb = crops_bgr[..., ::-1].astype(np.float32) / 255.0
    return np.ascontiguousarray(((rgb - mean) / std).transpose(0, 3, 1, 2))


def _planes_signed(crops_bgr: U8) -> Array:
    rgb = (crops_bgr[..., ::-1].astype(np.float32) - 127.5) / 127.5
    return np.ascontiguousarray(rgb.transpose(0, 3, 1, 2))


_KINDS = {
    "dlib": _Kind(_DLIB * CHIP_SIZE_PX, CHIP_SIZE_PX, _as_is),
    "retail0095": _Kind(_SPHEREFACE * 128, 128, _planes_bgr),
    "mobilefacenet": _Kind(arcface_template(112), 112, _planes_imagenet),
    "own": _Kind(arcface_template(112), 112, _planes_signed),
}


class Encoder:
    """One face encoder.

    Args:
        kind: `dlib` (a judge: the `.dat` file of `face_recognition_models`), `retail0095` (a judge:
            Open Model Zoo's face-reidentification-retail-0095 as ONNX), `mobilefacenet` (RGB/255
            with ImageNet's mean and deviation, ArcFace template), or `own` (trained by this
            project: RGB in [-1, 1], ArcFace template).
        model_path: the weight file.
        providers: see `OrtModel`.
        threads: see `OrtModel`.
        gpu_mem_limit_bytes: see `OrtModel`.

    Raises:
        SetupError: an unknown kind, a missing file, or a network with another shape.
    """

    def __init__(
        self,
        kind: str,
        model_path: str,
        runtime: Runtime = CPU,
    ) -> None:
        if kind not in _KINDS:
            raise SetupError(f"encoder {kind!r} is unknown; choose from {', '.join(_KINDS)}")
        self.name, self._kind = kind, _KINDS[kind]
        graph: str | bytes = model_path
        if kind == "dlib":
            graph = face_resnet_graph(read_face_resnet(Path(model_path))).SerializeToString()
        self._model = runtime.open(graph, _BUCKETS, model_path)
        self.dim = _vector_length(self._model, self._kind.size_px)

    @property
    def provider(self) -> str:
        """What the network really runs on."""
        return self._model.provider

    @property
    def crop_size_px(self) -> int:
        """Side of the crops."""
        return self._kind.size_px

    def crop(self, image_bgr: U8, landmarks_xy_px: Array) -> U8:
        """Cut and align faces: `[n, S, S, 3]`."""
        size = self._kind.size_px
        matrices = crop_matrices(landmarks_xy_px, self._kind.template_xy_px)
        crops = np.zeros((len(matrices), size, size, 3), np.uint8)
        for slot, matrix in zip(crops, matrices, strict=True):
            _warp(image_bgr, matrix, slot)
        return crops

    def embed_crops(self, crops_bgr: U8) -> F32:
        """Vectors of crops made by `crop` (or aligned the same way): `[n, dim]`."""
        if len(crops_bgr) == 0:
            return np.zeros((0, self.dim), np.float32)
        feeds = {self._model.inputs[0].name: self._kind.prepare(crops_bgr)}
        raw = self._model.run(feeds)[self._model.outputs[0].name].reshape(len(crops_bgr), -1)
        return unit_rows(raw)

    def embed(self, image_bgr: U8, landmarks_xy_px: Array) -> F32:
        """Vectors of the faces of one image: `[n, dim]`."""
        return self.embed_crops(self.crop(image_bgr, landmarks_xy_px))


def _warp(image_bgr: U8, matrix: F64, out: U8) -> None:
    """Warp one face; faces much larger than the crop are averaged, not skipped over."""
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink < 0.5:
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (np.array(out.shape[1::-1]) - 1)
        inverse = cv2.invertAffineTransform(matrix)
        spots = corners @ inverse[:, :2].T + inverse[:, 2]
        low = np.clip(np.floor(spots.min(axis=0)), 0, None).astype(int)
        high = np.ceil(spots.max(axis=0)).astype(int) + 1
        part = image_bgr[low[1] : high[1], low[0] : high[0]]
        if part.size:
            size = (max(1, round(part.shape[1] * shrink)), max(1, round(part.shape[0] * shrink)))
            scale = np.array(size) / part.shape[1::-1]
            image_bgr = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
            # pixel u of the part lies at (u + 0.5) * scale - 0.5 in the shrunk part
            back = np.diag(1 / scale)
            shift = low + 0.5 / scale - 0.5
            matrix = np.column_stack([matrix[:, :2] @ back, matrix[:, :2] @ shift + matrix[:, 2]])
    cv2.warpAffine(image_bgr, matrix, out.shape[1::-1], dst=out, flags=cv2.INTER_LINEAR)


def _vector_length(model: OrtModel, size_px: int) -> int:
    dims = model.inputs[0].dims
    sides = [d for d in dims[1:] if isinstance(d, int) and d != 3]
    length = [d for d in model.outputs[0].dims[1:] if isinstance(d, int) and d != 1]
    if len(model.inputs) != 1 or sides != [size_px, size_px] or len(length) != 1:
        raise SetupError(
            f"{model.source}: is not an encoder for crops of {size_px} px: {model.inputs[0]} to "
            f"{model.outputs[0]}. Name the kind that belongs to this file."
        )
    return length[0]
