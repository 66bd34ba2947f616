"""Training faces without limit: new people and new pictures out of aligned crops.

They serve students whose teacher looks at the very same picture, so nothing here has to keep an
identity or a landmark. Two crops are mixed into a person nobody is (`morph`); what a tight picture
does not show is taken from a picture that does (`complete`: else a network learns repeated borders
instead of hair); the head is turned (`head_turn.py`), then the face placed and bent (`place`), lit
(`relight`), covered in part (`cover`) and seen by a worse camera (`camera.py`).

Convention: RGB uint8 images `[h, w, 3]`, pixel centres at integers. Crops are `CROP_SIZE_PX`
square, results are a window of them: a recogniser's or the whole. All random numbers come from the
generator that is passed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from deid_ops.swap.crop import CROP_OFFSET_XY_PX, CROP_SIZE_PX, ENCODER_SIZE_PX
from deid_ops.train.camera import as_footage, degrade
from deid_ops.train.data import Pack
from deid_ops.train.head_turn import turn
from deid_ops.types import F32, F64, I64, U8

FIELD_CELLS = 4  # random fields have this many values a side, smoothly enlarged


@dataclass(frozen=True, slots=True)
class Window:
    """The square of a crop that a network sees, in crop pixels."""

    offset_xy_px: tuple[int, int]
    size_px: int


RECOGNISER = Window(CROP_OFFSET_XY_PX, ENCODER_SIZE_PX)
WHOLE_CROP = Window((0, 0), CROP_SIZE_PX)


@dataclass(frozen=True, slots=True)
class Variations:
    """Shares of the faces that are changed, and how much; lengths in pixels of the crop."""

    morph: float = 0.35  # mixed with another face
    by_region: float = 0.5  # of those: in parts, the rest evenly
    complete: float = 0.85  # of the faces whose picture ends within the crop
    turn_deg: float = 0.0  # of yaw, at most (`turned_head`); half of the heads are turned
    rotation_deg: float = 6.0
    scale: float = 0.06  # natural logarithm
    stretch: float = 0.06  # natural logarithm of width to height
    shift_px: float = 2.5
    bend_px: float = 1.5  # standard deviation of the displacement field
    contrast: float = 0.2
    brightness: float = 0.08
    tint: float = 0.06
    grey: float = 0.1
    cover: float = 0.1
    footage: float = 0.0  # seen as in a recording; of the rest:
    degrade: float = 0.3  # made worse in one way
    window: Window = RECOGNISER


@dataclass(frozen=True, slots=True)
class PackCrops:
    """`n` crops, where they show their picture, and the faces in them."""

    rgb: U8  # [n, 128, 128, 3]
    inside: F32  # [n, 128, 128]: 1 where the picture is, 0 where its border repeats
    mesh_xyz_px: F32  # [n, 478, 3] landmarks; needed where heads are turned, else [n, 0, 3]


def vary(
    crops: PackCrops,
    others: PackCrops,
    whole_rgb: U8 | None,
    rng: np.random.Generator,
    config: Variations,
) -> U8:
    """Return one new picture for every crop.

    Args:
        crops: the faces.
        others: as many, whom a crop is mixed with and covered by.
        whole_rgb: [n, 128, 128, 3], crops that lie inside their pictures; None completes nothing.
        rng: draws everything.
        config: shares and strengths.

    Returns:
        [n, s, s, 3], `s` the window's size.
    """
    faces = []
    for row, (face, other) in enumerate(zip(crops.rgb, others.rgb, strict=True)):
        mixed, inside = face, crops.inside[row]
        if rng.random() < config.morph:
            mixed, inside = morph(face, other, rng, config), inside * others.inside[row]
        if whole_rgb is not None and rng.random() < config.complete and not inside.all():
            mixed = complete(mixed, inside, whole_rgb[row])
        if config.turn_deg > 0.0 and rng.random() < 0.5:
            mixed = turn(mixed, crops.mesh_xyz_px[row], rng, config.turn_deg)
        new = relight(place(mixed, rng, config), rng, config)
        if rng.random() < config.cover:
            new = cover(new, other, rng)
        faces.append(_worse(new, rng, config))
    return np.stack(faces)


def _worse(face: U8, rng: np.random.Generator, config: Variations) -> U8:
    # no number is drawn for a share of nothing: a training without footage goes on as it began
    if config.footage > 0.0 and rng.random() < config.footage:
        return as_footage(face, rng)
    return degrade(face, rng) if rng.random() < config.degrade else face


def varied_pictures(
    pack: Pack, batch: int, config: Variations, chances: F64 | None = None
) -> Callable[[np.random.Generator], U8]:
    """Return a source of varied pictures [batch, s, s, 3] of a pack's training faces.

    Args:
        pack: the faces.
        batch: pictures at once.
        config: shares and strengths.
        chances: [n] of each training face to be drawn, sum 1; None draws all alike.
    """
    rows, whole = pack.rows(0), pack.whole_rows(0)
    crops, mesh = pack.columns["crops_rgb"], pack.columns["mesh_xyz_px"]

    def faces(chosen: I64) -> PackCrops:
        return PackCrops(crops[chosen], pack.inside(chosen), mesh[chosen])

    def draw(rng: np.random.Generator) -> U8:
        first, second = rows[rng.integers(0, len(rows), (2, batch))]
        if chances is not None:
            first = rng.choice(rows, batch, p=chances)
        around = crops[whole[rng.integers(0, len(whole), batch)]] if len(whole) else None
        return vary(faces(first), faces(second), around, rng, config)

    return draw


def random_field(size_px: int, rng: np.random.Generator) -> F32:
    """Return a smooth random field [size, size] of about unit standard deviation."""
    coarse = rng.standard_normal((FIELD_CELLS, FIELD_CELLS)).astype(np.float32)
    field = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field, dtype=np.float32)


def morph(face: U8, other: U8, rng: np.random.Generator, config: Variations) -> U8:
    """Mix two aligned faces: evenly, or in parts with soft borders, the light of the first."""
    if rng.random() >= config.by_region:
        share = float(rng.uniform(0.25, 0.75))
        return np.asarray(cv2.addWeighted(face, share, other, 1.0 - share, 0.0), dtype=np.uint8)
    size = len(face)
    x, y = np.meshgrid(*[np.linspace(-1, 1, size, dtype=np.float32)] * 2)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = 1.5 * (np.cos(angle) * x + np.sin(angle) * y) + random_field(size, rng)
    share_map = 1.0 / (1.0 + np.exp(-float(rng.uniform(2, 6)) * ramp))
    return blend(face, lit_alike(other, face), share_map)


def complete(face: U8, inside: F32, whole: U8) -> U8:
    """Continue a face beyond the border of its picture with another one's surroundings."""
    kept = cv2.erode(inside, np.ones((9, 9), np.uint8), borderValue=1.0)
    soft = cv2.blur(kept, (9, 9), borderType=cv2.BORDER_REPLICATE)
    return blend(face, lit_alike(whole, face), np.asarray(soft, dtype=np.float32))


