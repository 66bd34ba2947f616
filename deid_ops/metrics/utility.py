"""What a treated face kept: found again, landmarks, pose, gaze, expression, untouched surroundings.

Attributes come from an `AttributeReader` (the project's own attribute network, or a third-party
one for judging); detector jitter is the floor: even an untouched face read from a slightly moved
crop does not give exactly the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.metrics.attributes import (
    expression_distance,
    landmark_shift_percent,
    rotation_angle_deg,
)
from deid_ops.metrics.figures import Figure
from deid_ops.metrics.image import psnr
from deid_ops.metrics.stats import Estimate, mean_estimate, rate
from deid_ops.types import F32, U8, Bool

# MediaPipe's canonical mesh: outer eye corners, forehead, chin; eye corners and irises.
_OUTER_EYES, _FOREHEAD, _CHIN = (33, 263), 10, 152
_EYES = ((33, 133, 468), (362, 263, 473))  # corner, corner, iris centre
EYEBALL_RADIUS_IN_EYE_WIDTHS = 0.4  # 12 mm of 30 mm
PSNR_CAP_DB = 100.0
READER_SIZE_PX = 256  # side of the crops that an `AttributeReader` takes
JITTER_PX = 2  # of those: 2.8 % of the eye distance, what five landmarks jitter by


@dataclass(frozen=True, slots=True)
class FaceAttributes:
    """Attributes of `n` aligned faces.

    Attributes:
        points_xy_px: `[n, k, 2]` dense landmarks in crop pixels.
        rotation: `[n, 3, 3]` head rotation.
        gaze_deg: `[n, 2]` eyes in the head, (yaw, pitch), from the iris between the eye corners.
        expression: `[n, c]` coefficients in [0, 1].
        present: `[n]` the reader is sure that this is a face.
    """

    points_xy_px: F32
    rotation: F32
    gaze_deg: F32
    expression: F32
    present: Bool


class AttributeReader(Protocol):
    """Anything that reads attributes from aligned crops."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def read(self, crops_bgr: U8) -> FaceAttributes:
        """Read `[n, 256, 256, 3]` crops (the 128 px crop's field of view at twice its size)."""

    def both_ways(self, crops_bgr: U8) -> tuple[FaceAttributes, FaceAttributes]:
        """Read the same crops as they are, and mirrored with the reading mirrored back."""


def attributes_from_mesh(mesh_xyz_px: F32, expression: F32, presence: F32) -> FaceAttributes:
    """Derive attributes from MediaPipe's 478 points.

    The head's axes are the line through the outer eye corners and the line from forehead to chin,
    made orthogonal. The eyes' angles follow from the iris offset and an eyeball of 0.4 eye widths:
    a proxy, good for differences.

    Args:
        mesh_xyz_px: `[n, 478, 3]` in crop pixels, z in the same unit.
        expression: `[n, 52]`.
        presence: `[n]` in [0, 1].
    """
    mesh = mesh_xyz_px.astype(np.float64)
    across = mesh[:, _OUTER_EYES[1]] - mesh[:, _OUTER_EYES[0]]
    down = mesh[:, _CHIN] - mesh[:, _FOREHEAD]
    x = across / np.linalg.norm(across, axis=1, keepdims=True)
    down = down - np.sum(down * x, axis=1, keepdims=True) * x
    y = down / np.linalg.norm(down, axis=1, keepdims=True)
    rotation = np.stack([x, y, np.cross(x, y)], axis=2)
    gaze = np.mean([_eye_angles_deg(mesh, *eye) for eye in _EYES], axis=0)
    return FaceAttributes(
        mesh[:, :, :2].astype(np.float32),
        rotation.astype(np.float32),
        gaze.astype(np.float32),
        expression,
        np.asarray(presence >= 0.5),
    )


def _eye_angles_deg(mesh: np.ndarray, first: int, second: int, iris: int) -> np.ndarray:
    a, b, centre = mesh[:, first, :2], mesh[:, second, :2], mesh[:, iris, :2]
    along = b - a
    width = np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    along = along / width
    offset = centre - (a + b) / 2
    right = np.sum(offset * along, axis=1)
    below = offset[:, 1] * along[:, 0] - offset[:, 0] * along[:, 1]
    radius = EYEBALL_RADIUS_IN_EYE_WIDTHS * width[:, 0]
    angles = np.stack([right, below], axis=1) / radius[:, None]
    return np.asarray(np.degrees(np.arcsin(np.clip(angles, -1, 1))))


@dataclass(frozen=True, slots=True)
class AttributeDrift:
    """Differences between `n` originals and their outputs.

    Attributes:
        landmark_shift_percent: `[n]` mean shift of the landmarks in percent of the eye distance.
        pose_deg: `[n]` geodesic angle between the head rotations.
        gaze_deg: `[n]` change of the eyes' angles in the head.
        expression: `[n]` Euclidean distance of the coefficients.
        readable: `[n]` both sides show a face; elsewhere the numbers mean nothing.
    """

    landmark_shift_percent: F32
    pose_deg: F32
    gaze_deg: F32
    expression: F32
    readable: Bool


