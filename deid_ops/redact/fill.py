"""What is painted over a face that is not swapped: a coarse keyed pattern, or a solid tone.

Why the mosaic cannot be inverted
    The head box (face box plus margin on every side) is divided into few cells however large it
    is: by default 5 across and at most 8 down; on a small head they are fewer, because no cell is
    narrower than `min_cell_px`. All cells publish one and the same number about the pixels, the
    mean brightness of the head, and the head one tint; what tells the cells apart is a pattern that
    comes from the key alone. Mean and tint get Gaussian noise that only the holder of the key can
    compute, and what is published is rounded to one of 16 levels. So
    - one brightness and one tint pass, whatever the resolution was, at most 25 bits (`bits_left`),
      and far fewer are about the person: with the default noise (0.08 of full scale) and a spread
      of means between people of about the same size, the channel capacity is
      0.5 * log2(1 + 1) = 0.5 bit a number;
    - nothing of the face's own pattern is published that a "de-pixelation" solver could start
      from: two heads of the same mean give the same picture;
    - what stays the same through a track (`steady`) cannot be averaged away over its frames; fresh
      noise in each frame would be, by a factor of the root of the frame count.
    At first every cell published its own mean with noise of 0.08. Of 40 people of five clips,
    everybody redacted under six keys, retail-0095 then ranked the right one first in 1.5 % more of
    the faces than chance (exchanged people as well in 14 %), with the pattern in 0.5 % (36 %);
    dlib matched 3.2 and 2.7 % of a street's mosaics.
    Where even one brightness is too much, `solid` publishes a keyed tone that does not depend on
    the pixels at all: 0 bits.
    The mask is opaque over the whole head; its soft edge lies outside (see `compose.mask`).

Convention
    Works on planes as the decoder returned them (uint8 or uint16, any subsampling, or packed
    `[h, w, 3]`), so nothing goes through a colour conversion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.errors import SetupError

F32 = npt.NDArray[np.float32]
Plane = npt.NDArray[Any]

MAX_ROWS = 8
MAX_COLS = 8


@dataclass(frozen=True, slots=True)
class RedactParams:
    """How a face is made unreadable.

    Attributes:
        method: `mosaic` or `solid`.
        cells_across: cells over the width of the whole head box, 2 to 6.
        min_cell_px: a head too narrow for cells of this width gets fewer, but 2: five cells on a
            head of twelve pixels would be hardly coarser than the picture itself.
        noise_sigma: standard deviation of the noise on the head's brightness, fraction of full
            scale; the tint gets a quarter of it.
        pattern_sigma: how much the cells differ, the same measure.
        levels: distinct values that a published number can take.
        steady: one noise for the whole track; false draws it anew for every frame.
    """

    method: Literal["mosaic", "solid"] = "mosaic"
    cells_across: int = 5
    min_cell_px: float = 6.0
    noise_sigma: float = 0.08
    pattern_sigma: float = 0.14
    levels: int = 16
    steady: bool = True

    def __post_init__(self) -> None:
        """Refuse settings that would be invertible."""
        if self.method not in ("mosaic", "solid"):
            raise SetupError(f"redact.method is {self.method!r}; use mosaic or solid")
        if not 2 <= self.cells_across <= 6:
            raise SetupError(f"redact.cells_across is {self.cells_across}; use 2 to 6")
        if not self.min_cell_px >= 1.0:
            raise SetupError(f"redact.min_cell_px is {self.min_cell_px}; use 1 or more")
        for name, sigma in (("noise", self.noise_sigma), ("pattern", self.pattern_sigma)):
            if not 0.03 <= sigma <= 0.5:
                raise SetupError(f"redact.{name}_sigma is {sigma}; use 0.03 to 0.5")
        if not 2 <= self.levels <= 32:
            raise SetupError(f"redact.levels is {self.levels}; use 2 to 32")


@dataclass(frozen=True, slots=True)
class Extent:
    """The head box along both axes, and the part of it inside the frame, in luma pixels."""

    full_xyxy_px: tuple[float, float, float, float]
    seen_xyxy_px: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class CodeRange:
    """Codes of one plane: `low..high` are valid, `scale` is the full scale (2 ** bits)."""

    low: int
    high: int
    scale: int


def cells_of(params: RedactParams, width_px: float, height_px: float) -> tuple[int, int]:
    """Return (columns, rows) of the mosaic over a head box; on large heads independent of its size.

    Example:
        >>> cells_of(RedactParams(), 40, 50), cells_of(RedactParams(), 400, 500)
        ((5, 6), (5, 6))
        >>> cells_of(RedactParams(), 14, 18)
        (2, 3)
    """
    columns = min(params.cells_across, max(2, int(width_px / params.min_cell_px)))
    rows = round(columns * height_px / max(width_px, 1e-6))
    return columns, min(max(rows, 2), MAX_ROWS)


def bits_left(params: RedactParams, width_px: float, height_px: float, *, color: bool) -> float:
    """Upper bound of the information that one redacted head carries about its pixels, in bits.

    As the head's brightness goes through its range each of `n` cells takes a next one of `k` levels
    at most `k - 1` times, so there are no more than `n (k - 1) + 1` different patterns.

    Example:
        >>> round(bits_left(RedactParams(), 40, 50, color=True), 1)
        23.8
        >>> bits_left(RedactParams(method="solid"), 40, 50, color=True)
        0.0
    """
    if params.method == "solid":
        return 0.0
    cols, rows = cells_of(params, width_px, height_px)
    tint = 3 * (math.log2(params.levels) + 1) if color else 0.0
    return math.log2(cols * rows * (params.levels - 1) + 1) + tint


def draw_noise(rng: np.random.Generator) -> F32:
    """Draw the noise of one head: `[3, MAX_ROWS, MAX_COLS]` standard normal values.

    The shape does not depend on the box, so that a box that changes its proportions within a
    track keeps the noise of each cell. Plane 0 is for brightness,
    the first value of each plane also for the tint.
    """
    return rng.standard_normal((3, MAX_ROWS, MAX_COLS)).astype(np.float32)


def fill_luma(
    seen: Plane, noise: F32, extent: Extent, codes: CodeRange, params: RedactParams
) -> Plane:
    """Return what to paint over a luma or gray plane's part of the head box.

    Args:
        seen: `[h, w]` original samples of the part inside the frame.
        noise: from `draw_noise`.
        extent: whole box and visible part; cells belong to the whole box, so a head that is half
            outside shows no more cells of its visible half.
        codes: valid codes of this plane.
        params: settings.

    Returns:
        An array like `seen`.
    """
    if params.method == "solid":
        return np.full_like(seen, _solid_tone(noise, codes))
    cells = _cells(seen, noise, extent, codes, params)
    size = (seen.shape[1], seen.shape[0])
    return cv2.resize(cells.astype(seen.dtype), size, interpolation=cv2.INTER_NEAREST)


def fill_chroma(
    seen: Plane, plane_index: int, noise: F32, codes: CodeRange, params: RedactParams
) -> Plane:
    """Return the one value of a chroma plane (1 or 2) over the whole head; neutral for `solid`."""
    neutral = codes.scale // 2
    if params.method == "solid":
        return np.full_like(seen, neutral)
    noisy = float(seen.mean()) + float(noise[plane_index, 0, 0]) * _tint_sigma(codes, params)
    offset = _rounded_offset(noisy - neutral, codes, params)
    return np.full_like(seen, min(max(neutral + offset, codes.low), codes.high))


def fill_packed(
    seen: Plane, noise: F32, extent: Extent, codes: CodeRange, params: RedactParams
) -> Plane:
    """Return what to paint over packed `[h, w, 3]` samples: the same brightness cells, one tint."""
    gray = seen.mean(axis=2).round().astype(seen.dtype)
    brightness = fill_luma(gray, noise, extent, codes, params)
    if params.method == "solid":
        return np.repeat(brightness[..., None], 3, axis=2)
    tint = seen.reshape(-1, 3).mean(axis=0) - float(gray.mean())
    tint = tint + noise[:, 0, 0] * _tint_sigma(codes, params)
    offsets = np.array([_rounded_offset(float(t), codes, params) for t in tint])
    colored = brightness[..., None].astype(np.int32) + offsets
    return np.asarray(np.clip(colored, codes.low, codes.high), dtype=seen.dtype)


def _cells(seen: Plane, noise: F32, extent: Extent, codes: CodeRange, params: RedactParams) -> F32:
    full, part = extent.full_xyxy_px, extent.seen_xyxy_px
    cols, rows = cells_of(params, full[2] - full[0], full[3] - full[1])
    first_col, n_cols = _visible(cols, (full[0], full[2]), (part[0], part[2]), seen.shape[1])
    first_row, n_rows = _visible(rows, (full[1], full[3]), (part[1], part[3]), seen.shape[0])
    brightness = float(seen.mean()) + float(noise[1, 0, 1]) * params.noise_sigma * codes.scale
    pattern = noise[0, first_row : first_row + n_rows, first_col : first_col + n_cols]
    cells = brightness + pattern * np.float32(params.pattern_sigma * codes.scale)
    return _quantise(cells.astype(np.float32), codes, params.levels)


def _visible(
    cells: int, full: tuple[float, float], part: tuple[int, int], samples: int
) -> tuple[int, int]:
    """First visible cell along an axis, and how many; never more cells than samples."""
    cell = max((full[1] - full[0]) / cells, 1e-6)
    count = min(max(round((part[1] - part[0]) / cell), 1), cells, samples)
    first = min(max(round((part[0] - full[0]) / cell), 0), cells - count)
    return first, count


def _quantise(values: F32, codes: CodeRange, levels: int) -> F32:
    """Round to the middle of one of `levels` equal steps of the code range."""
    step = (codes.high - codes.low + 1) / levels
    index = np.clip(np.floor((values - codes.low) / step), 0, levels - 1)
    rounded: F32 = np.floor(codes.low + (index + 0.5) * step).astype(np.float32)
    return rounded


def _tint_sigma(codes: CodeRange, params: RedactParams) -> float:
    return params.noise_sigma / 4 * codes.scale


def _rounded_offset(offset: float, codes: CodeRange, params: RedactParams) -> int:
    """Round a distance from neutral to a multiple of one level."""
    step = codes.scale / params.levels
    return round(round(offset / step) * step)


def _solid_tone(noise: F32, codes: CodeRange) -> int:
    """A grey between 35 % and 65 % of the range, from the key alone."""
    share = 0.5 + 0.15 * math.tanh(float(noise[0, 0, 0]))
    return round(codes.low + share * (codes.high - codes.low))
