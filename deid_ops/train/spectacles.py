"""Put spectacles on a face in a picture, for networks that must read faces that wear some.

Few of the training portraits wear any; in a recording every third face does, and a network that
has hardly seen them takes frames for brows and rims for eyelids. They are drawn from the landmarks:
two lenses of any common shape, a bridge, temples to the ears, tinted glass and reflections on some.
A teacher that looks at the result says where the eyes are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deid_ops.swap.retarget import EYES
from deid_ops.types import F32, I32, U8

_FINER = 4  # drawn at so many times the picture's resolution
_RIM_POINTS = 48
_TEMPLES = (127, 356)  # mesh points beside the ears, left and right
_METALS_RGB = ((60, 60, 65), (150, 150, 155), (170, 140, 80))


@dataclass(frozen=True, slots=True)
class _Frame:
    """A pair of spectacles; lengths in eye distances."""

    half_width: float
    half_height: float
    squareness: float  # exponent of the superellipse: 2 an ellipse, more a rectangle
    below: float  # the lenses' middle below the eyes'
    apart: float  # the lenses' middle further out than the eyes'
    rim: float
    rimless_below: bool
    bridge: float  # height above the lenses' middle, in half heights
    colour_rgb: F32  # [3]
    tint_rgb: F32  # [3]
    tint: float  # how much of the glass is tint
    glare: float  # of a reflection

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Frame:
        """Draw one: half of them dark and thick or thin, the others of metal or coloured."""
        half_width = rng.uniform(0.3, 0.43)
        kind = rng.random()
        if kind < 0.55:
            colour = np.full(3, rng.uniform(5, 60))
        elif kind < 0.85:
            colour = np.array(_METALS_RGB[rng.integers(len(_METALS_RGB))], dtype=np.float64)
        else:
            colour = rng.uniform(20, 200, 3)
        dark = rng.random() < 0.1  # sunglasses
        return cls(
            half_width=half_width,
            half_height=half_width * rng.uniform(0.55, 0.98),
            squareness=rng.uniform(2.0, 5.0),
            below=rng.uniform(-0.02, 0.12),
            apart=rng.uniform(-0.03, 0.05),
            rim=rng.uniform(0.012, 0.085),
            rimless_below=bool(rng.random() < 0.15),
            bridge=rng.uniform(0.0, 0.6),
            colour_rgb=colour.astype(np.float32),
            tint_rgb=rng.uniform(10, 90, 3).astype(np.float32),
            tint=rng.uniform(0.5, 0.9) if dark else max(0.0, rng.uniform(-0.3, 0.3)),
            glare=max(0.0, rng.uniform(-0.6, 0.5)),
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a face's eyes lie, in pixels."""

    eyes: tuple[F32, F32]  # left and right, [2] each
    across: F32  # [2] from the left eye to the right one
    temples: tuple[F32, F32]

    @classmethod
    def of(cls, mesh_xyz_px: F32) -> _Place:
        mesh = mesh_xyz_px[:, :2]
        left, right = (0.5 * (mesh[outer] + mesh[inner]) for outer, inner, _ in EYES)
        return cls((left, right), right - left, (mesh[_TEMPLES[0]], mesh[_TEMPLES[1]]))

    @property
    def down(self) -> F32:
        """A vector [2] as long as `across`, towards the chin."""
        return np.array([-self.across[1], self.across[0]], dtype=np.float32)


def put_on_spectacles(face: U8, mesh_xyz_px: F32, rng: np.random.Generator) -> U8:
    """Draw a pair of spectacles on a face.

    Args:
        face: [s, s, 3] RGB.
        mesh_xyz_px: [478, 3] landmarks in its pixels.
        rng: draws the pair.

    Returns:
        [s, s, 3]; a new picture.
    """
    frame, place = _Frame.drawn(rng), _Place.of(mesh_xyz_px)
    rims = [_rim(frame, place, side) for side in (-1, 1)]
    size = face.shape[:2]
    glass = _filled(size, rims)
    out = face.astype(np.float32)
    out += (frame.tint * glass)[..., None] * (frame.tint_rgb - out)
    if frame.glare > 0.0:
        out += (frame.glare * glass * _streak(size, rng))[..., None] * (235.0 - out)
    solid = _lines(size, frame, place, rims)[..., None]
    out += solid * (frame.colour_rgb - out)
    return np.asarray(np.clip(np.rint(out), 0, 255), dtype=np.uint8)


def _rim(frame: _Frame, place: _Place, side: int) -> F32:
    """Return a lens's outline [n, 2], from its outer end over the top; side -1 left, 1 right."""
    angle = np.linspace(0.0, 2.0 * np.pi, _RIM_POINTS, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    power = 2.0 / frame.squareness
    x = side * frame.half_width * np.sign(cos) * np.abs(cos) ** power + side * frame.apart
    y = -frame.half_height * np.sign(sin) * np.abs(sin) ** power + frame.below
    eye = place.eyes[(side + 1) // 2]
    return np.asarray(eye + x[:, None] * place.across + y[:, None] * place.down, dtype=np.float32)


def _filled(size: tuple[int, int], rims: list[F32]) -> F32:
    """Return [h, w] how much of each pixel lies within the lenses."""
    fine = _blank(size)
    cv2.fillPoly(fine, [_fine(rim) for rim in rims], 255)
    return _coarse(fine, size)


def _lines(size: tuple[int, int], frame: _Frame, place: _Place, rims: list[F32]) -> F32:
    """Return [h, w] how much of each pixel is frame."""
    fine = _blank(size)
    length = float(np.linalg.norm(place.across))
    thick = max(1, round(frame.rim * length * _FINER))
    for rim in rims:
        upper = rim[: _RIM_POINTS // 2 + 1] if frame.rimless_below else rim
        cv2.polylines(fine, [_fine(upper)], not frame.rimless_below, 255, thick)
    nasal = [rim[_RIM_POINTS // 2] for rim in rims]
    lift = frame.bridge * frame.half_height * place.down
    bridge = np.stack([nasal[0], nasal[0] - lift, nasal[1] - lift, nasal[1]])
    cv2.polylines(fine, [_fine(bridge)], False, 255, thick)
    for rim, temple in zip(rims, place.temples, strict=True):
        cv2.polylines(fine, [_fine(np.stack([rim[0], temple]))], False, 255, max(1, thick * 2 // 3))
    return _coarse(fine, size)


def _streak(size: tuple[int, int], rng: np.random.Generator) -> F32:
    """Return [h, w] a soft slanting band from 0 to 1, as a window or a lamp throws it on glass."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) / max(size)
    angle = rng.uniform(0.0, np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    phase, period = rng.uniform(0.0, 1.0), rng.uniform(0.1, 0.5)
    wave = np.sin(2.0 * np.pi * (along / period + phase))
    return np.asarray(np.clip(wave, 0.0, 1.0), dtype=np.float32)


def _blank(size: tuple[int, int]) -> U8:
    return np.zeros((size[0] * _FINER, size[1] * _FINER), dtype=np.uint8)


def _fine(points: F32) -> I32:
    return np.asarray(np.rint((points + 0.5) * _FINER - 0.5), dtype=np.int32)


def _coarse(fine: U8, size: tuple[int, int]) -> F32:
    shrunk = cv2.resize(fine, size[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.float32) / np.float32(255.0)
