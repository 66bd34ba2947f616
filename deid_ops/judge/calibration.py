"""Thresholds of the judging encoders, one per false acceptance rate and face size.

A threshold from portraits means little on a face of twenty pixels: everything small looks alike,
and different people match. So each encoder is calibrated on the same pairs shrunk to several eye
distances, and a face is judged by the row nearest to its own size.

An encoder whose unit vectors crowd around a common mean (dlib's do: their mean has length 0.92)
makes "the negation of a face" an empty notion: -z is far from every face. The calibration
therefore stores that mean, and an attacker is assumed to subtract it. Distances between faces do
not change by that (`verification`), distances to a negation do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deid_ops.errors import SetupError
from deid_ops.judge.verification import (
    area_under_curve,
    checked_unit_rows,
    equal_error_rate,
    person_pairs,
    threshold_at_far,
    true_acceptance,
)
from deid_ops.metrics.faceset import FaceSet
from deid_ops.types import F32, I64, U8

FARS = (1e-2, 1e-3, 1e-4)
EYE_DISTANCES_PX = (3.0, 5.0, 8.0, 12.0, 18.0, 27.0, 40.0, 60.0)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One threshold with what it accepts."""

    far: float
    threshold: float
    tar: float


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """What one encoder does on faces of one size."""

    encoder: str
    eye_distance_px: float
    n_impostor: int
    n_genuine: int
    auc: float
    eer: float
    eer_threshold: float
    points: tuple[OperatingPoint, ...]

    def threshold(self, far: float) -> float:
        """Return the threshold of a calibrated false acceptance rate.

        Raises:
            SetupError: this rate was not calibrated.
        """
        for point in self.points:
            if np.isclose(point.far, far):
                return point.threshold
        have = ", ".join(f"{p.far:g}" for p in self.points)
        raise SetupError(
            f"calibration: {self.encoder} at {self.eye_distance_px:g} px has no threshold for FAR "
            f"{far:g} (there are: {have}). Use one of them, or run `deid calibrate` with more pairs"
        )