def attribute_drift(
    before: FaceAttributes, after: FaceAttributes, eye_distance_px: float
) -> AttributeDrift:
    """Compare originals with outputs in the same order and in the same crops.

    Args:
        before: of the originals.
        after: of the outputs.
        eye_distance_px: of the crop that the landmarks are in.

    Raises:
        InvariantError: the numbers of faces differ.
    """
    n = len(before.present)
    if n != len(after.present):
        raise InvariantError(f"attributes: {n} and {len(after.present)} faces")
    eyes_px = np.full(n, eye_distance_px, dtype=np.float32)
    return AttributeDrift(
        landmark_shift_percent(before.points_xy_px, after.points_xy_px, eyes_px),
        rotation_angle_deg(before.rotation, after.rotation),
        np.asarray(np.linalg.norm(before.gaze_deg - after.gaze_deg, axis=1), dtype=np.float32),
        expression_distance(before.expression, after.expression),
        before.present & after.present,
    )


@dataclass(frozen=True, slots=True)
class UtilityBars:
    """Values to reach; None leaves a bar out."""

    found_again: float | None = 0.99
    pose_deg: float | None = 4.0
    landmark_shift_percent: float | None = 4.0
    gaze_deg: float | None = 6.0


def attribute_figures(
    before: FaceAttributes,
    after: FaceAttributes,
    eye_distance_px: float,
    subject: str,
    dataset: str,
    reader: str,
    bars: UtilityBars | None = None,
) -> Iterator[Figure]:
    """Yield landmark shift, pose, gaze and expression drift over faces that both sides show.

    Args:
        before: of the originals.
        after: of the outputs, same order.
        eye_distance_px: of the crop that the landmarks are in.
        subject: defence.
        dataset: data.
        reader: name of the attribute reader, kept in `params`.
        bars: values to reach.
    """
    limits = bars or UtilityBars()
    drift = attribute_drift(before, after, eye_distance_px)
    both = drift.readable
    read = int(before.present.sum())
    params: dict[str, float | str] = {"reader": reader}
    if read:
        kept = rate(int(both.sum()), read)
        yield Figure(
            "utility", subject, dataset, None, "attributes_readable", kept, "higher", params=params
        )
    if not both.any():
        return
    for metric, values, bar in (
        ("landmark_shift_percent", drift.landmark_shift_percent, limits.landmark_shift_percent),
        ("pose_error_deg", drift.pose_deg, limits.pose_deg),
        ("gaze_shift_deg", drift.gaze_deg, limits.gaze_deg),
        ("expression_l2", drift.expression, None),
    ):
        estimate = mean_estimate(values[both])
        yield Figure(
            "utility", subject, dataset, None, metric, estimate, "lower", None, bar, params
        )


def reader_noise_figures(
    reader: AttributeReader,
    crops_bgr: U8,
    points_px_per_crop_px: float,
    eye_distance_px: float,
    dataset: str,
) -> Iterator[Figure]:
    """Yield how far a reader's two looks at the very same faces lie apart.

    Subject `source_moved`: the second look is at the crop moved by `JITTER_PX`, its landmarks moved
    back. `source_mirrored`: at the mirrored crop, mirrored back; a reader that gives the mean of
    both is about half as far off. Nothing that was painted can be seen to lie nearer than the
    reader's own error; small faces are read that much worse.

    Args:
        reader: what measures the outputs too.
        crops_bgr: `[n, 256, 256, 3]` originals.
        points_px_per_crop_px: scale of the reader's landmarks.
        eye_distance_px: in the scale of the landmarks.
        dataset: data.
    """
    moved = np.roll(crops_bgr, JITTER_PX, axis=2)
    moved[:, :, :JITTER_PX] = crops_bgr[:, :, :1]  # as a warp would repeat the border
    first, second = reader.read(crops_bgr), reader.read(moved)
    shift = np.array([JITTER_PX * points_px_per_crop_px, 0.0], dtype=np.float32)
    second = replace(second, points_xy_px=second.points_xy_px - shift)
    looks = {"source_moved": (first, second), "source_mirrored": reader.both_ways(crops_bgr)}
    for subject, (one, other) in looks.items():
        for figure in attribute_figures(one, other, eye_distance_px, subject, dataset, reader.name):
            yield replace(figure, bar=None)


def found_again_figure(
    found_before: Bool, found_after: Bool, subject: str, dataset: str, detector: str
) -> Figure:
    """Return the share of faces still detected, among those the detector finds in the original."""
    n = int(found_before.sum())
    if n == 0:
        raise InvariantError(f"found_again: {detector} finds no face in the originals")
    estimate = rate(int((found_before & found_after).sum()), n)
    return Figure(
        "utility",
        subject,
        dataset,
        None,
        "found_again",
        estimate,
        "higher",
        None,
        UtilityBars().found_again,
        {"detector": detector},
    )


def psnr_outside_figure(
    originals: tuple[U8, ...],
    outputs: tuple[U8, ...],
    changed: tuple[Bool, ...],
    subject: str,
    dataset: str,
) -> Figure | None:
    """Return the mean PSNR outside the masks in dB, capped at 100 (equal pixels), or None."""
    values = [
        min(psnr(before, after, ~mask), PSNR_CAP_DB)
        for before, after, mask in zip(originals, outputs, changed, strict=True)
        if not mask.all()
    ]
    if not values:
        return None
    estimate: Estimate = mean_estimate(values)
    return Figure("utility", subject, dataset, None, "psnr_outside_db", estimate, "higher")
