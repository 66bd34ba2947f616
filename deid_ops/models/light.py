"""What keeps a painted face in the light of its footage: brightness, contrast, colour, coarseness.

Convention: images are [n, 3, h, w] RGB in [-1, 1]; "the light" is the 8x8 picture [n, 3, 8, 8] that
the generator is told of the face it replaces (`swap/light.py`), or the cell averages of a noised
one. Averages are taken over the face's mask alone (`cell_means`): a cell at its rim that held hair
or background too would give the skin there their colour.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from deid_ops.swap.conditions import CELL_PX, OUTSIDE_SHARE, RIM_SHARE
from deid_ops.swap.contract import FINE_CELLS
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.light import SKIN_CELLS

N_LOOKS = 10  # what `look_of_footage` returns
_PORTRAIT_DETAIL = (0.19, 0.20, 0.145)  # coarse strength of portraits in every part: gain 1
_FOREHEAD_CELLS = 2  # rows of the light above the brows
_GAINS = (0.05, 1.5)
_STROKE_ON_SKIN = 0.06  # of [-1, 1]: the most that a line differs from bare skin around, gain 1
_COLOUR_OF_DETAIL = 0.2  # the most, of the light's distance from grey; portraits' mean is 0.2
_COLOUR_OF_EYES_AND_LIPS = 0.5  # the same in eyes and lips, which are greyer and redder than skin


def cell_means(image: Tensor, mask: Tensor, cell_px: int) -> Tensor:
    """Average [n, c, 128, 128] over the part of each cell that lies in `mask` [n, 1, 128, 128].

    `swap/conditions.py: cell_means` is the same at run time and says what the rim gets.
    """
    share = functional.avg_pool2d(mask, cell_px)
    inner, whole = (functional.avg_pool2d(v, cell_px) for v in (image * mask, image))
    near, near_share = (functional.avg_pool2d(v, 3, 1, 1) for v in (inner, share))
    around = (near + OUTSIDE_SHARE * whole) / (near_share + OUTSIDE_SHARE)
    return (inner + RIM_SHARE * around) / (share + RIM_SHARE)


def coarse_light(inside: Tensor, mask: Tensor, scalars: Tensor) -> Tensor:
    """Return the 8x8 light of `inside` [n, 3, 8, 8].

    The noise has no mean over a cell's part of the mask (`without_cell_means`) and is 0 outside, so
    a noised face shows its light exactly, scaled by alpha = 1 / sqrt(1 + ratio^2).
    """
    ratio = (torch.exp(scalars[:, 1]) - 1.0).reshape(-1, 1, 1, 1)
    light = cell_means(inside, mask, CELL_PX) * torch.sqrt(1.0 + ratio**2)
    return light.clamp(-1.0, 1.0)


def look_of_footage(surroundings: Tensor, light: Tensor, told: Tensor, mask: Tensor) -> Tensor:
    """Return how flat, dark and coarse the picture is, [n, 10].

    The norms inside the network take the contrast away from what it sees, so it has to be told:
    footage is behind glass and haze, a portrait is not.

    Args:
        surroundings: [n, 3, 128, 128] in [-1, 1]; what lies inside the mask is ignored.
        light: [n, 3, 8, 8] of the face.
        told: [n, 6] strengths of the original's detail.
        mask: [n, 1, 128, 128] of the faces.
    """
    grey = surroundings.mean(1, keepdim=True)
    inner = light.mean(1, keepdim=True)[:, :, SKIN_CELLS, SKIN_CELLS]
    brightness = inner.mean((2, 3), keepdim=True)
    contrast = inner.var((2, 3), correction=0, keepdim=True)
    outside = 1.0 - mask
    spread = _mean_where((grey - _mean_where(grey, outside)) ** 2, outside)
    both = outside[:, :, :, 1:] * outside[:, :, :, :-1]
    detail = _mean_where((grey[:, :, :, 1:] - grey[:, :, :, :-1]).abs(), both)
    logs = [torch.log(v + 1e-3) / 2.0 for v in (contrast, spread, detail)]
    return torch.cat([torch.cat([brightness, *logs], 1).flatten(1), torch.log(told + 1e-3)], 1)


def detail_bands(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split [n, c, 128, 128] into its light, what lies between cells of 16 and 4 px, and the rest.

    `swap/conditions.py: detail_of` measures the same bands at run time.
    """
    light = enlarge_cells(cell_means(image, mask, CELL_PX))
    smooth = enlarge_cells(cell_means(image, mask, CROP_SIZE_PX // FINE_CELLS))
    return light, smooth - light, image - smooth


def detail_strengths(image: Tensor, parts: Tensor) -> Tensor:
    """Return the root mean square of the brightness, [n, 6]: both bands of detail in every part.

    Args:
        image: [n, 3, 128, 128].
        parts: [n, 3, 128, 128] how much every pixel belongs to each part; their sum is the mask.
    """
    bands = detail_bands(image.mean(1, keepdim=True), parts.sum(1, keepdim=True))[1:]
    return torch.cat([_strengths(band, parts) for band in bands], 1)


def as_strong_as(told: Tensor, detail: Tensor, parts: Tensor) -> Tensor:
    """Give a face's detail [n, 3, 128, 128] the strength of the original's.

    The painter, drawn to a vector that is clearest at full contrast, would paint masks into dull
    footage, sharp faces into soft footage and locks of hair onto bare foreheads. What it draws
    counts in portraits' units; it is scaled to the original's contrast, and where a band is still
    stronger in a part than the original's, it is weakened to it there. Weaker detail stays: it
    cannot be sharpened by a factor.

    Args:
        told: [n, 6] strengths of the original's detail in the units of `detail`.
        detail: what was painted beside the light.
        parts: [n, 3, 128, 128] weights.
    """
    n_parts = parts.shape[1]
    wanted = (told[:, :n_parts], told[:, n_parts:])
    gains = _gains(told)
    mask = parts.sum(1, keepdim=True)
    light, coarse, fine = detail_bands(detail * _over(gains, parts), mask)
    limits = [
        (want / (_strengths(band.mean(1, keepdim=True), parts) + 1e-4)).clamp(max=1.0)
        for want, band in zip(wanted, (coarse, fine), strict=True)
    ]
    return (light + coarse) * _over(limits[0], parts) + fine * _over(limits[1], parts)


def as_smooth_as_skin(told: Tensor, detail: Tensor, bare: Tensor, mask: Tensor) -> Tensor:
    """Limit lines and spots of a face's detail [n, 3, 128, 128] on bare skin.

    The same strength of detail is many faint wrinkles or one drawn line, and a painter that is
    drawn to a vector draws lines: locks on foreheads, stripes on chins, folds around mouths. A
    smooth limit of the brightness beside the light, `_STROKE_ON_SKIN` in portraits' units, scaled
    by the contrast of the footage in the face's dullest part.

    Args:
        told: [n, 6] strengths of the original's detail in the units of `detail`.
        detail: what was painted beside the light.
        bare: [n, 1, 128, 128] 1 on bare skin, 0 on features; see `generator.py: bare_skin`.
        mask: [n, 1, 128, 128] of the faces.

    Example:
        >>> line, everywhere = torch.zeros(1, 3, 128, 128), torch.ones(1, 1, 128, 128)
        >>> line[:, :, :, 64] = 0.5
        >>> told = torch.tensor([[0.19, 0.20, 0.145, 0.0, 0.0, 0.0]])
        >>> round(float(as_smooth_as_skin(told, line, everywhere, everywhere).max()), 2)
        0.08
    """
    limit = _STROKE_ON_SKIN * _gains(told).amin(1).reshape(-1, 1, 1, 1)
    grey = detail.mean(1, keepdim=True)
    strokes = grey - detail_bands(grey, mask)[0]
    return detail + bare * (limit * torch.tanh(strokes / limit) - strokes)


def _gains(told: Tensor) -> Tensor:
    """Return how strong coarse detail is in every part, 1 in portraits, [n, parts]."""
    coarse = told[:, : len(_PORTRAIT_DETAIL)]
    return (coarse / told.new_tensor(_PORTRAIT_DETAIL)).clamp(*_GAINS)


def _strengths(band: Tensor, parts: Tensor) -> Tensor:
    """Return the root mean square of [n, 1, h, w] in every part, [n, parts]."""
    squares = (band**2 * parts).sum((2, 3)) / (parts.sum((2, 3)) + 1e-6)
    return torch.sqrt(squares + 1e-10)


def _over(values: Tensor, parts: Tensor) -> Tensor:
    """Spread a value a part [n, parts] over the crop [n, 1, h, w]."""
    return (values[:, :, None, None] * parts).sum(1, keepdim=True)


def as_colourful_as(light: Tensor, detail: Tensor, eyes_and_lips: Tensor) -> Tensor:
    """Limit the colour of a face's detail [n, 3, 128, 128] by how colourful its light is.

    Cheeks differ from the skin by less than the skin differs from grey; dull, cold or monochrome
    footage (infrared cabin cameras) gets no vivid lips and no coloured rims. A smooth limit of
    `_COLOUR_OF_DETAIL` times the light's mean distance from grey, per channel, and of
    `_COLOUR_OF_EYES_AND_LIPS` times it where `eyes_and_lips` [n, 1, 128, 128] is 1.

    Example:
        >>> grey, red = torch.full((1, 3, 8, 8), 0.4), torch.zeros(1, 3, 128, 128)
        >>> red[:, 0] = 0.3
        >>> [round(v, 4) for v in as_colourful_as(grey, red, red[:, :1])[0, :, 0, 0].tolist()]
        [0.1, 0.1, 0.1]
    """
    inner = light[:, :, SKIN_CELLS, SKIN_CELLS]
    distance = (inner - inner.mean(1, keepdim=True)).abs().mean((1, 2, 3), keepdim=True)
    more = _COLOUR_OF_EYES_AND_LIPS - _COLOUR_OF_DETAIL
    share = _COLOUR_OF_DETAIL + more * eyes_and_lips
    limit = share * distance
    grey = detail.mean(1, keepdim=True)
    colour = limit * torch.tanh((detail - grey) / (limit + 1e-4))
    return grey + colour - colour.mean(1, keepdim=True)


def _mean_where(image: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of each image, [n, 1, 1, 1]."""
    return (image * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True)


def without_cell_means(noise: Tensor, mask: Tensor) -> Tensor:
    """Take from noise [n, 3, 128, 128] its mean over each cell of 16x16 px, within the mask.

    What a cell of a swapped face averages to holds nothing but the light that was told; noise in it
    hides nothing and would be painted as a coloured cloud. Outside the mask the result is 0.
    """
    share = functional.avg_pool2d(mask, CELL_PX)
    means = functional.avg_pool2d(noise * mask, CELL_PX) / share.clamp(min=CELL_PX**-2.0)
    return (noise - functional.interpolate(means, scale_factor=float(CELL_PX))) * mask


def without_chequers(image: Tensor) -> Tensor:
    """Filter with the binomial 3x3 kernel, which stops patterns of a period of two pixels.

    Pixel shuffling makes them easily, and a painter that is drawn to an encoder's vector uses them.
    """
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    return functional.avg_pool2d(functional.avg_pool2d(padded, 2, 1), 2, 1)


def missing_colour(wanted: Tensor, cells: Tensor) -> Tensor:
    """Return the colour (not the brightness) that `cells` lack against `wanted`, per cell.

    Added to the crop it takes away tints, for example on grey pictures.
    """
    difference = wanted - cells
    return difference - difference.mean(1, keepdim=True)


def missing_brightness(wanted: Tensor, cells: Tensor) -> Tensor:
    """Return the brightness that `cells` lack against `wanted`, over 2x2 cells below the brows.

    Coarser than the colour: within a quarter of the face's width another person may have darker
    brows or a lighter nose. On the forehead nobody has either; there every cell counts, or hair
    grows where there was none.
    """
    difference = (wanted - cells).mean(1, keepdim=True)
    coarse = functional.avg_pool2d(difference, 2)
    coarse = functional.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.cat([difference[:, :, :_FOREHEAD_CELLS], coarse[:, :, _FOREHEAD_CELLS:]], 2)


def enlarge_cells(cells: Tensor) -> Tensor:
    """Enlarge cells [n, c, k, k] to [n, c, 128, 128], bilinearly."""
    size = (CROP_SIZE_PX, CROP_SIZE_PX)
    return functional.interpolate(cells, size, mode="bilinear", align_corners=False)