@dataclass(frozen=True, slots=True)
class Calibration:
    """All rows and the mean vector of every encoder."""

    rows: tuple[CalibrationRow, ...]
    centres: Mapping[str, F32]
    source: str = "calibration"

    @property
    def encoders(self) -> tuple[str, ...]:
        """Names of the calibrated encoders, sorted."""
        return tuple(sorted({row.encoder for row in self.rows}))

    def rows_of(self, encoder: str) -> tuple[CalibrationRow, ...]:
        """Return an encoder's rows from the smallest face to the largest.

        Raises:
            SetupError: the encoder was never calibrated.
        """
        rows = [row for row in self.rows if row.encoder == encoder]
        if not rows:
            raise SetupError(
                f"{self.source}: no thresholds for encoder {encoder!r} (there are: "
                f"{', '.join(self.encoders) or 'none'}). Run `deid calibrate` for it"
            )
        return tuple(sorted(rows, key=lambda row: row.eye_distance_px))

    def size_index(self, encoder: str, eye_distance_px: F32) -> I64:
        """Return `[n]` numbers of the rows nearest in size (by ratio) within `rows_of`."""
        sizes = np.array([row.eye_distance_px for row in self.rows_of(encoder)])
        eyes = np.log(np.maximum(np.asarray(eye_distance_px, dtype=np.float64), 1.0))
        gap = np.abs(eyes[:, None] - np.log(sizes)[None, :])
        return np.asarray(np.argmin(gap, axis=1), dtype=np.int64)

    def thresholds(self, encoder: str, eye_distance_px: F32, far: float) -> F32:
        """Return the `[n]` thresholds for faces of the given sizes.

        Args:
            encoder: name in the calibration.
            eye_distance_px: `[n]`, as the face appears in the video.
            far: a calibrated false acceptance rate, e.g. 1e-3.
        """
        values = np.array([row.threshold(far) for row in self.rows_of(encoder)], dtype=np.float32)
        return np.asarray(values[self.size_index(encoder, eye_distance_px)])

    def centred(self, encoder: str, embeddings: F32) -> F32:
        """Return `[n, d]` unit vectors less the encoder's mean; distances are taken on these."""
        centre = self.centres.get(encoder)
        if centre is None:
            return checked_unit_rows(embeddings)
        if embeddings.ndim != 2 or embeddings.shape[1] != len(centre):
            raise SetupError(
                f"{self.source}: encoder {encoder!r} was calibrated with {len(centre)} numbers per "
                f"face, got {embeddings.shape}. Run `deid calibrate` with the present weights"
            )
        return np.asarray(checked_unit_rows(embeddings) - centre, dtype=np.float32)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain lists and numbers, ready for YAML."""
        return {
            "centres": {
                name: [round(float(x), 5) for x in centre] for name, centre in self.centres.items()
            },
            "rows": [_row_to_mapping(row) for row in self.rows],
        }

    @classmethod
    def from_mapping(cls, tree: Mapping[str, Any], source: str) -> Calibration:
        """Read what `to_mapping` wrote.

        Raises:
            SetupError: a key is missing or a value is no number; names `source`.
        """
        try:
            rows = tuple(_row_from_mapping(row) for row in tree["rows"])
            centres = {
                str(name): np.asarray(values, dtype=np.float32)
                for name, values in (tree.get("centres") or {}).items()
            }
        except (KeyError, TypeError, ValueError) as error:
            raise SetupError(
                f"{source}: not a calibration ({type(error).__name__}: {error}). "
                "Write it again with `deid calibrate`"
            ) from error
        return cls(rows, centres, source)


def calibrate_size(
    encoder: str,
    eye_distance_px: float,
    embeddings: F32,
    person: I64,
    fars: Sequence[float] = FARS,
) -> CalibrationRow:
    """Measure one encoder on faces of one size, over all pairs of the given pictures.

    Rates the sample cannot resolve (fewer than one impostor pair in `1 / far`) are left out.

    Args:
        encoder: name the row is stored under.
        eye_distance_px: size the pictures were shrunk to.
        embeddings: `[n, d]`, centred as they will be in use.
        person: `[n]` labels.
        fars: wanted false acceptance rates.
    """
    impostor, genuine = person_pairs(embeddings, person)
    eer = equal_error_rate(impostor, genuine)
    points = []
    for far in fars:
        found = threshold_at_far(impostor, far)
        if found.resolved:
            tar = true_acceptance(genuine, found.threshold).value
            points.append(OperatingPoint(far, found.threshold, tar))
    return CalibrationRow(
        encoder,
        eye_distance_px,
        int(impostor.size),
        int(genuine.size),
        area_under_curve(impostor, genuine),
        eer.rate,
        eer.threshold,
        tuple(points),
    )


def calibrate_encoder(
    encoder: str,
    embed: Callable[[U8, F32], F32],
    faces: FaceSet,
    eye_distances_px: Sequence[float] = EYE_DISTANCES_PX,
    fars: Sequence[float] = FARS,
) -> tuple[tuple[CalibrationRow, ...], F32]:
    """Measure one encoder on the same faces shrunk to several sizes.

    Args:
        encoder: name the rows are stored under.
        embed: (image BGR, landmarks `[n, 5, 2]`) to vectors `[n, d]`.
        faces: people it was not trained on, several pictures of some.
        eye_distances_px: sizes.
        fars: wanted false acceptance rates.

    Returns:
        One row per size, and the mean `[d]` of the unit vectors at the largest size.
    """
    centre: F32 | None = None
    rows = []
    for size in sorted(eye_distances_px, reverse=True):
        small = faces.shrunk(size)
        pairs = zip(small.images_bgr, small.landmarks_xy_px, strict=True)
        vectors = checked_unit_rows(
            np.concatenate([embed(image, marks[None]) for image, marks in pairs])
        )
        if centre is None:
            centre = vectors.mean(axis=0)
        rows.append(calibrate_size(encoder, size, vectors, faces.person, fars))
    if centre is None:
        raise SetupError(f"calibrate {encoder}: no face sizes given")
    return tuple(sorted(rows, key=lambda row: row.eye_distance_px)), centre


def _row_to_mapping(row: CalibrationRow) -> dict[str, Any]:
    return {
        "encoder": row.encoder,
        "eye_distance_px": row.eye_distance_px,
        "n_impostor": row.n_impostor,
        "n_genuine": row.n_genuine,
        "auc": round(row.auc, 5),
        "eer": round(row.eer, 5),
        "eer_threshold": round(row.eer_threshold, 5),
        "points": [
            {"far": p.far, "threshold": round(p.threshold, 5), "tar": round(p.tar, 5)}
            for p in row.points
        ],
    }


def _row_from_mapping(row: Mapping[str, Any]) -> CalibrationRow:
    points = tuple(
        OperatingPoint(float(p["far"]), float(p["threshold"]), float(p["tar"]))
        for p in row["points"]
    )
    return CalibrationRow(
        str(row["encoder"]),
        float(row["eye_distance_px"]),
        int(row["n_impostor"]),
        int(row["n_genuine"]),
        float(row["auc"]),
        float(row["eer"]),
        float(row["eer_threshold"]),
        points,
    )
