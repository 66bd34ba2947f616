"""Detection on images larger than the network input: overlapping tiles at full resolution.

No image is ever only shrunk. Faces up to the overlap lie whole in at least one tile; for larger
ones the whole image is looked at once more at a reduced size, in addition to the tiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from deid_ops.detect.base import Detections, Detector, cut_at_border
from deid_ops.detect.nms import nms
from deid_ops.errors import SetupError
from deid_ops.types import U8

_PIECE_COVERED = 0.8
"""A box of which this much lies in a better one is taken for a piece of the same face."""


def tile_starts(length_px: int, tile_px: int, overlap_px: int) -> list[int]:
    """Start of each tile along one side, evenly spread, neighbours overlapping by at least that.

    Example:
        >>> tile_starts(3840, 1920, 256)
        [0, 960, 1920]
        >>> tile_starts(1080, 1920, 256)
        [0]
    """
    if length_px <= tile_px:
        return [0]
    step = tile_px - overlap_px
    count = -(-(length_px - overlap_px) // step)
    return [round(i * (length_px - tile_px) / (count - 1)) for i in range(count)]


class TiledDetector:
    """Runs a detector on tiles of images that are larger than `tile_px` on a side.

    Args:
        detector: what runs on each tile.
        tile_px: largest side the network is given.
        overlap_px: least overlap of neighbouring tiles.
        nms_iou: suppression across tiles.

    Raises:
        SetupError: the overlap is not smaller than half a tile.
    """

    def __init__(self, detector: Detector, tile_px: int, overlap_px: int, nms_iou: float) -> None:
        if not 0 < overlap_px <= tile_px // 2:
            raise SetupError(
                f"tiles of {tile_px} px cannot overlap by {overlap_px} px: at most half"
            )
        self._detector, self._tile_px, self._overlap_px = detector, tile_px, overlap_px
        self._nms_iou = nms_iou

    @property
    def name(self) -> str:
        """The inner detector's name."""
        return self._detector.name

    @property
    def provider(self) -> str:
        """What the network really runs on."""
        return self._detector.provider

    def detect(self, images_bgr: Sequence[U8]) -> list[Detections]:
        """Find the faces of each image at its full resolution."""
        if all(max(image.shape[:2]) <= self._tile_px for image in images_bgr):
            return self._detector.detect(images_bgr)
        return [self._detect_one(image) for image in images_bgr]

    def _detect_one(self, image_bgr: U8) -> Detections:
        height, width = image_bgr.shape[:2]
        if max(height, width) <= self._tile_px:
            return self._detector.detect([image_bgr])[0]
        tile, overlap = self._tile_px, self._overlap_px
        corners = [
            (x, y)
            for y in tile_starts(height, tile, overlap)
            for x in tile_starts(width, tile, overlap)
        ]
        shrink = tile / max(height, width)
        small = cv2.resize(
            image_bgr,
            (round(width * shrink), round(height * shrink)),
            interpolation=cv2.INTER_AREA,
        )
        views = [image_bgr[y : y + tile, x : x + tile] for x, y in corners]
        *found, overview = self._detector.detect([*views, np.asarray(small, np.uint8)])
        placed = [_moved(f, 1.0, corner) for f, corner in zip(found, corners, strict=True)]
        joined = _join([*placed, _moved(overview, 1 / shrink, (0, 0))])
        # a piece with the better score does not remove the whole face: it covers too little of it
        return cut_at_border(nms(joined, self._nms_iou, _PIECE_COVERED), (width, height))


def _moved(found: Detections, scale: float, corner_xy_px: tuple[int, int]) -> Detections:
    shift = np.array(corner_xy_px, np.float32)
    return Detections(
        found.boxes_xyxy_px * scale + np.tile(shift, 2),
        found.landmarks_xy_px * scale + shift,
        found.score,
    )


def _join(parts: Sequence[Detections]) -> Detections:
    return Detections(
        np.concatenate([p.boxes_xyxy_px for p in parts]),
        np.concatenate([p.landmarks_xy_px for p in parts]),
        np.concatenate([p.score for p in parts]),
    )
