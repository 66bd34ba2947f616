"""What every face detector gives and takes.

Convention
    Images are BGR, uint8, `[h, w, 3]`. Boxes and landmarks are in pixels of the image that was
    given, whatever size the network saw. Boxes are cut at the image border and never empty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError
from deid_ops.types import F32, U8, frozen_array


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces found in one image, `n` rows, best score first."""

    boxes_xyxy_px: F32  # [n, 4]
    landmarks_xy_px: F32  # [n, 5, 2]
    score: F32  # [n] in [0, 1]

    def __post_init__(self) -> None:
        """Freeze the arrays and compare their lengths."""
        n = len(self.score)
        shapes = {"boxes_xyxy_px": (n, 4), "landmarks_xy_px": (n, 5, 2), "score": (n,)}
        for name, shape in shapes.items():
            value = frozen_array(getattr(self, name), np.float32, shape, name)
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def empty(cls) -> Detections:
        """Nothing found."""
        f32 = np.float32
        return cls(np.zeros((0, 4), f32), np.zeros((0, 5, 2), f32), np.zeros(0, f32))

    def take(self, rows: npt.NDArray[Any]) -> Detections:
        """Return the given rows (indices or a boolean mask), in that order."""
        return Detections(self.boxes_xyxy_px[rows], self.landmarks_xy_px[rows], self.score[rows])


class Detector(Protocol):
    """Anything that finds faces in images."""

    @property
    def name(self) -> str:
        """Short name for tables and messages, for example `centerface`."""

    @property
    def provider(self) -> str:
        """What the network really runs on: `cpu` or `cuda`."""

    def detect(self, images_bgr: Sequence[U8]) -> list[Detections]:
        """Find the faces of each image; one result an image, in order."""


def detect_by_shape(
    images_bgr: Sequence[U8],
    multiple: int,
    batch: int,
    run: Callable[[U8], Sequence[Detections]],
) -> list[Detections]:
    """Pad images to a multiple of the network's stride, run equal shapes together, cut at borders.

    Args:
        images_bgr: any number of images of any sizes.
        multiple: width and height the network accepts are multiples of this.
        batch: most images to run at once.
        run: takes `[n, H, W, 3]` padded images (black on the right and below), returns `n` results.

    Returns:
        One result an image, in order.
    """
    results: list[Detections] = [Detections.empty()] * len(images_bgr)
    groups: dict[tuple[int, int], list[int]] = {}
    for i, image in enumerate(images_bgr):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise InvariantError(f"detect: expected uint8 [h, w, 3], got {image.shape}")
        groups.setdefault(_padded(image.shape, multiple), []).append(i)
    for (height, width), members in groups.items():
        for start in range(0, len(members), batch):
            part = members[start : start + batch]
            stack = np.zeros((len(part), height, width, 3), np.uint8)
            for slot, i in zip(stack, part, strict=True):
                slot[: images_bgr[i].shape[0], : images_bgr[i].shape[1]] = images_bgr[i]
            for i, found in zip(part, run(stack), strict=True):
                image = images_bgr[i]
                results[i] = cut_at_border(found, (image.shape[1], image.shape[0]))
    return results


def cut_at_border(found: Detections, size_wh_px: tuple[int, int]) -> Detections:
    """Clip boxes to the image and drop those of which nothing is left. Landmarks stay."""
    limit = np.array([*size_wh_px, *size_wh_px], np.float32)
    boxes = np.clip(found.boxes_xyxy_px, 0, limit)
    inside = (boxes[:, 2] - boxes[:, 0] > 1) & (boxes[:, 3] - boxes[:, 1] > 1)
    return Detections(boxes[inside], found.landmarks_xy_px[inside], found.score[inside])


def _padded(shape: tuple[int, ...], multiple: int) -> tuple[int, int]:
    return (-(-shape[0] // multiple) * multiple, -(-shape[1] // multiple) * multiple)
