"""MTCNN (Zhang et al. 2016, arXiv 1604.02878): the second, different detector of the audit.

A fully convolutional network proposes 12 px windows on an image pyramid, a second one refines them
at 24 px, a third one at 48 px gives the score, the box and five landmarks. Its features, its
training data and its notion of a face (whole face, found coarse to fine) differ from CenterFace's,
so the two rarely miss the same face.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.detect import mtcnn_weights
from deid_ops.detect.base import Detections, cut_at_border
from deid_ops.detect.nms import nms_rows
from deid_ops.errors import SetupError
from deid_ops.inference.session import CPU, Runtime
from deid_ops.types import F32, U8

_CELL_PX, _STRIDE = 12, 2
_PYRAMID = 0.709
_BUCKETS = (32, 128, 512)

Boxes = npt.NDArray[Any]


class Mtcnn:
    """MTCNN on images of any size.

    Args:
        model_paths: `pnet.pt`, `rnet.pt`, `onet.pt` of facenet-pytorch 2.6.0.
        score_min: threshold of the last network.
        nms_iou: the last suppression; a box mostly inside a better one goes as well.
        min_face_px: smallest face looked for; the time grows with its inverse square.
        stage_scores: thresholds of the first two networks.
        runtime: provider, threads and memory limit.
    """

    name = "mtcnn"

    def __init__(
        self,
        model_paths: Sequence[str],
        *,
        score_min: float,
        nms_iou: float = 0.7,
        min_face_px: float = 20.0,
        stage_scores: tuple[float, float] = (0.6, 0.7),
        runtime: Runtime = CPU,
    ) -> None:
        if len(model_paths) != 3:
            raise SetupError(f"mtcnn needs pnet.pt, rnet.pt and onet.pt, got {list(model_paths)}")
        p, r, o = map(Path, model_paths)
        self._workers: ThreadPoolExecutor | None = None
        if not runtime.on_accelerator:
            # The networks are small: a thread for each image is faster than all threads on one.
            n_threads = runtime.threads or len(os.sched_getaffinity(0))
            self._workers = ThreadPoolExecutor(n_threads, thread_name_prefix="mtcnn")
            runtime = replace(runtime, threads=1)
        self._proposal, self._refine, self._output = (
            runtime.open(graph.SerializeToString(), buckets, str(path))
            for graph, buckets, path in (
                (mtcnn_weights.proposal_graph(p), (1,), p),
                (mtcnn_weights.refine_graph(r), _BUCKETS, r),
                (mtcnn_weights.output_graph(o), _BUCKETS, o),
            )
        )
        self._scores = (*stage_scores, score_min)
        self._nms_iou, self._min_face_px = nms_iou, min_face_px

    @property
    def provider(self) -> str:
        """What the networks really run on."""
        return self._proposal.provider

    def detect(self, images_bgr: Sequence[U8]) -> list[Detections]:
        """Find the faces of each image at its full resolution."""
        if len(images_bgr) == 1 or self._workers is None:
            return [self._detect_one(image) for image in images_bgr]
        return list(self._workers.map(self._detect_one, images_bgr))

    def _detect_one(self, image_bgr: U8) -> Detections:
        boxes = self._propose(image_bgr)
        boxes = self._refined(image_bgr, boxes)
        return cut_at_border(self._finished(image_bgr, boxes), image_bgr.shape[1::-1])

    def _propose(self, image_bgr: U8) -> Boxes:
        height, width = image_bgr.shape[:2]
        scale = _CELL_PX / self._min_face_px
        found: list[Boxes] = []
        base = image_bgr
        while min(height, width) * scale >= _CELL_PX:
            size = (int(width * scale + 1), int(height * scale + 1))
            if base.shape[1] >= 2 * size[0]:
                # averaged in steps: the whole image is not read for every level
                base = _resized(base, (base.shape[1] // 2, base.shape[0] // 2))
            maps = self._proposal.run({"frames_bgr": _resized(base, size)[None]})
            candidates = _windows(maps["face"][0, 0], maps["shift"][0], scale, self._scores[0])
            found.append(candidates[nms_rows(candidates[:, :4], candidates[:, 4], 0.5)])
            scale *= _PYRAMID
        joined = np.concatenate([np.zeros((0, 9)), *found])
        joined = joined[nms_rows(joined[:, :4], joined[:, 4], 0.7)]
        sides = np.tile(joined[:, 2:4] - joined[:, :2], 2)
        return _squared(joined[:, :4] + joined[:, 5:] * sides)

    def _refined(self, image_bgr: U8, boxes: Boxes) -> Boxes:
        crops, boxes = _crops(image_bgr, boxes, 24)
        outputs = self._refine.run({"frames_bgr": crops})
        score = outputs["face"][:, 1]
        keep = np.flatnonzero(score > self._scores[1])
        keep = keep[nms_rows(boxes[keep], score[keep], 0.7)]
        return _squared(_shifted(boxes[keep], outputs["shift"][keep]))

    def _finished(self, image_bgr: U8, boxes: Boxes) -> Detections:
        crops, boxes = _crops(image_bgr, boxes, 48)
        outputs = self._output.run({"frames_bgr": crops})
        score = outputs["face"][:, 1]
        keep = np.flatnonzero(score > self._scores[2])
        boxes, score = boxes[keep], score[keep]
        sides = boxes[:, None, 2:] - boxes[:, None, :2] + 1
        points = outputs["points"][keep].reshape(-1, 2, 5).transpose(0, 2, 1)
        marks = points * sides + boxes[:, None, :2] - 1
        boxes = _shifted(boxes, outputs["shift"][keep])
        rows = nms_rows(boxes, score, self._nms_iou, covered_max=0.7)
        return Detections(boxes[rows].astype(np.float32), marks[rows], score[rows])


def _resized(image_bgr: U8, size_wh_px: tuple[int, int]) -> U8:
    shrinks = size_wh_px[0] <= image_bgr.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image_bgr, size_wh_px, interpolation=method), np.uint8)


def _windows(face: F32, shift: F32, scale: float, score_min: float) -> Boxes:
    """Windows of the proposal map: `[k, 9]` of box, score and shift."""
    rows, cols = np.nonzero(face >= score_min)
    corner = np.stack([cols, rows], axis=1) * _STRIDE
    low = np.floor((corner + 1) / scale)
    high = np.floor((corner + _CELL_PX) / scale)
    return np.concatenate([low, high, face[rows, cols][:, None], shift[:, rows, cols].T], axis=1)


def _shifted(boxes: Boxes, shift: F32) -> Boxes:
    moved: Boxes = boxes + shift * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)
    return moved


def _squared(boxes: Boxes) -> Boxes:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _crops(image_bgr: U8, boxes: Boxes, size_px: int) -> tuple[U8, Boxes]:
    """Cut and resize; boxes without a pixel in the image are left out."""
    height, width = image_bgr.shape[:2]
    whole = np.trunc(boxes).astype(int)
    low = np.maximum(whole[:, :2], 1) - 1
    high = np.minimum(whole[:, 2:], (width, height))
    inside = (high > low).all(axis=1)
    levels = [image_bgr]
    crops = []
    for (x0, y0), (x1, y1) in zip(low[inside].tolist(), high[inside].tolist(), strict=True):
        # from the level on which the window has up to twice the crop's side: linear interpolation
        # skips no pixel there, and large windows are not read whole
        level = max(0, (min(x1 - x0, y1 - y0) // size_px).bit_length() - 1)
        while len(levels) <= level:
            last = levels[-1]
            levels.append(_resized(last, (last.shape[1] // 2, last.shape[0] // 2)))
        window = levels[level][y0 >> level : y1 >> level, x0 >> level : x1 >> level]
        crops.append(cv2.resize(window, (size_px, size_px), interpolation=cv2.INTER_LINEAR))
    if not crops:
        return np.zeros((0, size_px, size_px, 3), np.uint8), boxes[inside]
    return np.stack(crops), boxes[inside]
