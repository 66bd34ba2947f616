"""GIF: frames as palette images that keep every colour outside the changed pixels.

A frame of a GIF shows at most 256 colours of its own palette (more only where it draws upon
earlier frames). What was not changed keeps its exact colour; changed pixels get the palette
entries that are left over. Often none are, and the nearest colour of a wall is no skin: then pixels
of several colours that average to the wanted one stand side by side, in a pattern that does not
move between frames (ordered dithering with a palette of any kind, after Knoll 1999).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.errors import InvariantError
from deid_ops.types import U8, Span
from deid_ops.video.decode import DecodedFrame, iter_frames
from deid_ops.video.frame import Frame
from deid_ops.video.index import VideoIndex

_N_COLORS = 256
# Bayer's 4x4 thresholds, in sixteenths.
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
_MIXED = 8  # colours that stand for one
_MIXING = np.float32(0.75)  # 1 mixes colours as far apart as it takes, 0 takes the nearest alone


def loop_option(path: str) -> str:
    """Read the loop count of a GIF as the muxer's option: -1 once, 0 forever, n that often."""
    data = Path(path).read_bytes()
    at = data.find(b"NETSCAPE2.0\x03\x01")
    return "-1" if at < 0 else str(int.from_bytes(data[at + 13 : at + 15], "little"))


class GifFrames:
    """Turns edited frames of one GIF into palette frames.

    Decodes the source alongside, to know which pixels were changed.
    """

    def __init__(self, index: VideoIndex, span: Span) -> None:
        self._originals = iter_frames(index.path, span, "bgr")
        self.muxer_options = {
            "loop": loop_option(index.path),
            "final_delay": str(index.facts.last_duration),
        }

    def to_pal8(self, frame: Frame) -> Any:
        """Return the PyAV frame of one edited `bgr24` frame; they must come in order."""
        original: DecodedFrame | None = next(self._originals, None)
        if original is None or original.bgr is None or original.pts != frame.pts:
            raise InvariantError(f"GIF frame at pts {frame.pts} is not the next of the source")
        indices, palette_bgr = palette_image(frame.planes[0], original.bgr)
        argb = np.full((_N_COLORS, 4), 255, np.uint8)
        argb[:, 1:] = palette_bgr[:, ::-1]
        image: Any = (indices, argb)
        return av.VideoFrame.from_ndarray(image, format="pal8")


def palette_image(bgr: U8, original_bgr: U8) -> tuple[U8, U8]:
    """Split an image into a palette and indices.

    Args:
        bgr: [h, w, 3] edited image.
        original_bgr: [h, w, 3] image before editing.

    Returns:
        `[h, w]` indices and the `[256, 3]` BGR palette. Pixels that equal the original come out
        exactly where they show at most 256 colours; the rest is mixed of entries.
    """
    packed = _packed(bgr)
    kept = packed[packed == _packed(original_bgr)]
    colors, counts = np.unique(kept, return_counts=True)
    if len(colors) > _N_COLORS:
        colors = _popular(colors, counts, _N_COLORS)
    changed, counts = np.unique(packed[~np.isin(packed, colors)], return_counts=True)
    extra = _popular(changed, counts, _N_COLORS - len(colors))
    palette = np.unique(np.concatenate([colors, extra]))
    wanted, inverse = np.unique(packed.ravel(), return_inverse=True)
    (height, width), tile = packed.shape, _BAYER * _MIXED // _BAYER.size
    which = np.tile(tile, (-(-height // 4), -(-width // 4)))[:height, :width]  # of a mixture's 8
    indices = _mixtures(wanted, palette)[inverse.reshape(packed.shape), which].astype(np.uint8)
    full = np.zeros((_N_COLORS, 3), np.uint8)
    full[: len(palette)] = _unpacked(palette)
    return indices, full


def _packed(bgr: U8) -> npt.NDArray[np.int32]:
    wide = bgr.astype(np.int32)
    return np.asarray(wide[..., 0] | wide[..., 1] << 8 | wide[..., 2] << 16, np.int32)


def _unpacked(colors: npt.NDArray[np.int32]) -> U8:
    return np.stack([colors & 255, colors >> 8 & 255, colors >> 16 & 255], axis=-1).astype(np.uint8)


def _popular(
    colors: npt.NDArray[np.int32], counts: npt.NDArray[Any], n: int
) -> npt.NDArray[np.int32]:
    """Choose at most `n` representative colours by k-means over the distinct ones."""
    if n <= 0:
        return colors[:0]
    if len(colors) <= n:
        return colors
    most = np.argsort(-counts, kind="stable")[: 16 * _N_COLORS]
    points = _unpacked(colors[most]).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 8, 1.0)
    labels = (np.arange(len(points)) % n).astype(np.int32).reshape(-1, 1)
    flags = cv2.KMEANS_USE_INITIAL_LABELS
    _, _, centers = cv2.kmeans(points, n, labels, stop, 1, flags)
    return np.unique(_packed(np.clip(np.rint(centers), 0, 255).astype(np.uint8)))


def _mixtures(wanted: npt.NDArray[np.int32], palette: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    """Return, for each of `n` colours, the palette's entries that stand for it: [n, 8], dark first.

    Each entry is the nearest to the colour and what those before it have missed. A colour that is
    in the palette stands for itself.
    """
    table = _unpacked(palette).astype(np.float32)
    squares = np.square(table).sum(axis=1)
    mixture = np.empty((len(wanted), _MIXED), np.int64)
    for start in range(0, len(wanted), 4096):
        colors = _unpacked(wanted[start : start + 4096]).astype(np.float32)
        missed = np.zeros_like(colors)
        for entry in range(_MIXED):
            aim = colors + _MIXING * missed
            nearest = (squares - 2.0 * aim @ table.T).argmin(axis=1)
            mixture[start : start + 4096, entry] = nearest
            missed += colors - table[nearest]
    brightness = table @ np.array([0.114, 0.587, 0.299], np.float32)  # blue, green, red
    return np.take_along_axis(
        mixture, np.argsort(brightness[mixture], axis=1, kind="stable"), axis=1
    )