def lit_alike(image: U8, like: U8) -> F32:
    """Give an image [h, w, 3] the mean and spread of another's colours; may leave 0..255."""
    mean, spread = cv2.meanStdDev(image)
    wanted_mean, wanted_spread = cv2.meanStdDev(like)
    gain = np.clip(wanted_spread / np.maximum(spread, 1.0), 0.5, 2.0)
    moved = image * gain.T.astype(np.float32) + (wanted_mean - gain * mean).T.astype(np.float32)
    return np.asarray(moved, dtype=np.float32)


def blend(first: U8, second: F32, share_of_first: F32) -> U8:
    """Mix two images [h, w, 3] by a map [h, w] of shares."""
    mixed = second + share_of_first[..., None] * (first - second)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def place(crop: U8, rng: np.random.Generator, config: Variations) -> U8:
    """Mirror, turn, scale, stretch, shift and bend a crop; returns the window of it."""
    angle = np.deg2rad(rng.uniform(-1, 1) * config.rotation_deg)
    scale, stretch = np.exp(rng.uniform(-1, 1, 2) * (config.scale, config.stretch / 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    crop_from_new = turn @ np.diag([scale * stretch, scale / stretch])
    if rng.random() < 0.5:
        crop_from_new[:, 0] *= -1.0
    centre = (CROP_SIZE_PX - 1) / 2 + rng.uniform(-1, 1, 2) * config.shift_px
    size = config.window.size_px
    axes = [np.arange(size) + o - (CROP_SIZE_PX - 1) / 2 for o in config.window.offset_xy_px]
    x, y = np.meshgrid(*(axis.astype(np.float32) for axis in axes))
    bend = [random_field(size, rng) * config.bend_px for _ in range(2)]
    maps = [
        (row[0] * x + row[1] * y + offset + moved).astype(np.float32)
        for row, offset, moved in zip(crop_from_new, centre, bend, strict=True)
    ]
    new = cv2.remap(crop, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(new, dtype=np.uint8)


def relight(face: U8, rng: np.random.Generator, config: Variations) -> U8:
    """Change contrast, brightness, gamma and tint; take the colour away from some."""
    levels = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.uniform(-1, 1) * config.contrast)
    gain = np.exp(rng.uniform(-1, 1) * config.contrast + rng.uniform(-1, 1, 3) * config.tint)
    table = (levels - 0.5) * gain + 0.5 + rng.uniform(-1, 1) * config.brightness
    lit = cv2.LUT(face, np.clip(table * 255, 0, 255).astype(np.uint8)[:, None])
    if rng.random() < config.grey:
        lit = cv2.cvtColor(cv2.cvtColor(lit, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(lit, dtype=np.uint8)


def cover(face: U8, other: U8, rng: np.random.Generator) -> U8:
    """Hide a rectangle of up to 16 % of a face behind a flat colour or a piece of another crop."""
    size = len(face)
    width, height = rng.integers(size // 8, int(size * 0.4), 2)
    left, top = rng.integers(0, size - width), rng.integers(0, size - height)
    box = np.s_[top : top + height, left : left + width]
    out = face.copy()
    out[box] = rng.integers(0, 256, 3) if rng.random() < 0.5 else other[box]
    return out
