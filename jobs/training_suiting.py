"""`deid train suiting`: learn which anchors suit which heads, and keep it in the bank.

Labels are read off file names of the form `AGE_SEX_...` (UTKFace's: years, 0 man, 1 woman). The
readings are linear functions of vectors that the generator is conditioned on anyway.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deid_ops.anchors.bank import AnchorBank, load_bank, save_bank
from deid_ops.anchors.suiting import Suiting, fit_suiting
from deid_ops.errors import SetupError
from deid_ops.train.data import Pack
from deid_ops.types import F32, Bool

_NAME = re.compile(r"(?:.*[:/])?(\d{1,3})_([01])_[^/]*$")
_MIN_LABELLED = 200
NAMES = ("sex", "age")
#: Sex is 1 for women and -1 for men, age the square root of the years: 25 and 49 are 2 apart.
TOLERANCES = (0.8, 2.0)


def labels_of(names: list[str]) -> tuple[F32, Bool]:
    """Return sex and age [n, 2] by file names, in the units of `TOLERANCES`; which have them [n].

    Example:
        >>> values, known = labels_of(["utk.tar:25_1_0_2017.jpg", "made/face_1.png"])
        >>> values[0].tolist(), known.tolist()
        ([1.0, 5.0], [True, False])
    """
    found = [_NAME.match(name) for name in names]
    values = [(2.0 * int(m[2]) - 1.0, np.sqrt(int(m[1]))) if m else (0.0, 0.0) for m in found]
    known = np.array([m is not None for m in found], dtype=np.bool_)
    return np.asarray(values, dtype=np.float32).reshape(-1, 2), known


def has_labels(pack: Pack) -> bool:
    """Tell whether enough of a pack's file names say sex and age."""
    _, known = labels_of(pack.names())
    return int(known.sum()) >= _MIN_LABELLED


def run_suiting(data: Path, anchors: Path, out: Path) -> dict[str, Any]:
    """Write the bank with what suits; returns how well it is read.

    Args:
        data: a pack whose file names say age and sex.
        anchors: the bank.
        out: the bank to write, may be the same file.

    Raises:
        SetupError: a file is missing, or too few names say age and sex.
    """
    pack, bank = Pack(data), load_bank(anchors)
    values, known = labels_of(pack.names())
    if known.sum() < _MIN_LABELLED:
        raise SetupError(
            f"{data}: {int(known.sum())} of {len(known)} file names begin with AGE_SEX_, at least "
            f"{_MIN_LABELLED} are needed; leave `deid train suiting` out for other data"
        )
    vectors = np.asarray(pack.columns["identity_unit"])
    held = pack.columns["split"] == 1
    learnt, tested = known & ~held, known & held
    suiting = fit_suiting(vectors[learnt], values[learnt], NAMES, TOLERANCES)
    about = {"faces": int(learnt.sum()), "held_out": _agreement(suiting, vectors, values, tested)}
    meta = json.loads(bank.meta) | {"suiting": about}
    bank = replace(bank, meta=json.dumps(meta), suiting=suiting)
    save_bank(bank, out)
    return about | {"anchors": _described(suiting, bank)}


def _agreement(suiting: Suiting, vectors: F32, values: F32, rows: Bool) -> dict[str, float]:
    read, true = suiting.read(vectors[rows]), values[rows]
    right = (read[:, 0] > 0) == (true[:, 0] > 0)
    return {
        "faces": int(rows.sum()),
        "sex_right": round(float(right.mean()), 4),
        "age_correlation": round(float(np.corrcoef(read[:, 1], true[:, 1])[0, 1]), 4),
    }


def _described(suiting: Suiting, bank: AnchorBank) -> dict[str, float]:
    read = suiting.read(bank.vectors_unit)
    years = np.square(np.maximum(read[:, 1], 0.0))
    low, middle, high = np.quantile(years, [0.1, 0.5, 0.9])
    return {
        "women": round(float((read[:, 0] > 0).mean()), 4),
        "years_p10": round(float(low), 1),
        "years_p50": round(float(middle), 1),
        "years_p90": round(float(high), 1),
    }
