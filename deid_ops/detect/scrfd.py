"""SCRFD with key points (Guo et al. 2021, arXiv 2105.04714); exports of insightface.

Input: RGB, `(v - 127.5) / 128`. Nine outputs, in order three score, three box and three point maps
for the strides 8, 16 and 32, two anchors a cell, both with their centre at `(column * stride,
row * stride)`. Box = centre -+ (left, top, right, bottom) * stride; point = centre + d * stride.
Which output is which is read from the widths (1, 4, 10) and the order, since names differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.detect.base import Detections, detect_by_shape
from deid_ops.detect.nms import nms
from deid_ops.errors import SetupError
from deid_ops.inference.session import CPU, Runtime
from deid_ops.types import U8

_STRIDES = (8, 16, 32)
_MULTIPLE = 32
_ANCHORS = 2


class Scrfd:
    """SCRFD on images of any size, one after the other (its exports have a batch of 1).

    Arguments as for `CenterFace`.

    Raises:
        SetupError: the file does not have the nine outputs.
    """

    name = "scrfd"

    def __init__(
        self,
        model_path: str,
        *,
        score_min: float,
        nms_iou: float,
        runtime: Runtime = CPU,
    ) -> None:
        self._model = runtime.open(model_path, (1,), model_path)
        self._score_min, self._nms_iou = score_min, nms_iou
        self._outputs = {
            width: [s.name for s in self._model.outputs if s.dims[-1] == width]
            for width in (1, 4, 10)
        }
        if len(self._model.inputs) != 1 or any(len(v) != 3 for v in self._outputs.values()):
            shapes = ", ".join(map(str, (*self._model.inputs, *self._model.outputs)))
            raise SetupError(
                f"{model_path}: is not an SCRFD export with key points: expected one input and "
                f"three outputs each of width 1, 4 and 10, found {shapes}. Export the `_kps` "
                "variant with dynamic height and width."
            )

    @property
    def provider(self) -> str:
        """What the network really runs on."""
        return self._model.provider

    def detect(self, images_bgr: Sequence[U8]) -> list[Detections]:
        """Find the faces of each image at its full resolution."""
        return detect_by_shape(images_bgr, _MULTIPLE, 1, self._run)

    def _run(self, frames_bgr: U8) -> list[Detections]:
        blob = cv2.dnn.blobFromImages(
            list(frames_bgr), 1 / 128.0, mean=(127.5, 127.5, 127.5), swapRB=True
        )
        maps = self._model.run({self._model.inputs[0].name: blob})
        parts = [
            self._decode([maps[self._outputs[w][level]] for w in (1, 4, 10)], stride, blob.shape)
            for level, stride in enumerate(_STRIDES)
        ]
        joined = Detections(
            np.concatenate([p.boxes_xyxy_px for p in parts]),
            np.concatenate([p.landmarks_xy_px for p in parts]),
            np.concatenate([p.score for p in parts]),
        )
        return [nms(joined, self._nms_iou)]

    def _decode(
        self, maps: list[npt.NDArray[Any]], stride: int, blob_shape: tuple[int, ...]
    ) -> Detections:
        score, box, points = maps
        flat = score.reshape(-1)
        hits = np.flatnonzero(flat >= self._score_min)
        columns = blob_shape[3] // stride
        cells = hits // _ANCHORS
        centre = np.stack([cells % columns, cells // columns], axis=1).astype(np.float32) * stride
        sides = box.reshape(-1, 4)[hits] * stride
        marks = centre[:, None, :] + points.reshape(-1, 5, 2)[hits] * stride
        boxes = np.concatenate([centre - sides[:, :2], centre + sides[:, 2:]], axis=1)
        return Detections(boxes, marks, np.clip(flat[hits], 0, 1))
