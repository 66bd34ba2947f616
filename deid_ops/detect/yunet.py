"""YuNet (Wu et al. 2023, "YuNet: A tiny millisecond-level face detector"), anchor-free.

At each cell of the strides 8, 16 and 32 the network gives a class and an object score, a box and
five points: score = sqrt(class * object), centre = (cell + d) * stride, size = exp(d) * stride,
point = (cell + d) * stride. Input: BGR, 0..255, sides multiples of 32.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deid_ops.detect.base import Detections, detect_by_shape
from deid_ops.detect.nms import nms
from deid_ops.inference.contracts import ModelContract, TensorSpec, check_contract
from deid_ops.inference.session import CPU, Runtime
from deid_ops.types import F32, U8

_STRIDES = (8, 16, 32)
_MULTIPLE = 32
_WIDTHS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_CONTRACT = ModelContract(
    "yunet",
    (TensorSpec("input", "float32", ("n", 3, "h", "w"), (0, 255), "BGR"),),
    tuple(
        TensorSpec(f"{kind}_{stride}", "float32", ("n", "cells", width))
        for kind, width in _WIDTHS.items()
        for stride in _STRIDES
    ),
)


class YuNet:
    """YuNet on batches of images of any size; arguments as for `CenterFace`."""

    name = "yunet"

    def __init__(
        self,
        model_path: str,
        *,
        score_min: float,
        nms_iou: float,
        batch: int = 1,
        runtime: Runtime = CPU,
    ) -> None:
        self._model = runtime.open(model_path, (1, batch), model_path)
        check_contract(self._model, _CONTRACT)
        self._score_min, self._nms_iou, self._batch = score_min, nms_iou, batch

    @property
    def provider(self) -> str:
        """What the network really runs on."""
        return self._model.provider

    def detect(self, images_bgr: Sequence[U8]) -> list[Detections]:
        """Find the faces of each image at its full resolution."""
        return detect_by_shape(images_bgr, _MULTIPLE, self._batch, self._run)

    def _run(self, frames_bgr: U8) -> list[Detections]:
        maps = self._model.run({"input": cv2.dnn.blobFromImages(list(frames_bgr))})
        width_px = frames_bgr.shape[2]
        found = []
        for i in range(len(frames_bgr)):
            parts = [
                self._decode({k: maps[f"{k}_{s}"][i] for k in _WIDTHS}, s, width_px)
                for s in _STRIDES
            ]
            joined = Detections(
                np.concatenate([p.boxes_xyxy_px for p in parts]),
                np.concatenate([p.landmarks_xy_px for p in parts]),
                np.concatenate([p.score for p in parts]),
            )
            found.append(nms(joined, self._nms_iou))
        return found

    def _decode(self, maps: dict[str, F32], stride: int, width_px: int) -> Detections:
        score = np.sqrt(np.clip(maps["cls"][:, 0], 0, 1) * np.clip(maps["obj"][:, 0], 0, 1))
        cells = np.flatnonzero(score >= self._score_min)
        columns = width_px // stride
        cell_xy = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32)
        box = maps["bbox"][cells]
        centre = (cell_xy + box[:, :2]) * stride
        half = np.exp(np.minimum(box[:, 2:], 8.0)) * stride / 2
        marks = (cell_xy[:, None, :] + maps["kps"][cells].reshape(-1, 5, 2)) * stride
        return Detections(
            np.concatenate([centre - half, centre + half], axis=1), marks, score[cells]
        )
