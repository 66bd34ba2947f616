"""`deid calibrate`: thresholds of the judges per face size, for `configs/calibration.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from deid_ops.errors import SetupError
from deid_ops.judge.calibration import Calibration, CalibrationRow, calibrate_encoder
from deid_ops.metrics.faceset import FaceSet
from deid_ops.types import F32
from jobs.config import JobConfig
from jobs.models import judge_encoders

_HEADER = """\
# Thresholds of the judging encoders, by size of the face and false acceptance rate.
# Distances are |u - v|^2 / 2 of unit vectors (the cosine distance); a pair below the threshold
# matches. `centres` are the encoders' mean vectors, used for the distance to a negated vector.
# Written by: {command}
# From: {source}, {n} pictures of {people} people; impostor pairs are all pairs of different people.
"""


def calibrate(
    config: JobConfig, faces: FaceSet, eye_distances_px: Sequence[float], fars: Sequence[float]
) -> Calibration:
    """Measure every judge of the configuration on a face set."""
    rows: list[CalibrationRow] = []
    centres: dict[str, F32] = {}
    for name, encoder in judge_encoders(config).items():
        found, centre = calibrate_encoder(name, encoder.embed, faces, eye_distances_px, fars)
        rows.extend(found)
        centres[name] = centre
    return Calibration(tuple(rows), centres)


def merged(new: Calibration, old: Calibration | None) -> Calibration:
    """Return the new rows, with those of encoders that were not measured this time."""
    if old is None:
        return new
    kept = tuple(row for row in old.rows if row.encoder not in new.encoders)
    centres: dict[str, F32] = {k: v for k, v in old.centres.items() if k not in new.encoders}
    return Calibration(new.rows + kept, centres | dict(new.centres))


def read_calibration(path: Path) -> Calibration | None:
    """Read a calibration file; None where there is none yet.

    Raises:
        SetupError: the file is no calibration.
    """
    if not path.exists():
        return None
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SetupError(f"{path}: cannot read the calibration: {error}") from error
    return Calibration.from_mapping(tree or {}, str(path))


def write_calibration(path: Path, calibration: Calibration, faces: FaceSet, command: str) -> None:
    """Write a calibration with a header that says where it came from."""
    header = _HEADER.format(
        command=command, source=faces.name, n=len(faces), people=len(set(faces.person.tolist()))
    )
    body = yaml.safe_dump(calibration.to_mapping(), sort_keys=False, width=100)
    path.write_text(header + body, encoding="utf-8")
