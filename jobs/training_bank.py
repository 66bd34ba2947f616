"""`deid train anchors`: the bank of synthetic identities, balanced, and which of them suit whom.

Where a pack's file names say sex and age (`AGE_SEX_...`, UTKFace's: years, 0 man, 1 woman), both
are learnt as linear functions of the vectors that the generator is conditioned on anyway. The bank
is then sampled by sex and age in equal parts and keeps the functions, for `anchors.suit`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from deid_ops.anchors.bank import AnchorBank, save_bank
from deid_ops.anchors.density import (
    FACES_EACH,
    DensityConfig,
    Group,
    everybody,
    fit_mixture,
    sample_bank,
)
from deid_ops.anchors.suiting import Suiting, fit_suiting
from deid_ops.train.data import Pack
from deid_ops.types import F32, Bool

log = logging.getLogger("deid.train")
_NAME = re.compile(r"(?:.*[:/])?(\d{1,3})_([01])_[^/]*$")
_MIN_LABELLED = 200
NAMES = ("sex", "age")
#: Sex is 1 for women and -1 for men, age the square root of the years: 25 and 49 are 2 apart.
TOLERANCES = (0.8, 2.0)
#: Years between the groups of a bank. Children have none of their own: the teacher sees them as so
#: alike that hardly a draw is far from all of those it learned from.
_AGES = (0.0, 30.0, 50.0, np.inf)


def labels_of(names: Sequence[str]) -> tuple[F32, Bool]:
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


def run_anchors(data: Path, out: Path, config: DensityConfig, licence: str) -> dict[str, Any]:
    """Fit the density to a pack's identities and write `anchors.npz`; returns its metadata.

    Args:
        data: the pack.
        out: folder.
        config: number and distances.
        licence: of the data, in plain words.
    """
    pack = Pack(data)
    vectors = np.asarray(pack.columns["identity_unit"])
    about: dict[str, Any] = {
        "space": "MobileFaceNet, 128-d, ArcFace template",
        "data_licence": licence,
        "pack_sha256": pack.meta["sha256"]["identity_unit"],
    }
    suiting, read = learn_suiting(pack, vectors)
    if suiting is None:
        log.info("the pack's file names do not say sex and age: every anchor suits everybody")
        groups = [everybody(fit_mixture(vectors, config))]
    else:
        groups, about = sex_and_age_groups(vectors, suiting, config), about | {"suiting": read}
    bank = sample_bank(groups, vectors, config, about)
    if suiting is not None:
        meta = json.loads(bank.meta)
        meta["suiting"] |= {"anchors": described(suiting, bank)}
        bank = replace(bank, meta=json.dumps(meta), suiting=suiting)
    out.mkdir(parents=True, exist_ok=True)
    save_bank(bank, out / "anchors.npz")
    written: dict[str, Any] = json.loads(bank.meta)
    return written


def learn_suiting(pack: Pack, vectors_unit: F32) -> tuple[Suiting | None, dict[str, Any]]:
    """Learn to read sex and age off vectors; returns how well they are read, too.

    None where too few of the pack's file names say them.
    """
    values, known = labels_of(pack.names())
    if known.sum() < _MIN_LABELLED:
        return None, {}
    held = pack.columns["split"] == 1
    learnt, tested = known & ~held, known & held
    suiting = fit_suiting(vectors_unit[learnt], values[learnt], NAMES, TOLERANCES)
    agreement = _agreement(suiting, vectors_unit[tested], values[tested])
    return suiting, {"faces": int(learnt.sum()), "held_out": agreement}


def sex_and_age_groups(vectors_unit: F32, suiting: Suiting, config: DensityConfig) -> list[Group]:
    """Return a density for each sex and age, of equal shares; one of few faces is left out."""
    groups = []
    for sex, women in (("women", True), ("men", False)):
        for low, high in pairwise(_AGES):
            holds = _membership(suiting, women, low, high)
            mine = vectors_unit[holds(vectors_unit)]
            if len(mine) >= FACES_EACH:
                name = f"{sex} from {low:.0f}" + ("" if np.isinf(high) else f" to {high:.0f}")
                groups.append(Group(name, 1.0, fit_mixture(mine, config), holds))
    return groups


def _membership(suiting: Suiting, women: bool, low: float, high: float) -> Callable[[F32], Bool]:
    def holds(vectors_unit: F32) -> Bool:
        sex, years = _sex_and_years(suiting, vectors_unit)
        return np.asarray(((sex > 0) == women) & (years >= low) & (years < high))

    return holds


def _sex_and_years(suiting: Suiting, vectors_unit: F32) -> tuple[F32, F32]:
    read = suiting.read(vectors_unit)
    return read[:, 0], np.square(np.maximum(read[:, 1], 0.0))


def _agreement(suiting: Suiting, vectors_unit: F32, values: F32) -> dict[str, float]:
    read = suiting.read(vectors_unit)
    right = (read[:, 0] > 0) == (values[:, 0] > 0)
    return {
        "faces": len(values),
        "sex_right": round(float(right.mean()), 4),
        "age_correlation": round(float(np.corrcoef(read[:, 1], values[:, 1])[0, 1]), 4),
    }


def described(suiting: Suiting, bank: AnchorBank) -> dict[str, float]:
    """Return what is read off the anchors: share of women, age quantiles."""
    sex, years = _sex_and_years(suiting, bank.vectors_unit)
    low, middle, high = np.quantile(years, [0.1, 0.5, 0.9])
    return {
        "women": round(float((sex > 0).mean()), 4),
        "years_p10": round(float(low), 1),
        "years_p50": round(float(middle), 1),
        "years_p90": round(float(high), 1),
    }
