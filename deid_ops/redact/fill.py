"""What is painted over a face that is not swapped: a coarse keyed pattern, or a solid tone.

Why there is nothing to invert
    No sample from under a mask, nor from its soft edge, takes part. A mosaic's mean brightness and
    tint are those of all that is published of the frame (`compose.tone`), so that it does not stand
    out; what tells its cells apart comes from the key alone. What an attacker can learn from a
    mosaic is that there was a head, where and how large.
    Where nothing of the frame is published, and with the method `solid`, the tone comes from the
    key as well.
    At first every cell published its own noisy mean, then the whole head one brightness and tint.
    The mask is opaque over the whole head; its soft edge lies outside (see `compose.mask`).

Convention
    Values are codes of planes as the decoder returned them (any subsampling, or packed
    `[h, w, 3]`), so nothing goes through a colour conversion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from deid_ops.errors import SetupError

F32 = npt.NDArray[np.float32]

MAX_ROWS = 8
MAX_COLS = 8


@dataclass(frozen=True, slots=True)
class RedactParams:
    """How a face is made unreadable.

    Attributes:
        method: `mosaic` or `solid`.
        cells_across: cells over the width of the whole head box, 2 to 6.
        min_cell_px: a head too narrow for cells of this width gets fewer, but at least 2.
        pattern_sigma: standard deviation between the cells, fraction of full scale.
        steady: one pattern for the whole track; false draws it anew for every frame.
    """

    method: Literal["mosaic", "solid"] = "mosaic"
    cells_across: int = 5
    min_cell_px: float = 6.0
    pattern_sigma: float = 0.14
    steady: bool = True

    def __post_init__(self) -> None:
        """Refuse settings that do not look like a redaction."""
        if self.method not in ("mosaic", "solid"):
            raise SetupError(f"redact.method is {self.method!r}; use mosaic or solid")
        if not 2 <= self.cells_across <= 6:
            raise SetupError(f"redact.cells_across is {self.cells_across}; use 2 to 6")
        if not self.min_cell_px >= 1.0:
            raise SetupError(f"redact.min_cell_px is {self.min_cell_px}; use 1 or more")
        if not 0.03 <= self.pattern_sigma <= 0.5:
            raise SetupError(f"redact.pattern_sigma is {self.pattern_sigma}; use 0.03 to 0.5")


@dataclass(frozen=True, slots=True)
class Extent:
    """The head box along both axes, and the part of it inside the frame, in luma pixels."""

    full_xyxy_px: tuple[float, float, float, float]
    seen_xyxy_px: tuple[int, int, int, int]

    @property
    def seen_shape(self) -> tuple[int, int]:
        """Rows and columns of the part inside the frame."""
        x0, y0, x1, y1 = self.seen_xyxy_px
        return y1 - y0, x1 - x0


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


def draw_pattern(rng: np.random.Generator) -> F32:
    """Draw what tells the cells of one head apart: `[MAX_ROWS, MAX_COLS]` standard normal values.

    The shape does not depend on the box, so that a box that changes its proportions within a
    track keeps the value of each cell.
    """
    return rng.standard_normal((MAX_ROWS, MAX_COLS)).astype(np.float32)


def fill_luma(
    tone: float | None, pattern: F32, extent: Extent, codes: CodeRange, params: RedactParams
) -> F32:
    """Return what to paint over a luma or gray plane's part of the head box.

    Args:
        tone: mean code of what is published of the frame; None where that is nothing.
        pattern: from `draw_pattern`.
        extent: whole box and visible part; cells belong to the whole box, so a head that is half
            outside shows no more cells of its visible half.
        codes: valid codes of this plane.
        params: settings.

    Returns:
        `[h, w]` whole codes for the part inside the frame.
    """
    if params.method == "solid":
        return np.full(extent.seen_shape, _keyed_tone(pattern, codes), np.float32)
    middle = _keyed_tone(pattern, codes) if tone is None else tone
    sigma = np.float32(params.pattern_sigma * codes.scale)
    cells = np.float32(middle) + sigma * _seen_cells(pattern, extent, params)
    cells = np.rint(np.clip(cells, codes.low, codes.high))
    rows, columns = extent.seen_shape
    filled = cv2.resize(cells, (columns, rows), interpolation=cv2.INTER_NEAREST)
    return np.asarray(filled, dtype=np.float32)


def fill_chroma(tone: float | None, codes: CodeRange, params: RedactParams) -> float:
    """Return the one code of a chroma plane over the whole head; neutral for `solid`."""
    neutral = codes.scale // 2
    return float(neutral if tone is None or params.method == "solid" else round(tone))


def fill_packed(
    tone_bgr: F32 | None, pattern: F32, extent: Extent, codes: CodeRange, params: RedactParams
) -> F32:
    """Return `[h, w, 3]` for packed samples: cells as `fill_luma` paints them, with one tint."""
    gray = None if tone_bgr is None else float(tone_bgr.mean())
    brightness = fill_luma(gray, pattern, extent, codes, params)
    painted = np.repeat(brightness[..., None], 3, axis=2)
    if tone_bgr is None or gray is None or params.method == "solid":
        return painted
    tinted: F32 = painted + np.rint(tone_bgr - np.float32(gray)).astype(np.float32)
    return np.asarray(np.clip(tinted, codes.low, codes.high), dtype=np.float32)


def _seen_cells(pattern: F32, extent: Extent, params: RedactParams) -> F32:
    full, part = extent.full_xyxy_px, extent.seen_xyxy_px
    cols, rows = cells_of(params, full[2] - full[0], full[3] - full[1])
    height, width = extent.seen_shape
    first_col, n_cols = _visible(cols, (full[0], full[2]), (part[0], part[2]), width)
    first_row, n_rows = _visible(rows, (full[1], full[3]), (part[1], part[3]), height)
    return pattern[first_row : first_row + n_rows, first_col : first_col + n_cols]


def _visible(
    cells: int, full: tuple[float, float], part: tuple[int, int], samples: int
) -> tuple[int, int]:
    """First visible cell along an axis, and how many; never more cells than samples."""
    cell = max((full[1] - full[0]) / cells, 1e-6)
    count = min(max(round((part[1] - part[0]) / cell), 1), cells, samples)
    first = min(max(round((part[0] - full[0]) / cell), 0), cells - count)
    return first, count


def _keyed_tone(pattern: F32, codes: CodeRange) -> float:
    """A grey between 35 % and 65 % of the range, from the key alone."""
    share = 0.5 + 0.15 * math.tanh(float(pattern[0, 0]))
    return float(round(codes.low + share * (codes.high - codes.low)))
