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
# Impostor pairs are all pairs of different people.
"""
_PROVENANCE = "# Written by: "


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
    """Return the new rows, with the old ones of encoders and sizes that were not measured now.

    An encoder's mean vector belongs to its largest size, so sizes added below leave it as it is.
    """
    if old is None:
        return new
    measured = {(row.encoder, row.eye_distance_px) for row in new.rows}
    kept = [row for row in old.rows if (row.encoder, row.eye_distance_px) not in measured]
    rows = sorted([*new.rows, *kept], key=lambda row: (row.encoder, row.eye_distance_px))
    centres = dict(old.centres)
    for name, centre in new.centres.items():
        if name not in centres or _largest(new, name) >= _largest(old, name):
            centres[name] = centre
    return Calibration(tuple(rows), centres)


def _largest(calibration: Calibration, encoder: str) -> float:
    return max(row.eye_distance_px for row in calibration.rows_of(encoder))


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
    """Write a calibration with a header that says where it came from, earlier commands included."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    people = len(set(faces.person.tolist()))
    commands = [line for line in lines if line.startswith(_PROVENANCE)]
    commands.append(
        f"{_PROVENANCE}{command} ({faces.name}: {len(faces)} pictures of {people} people)"
    )
    header = _HEADER + "".join(f"{line}\n" for line in commands)
    body = yaml.safe_dump(calibration.to_mapping(), sort_keys=False, width=100)
    path.write_text(header + body, encoding="utf-8")
