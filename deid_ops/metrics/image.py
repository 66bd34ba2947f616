"""Picture differences: PSNR and SSIM.

Convention
    Images are uint8 `[h, w]` or `[h, w, 3]` with peak 255. A mask selects the pixels that count.
"""

from __future__ import annotations

import cv2
import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.types import F32, U8, Bool

PEAK = 255.0


def psnr(reference: U8, other: U8, mask: Bool | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB; infinity when the pixels are equal.

    Args:
        reference: `[h, w]` or `[h, w, c]`, uint8.
        other: same shape.
        mask: `[h, w]`, True where pixels count; None counts all.

    Raises:
        InvariantError: shapes differ, or the mask selects nothing.

    Example:
        >>> a = np.zeros((4, 4), np.uint8)
        >>> round(psnr(a, a + 1), 2)
        48.13
    """
    if reference.shape != other.shape:
        raise InvariantError(f"psnr: shapes {reference.shape} and {other.shape} differ")
    squared = (reference.astype(np.float64) - other.astype(np.float64)) ** 2
    selected = squared if mask is None else squared[mask]
    if selected.size == 0:
        raise InvariantError("psnr: the mask selects no pixel")
    mse = float(selected.mean())
    return float("inf") if mse == 0 else float(10 * np.log10(PEAK**2 / mse))


def ssim_map(reference: U8, other: U8) -> F32:
    """Return the SSIM of every pixel (Wang et al. 2004: Gaussian 11x11, sigma 1.5, K 0.01/0.03).

    Colour pictures are compared in luma.

    Returns:
        `[h, w]` float32 in [-1, 1].
    """
    if reference.shape != other.shape:
        raise InvariantError(f"ssim: shapes {reference.shape} and {other.shape} differ")
    x, y = (_luma(image) for image in (reference, other))
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2

    def smooth(a: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(a, (11, 11), 1.5, borderType=cv2.BORDER_REFLECT_101)

    mx, my = smooth(x), smooth(y)
    vx, vy, cov = smooth(x * x) - mx * mx, smooth(y * y) - my * my, smooth(x * y) - mx * my
    top = (2 * mx * my + c1) * (2 * cov + c2)
    bottom = (mx * mx + my * my + c1) * (vx + vy + c2)
    return np.asarray(top / bottom, dtype=np.float32)


def ssim(reference: U8, other: U8, mask: Bool | None = None) -> float:
    """Return the mean SSIM over the masked pixels; 1.0 for equal pictures."""
    values = ssim_map(reference, other)
    selected = values if mask is None else values[mask]
    if selected.size == 0:
        raise InvariantError("ssim: the mask selects no pixel")
    return float(selected.mean())


def _luma(image: U8) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    return np.asarray(grey, dtype=np.float64)
