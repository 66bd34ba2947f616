"""`deid train anchors`: the bank of synthetic identities.

Hair, clothes and hands stay when a face is replaced. A moustache under a woman's hair, or an old
man's face on a child, is seen at once, and a face that suited the head would tell its sex and age:
where a man and a woman are the only people in view, that tells who is who. So anchors are drawn
from between: adults who could be a woman or a man, who suit most heads a little and tell nothing.
Both are read off vectors by a linear function, learnt where a pack's file names say sex and age
(`AGE_SEX_...`, UTKFace's: years, 0 man, 1 woman).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deid_ops.anchors.bank import save_bank
from deid_ops.anchors.density import DensityConfig, fit_mixture, sample_bank
from deid_ops.anchors.readings import Readings, fit_readings
from deid_ops.train.data import Pack
from deid_ops.types import F32, Bool

log = logging.getLogger("deid.train")
_NAME = re.compile(r"(?:.*[:/])?(\d{1,3})_([01])_[^/]*$")
_MIN_LABELLED = 200
#: Of the reading of sex (women 1, men -1), and of age in years: what an anchor may have.
SEX_MOST, YEARS = 0.35, (18.0, 45.0)
_ROOT_YEARS = np.sqrt(YEARS)
#: The density is fitted to faces that are read within so many times the width of these.
_FITTED_WIDTH = 2.0


def labels_of(names: Sequence[str]) -> tuple[F32, Bool]:
    """Return sex (1, -1) and square root of the age [n, 2] by file names; which have them [n].

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

    Raises:
        SetupError: too few faces, or no room for so many anchors.
    """
    pack = Pack(data)
    vectors = np.asarray(pack.columns["identity_unit"])
    about: dict[str, Any] = {
        "space": "MobileFaceNet, 128-d, ArcFace template",
        "data_licence": licence,
        "pack_sha256": pack.meta["sha256"]["identity_unit"],
    }
    readings, agreement = learn_readings(pack, vectors)
    if readings is None:
        log.info("the pack's file names do not say sex and age: anchors of both and of every age")
        bank = sample_bank(fit_mixture(vectors, config), vectors, config, about)
    else:
        about |= {"sex_most": SEX_MOST, "years": YEARS, "readings": agreement}
        mixture = fit_mixture(vectors[between(readings, vectors, _FITTED_WIDTH)], config)
        # the faces' own middle, at unit length, is read as a young woman
        centre_unit = mixture.centre / np.linalg.norm(mixture.centre)
        middle = readings.moved(centre_unit, np.array([0.0, _ROOT_YEARS.mean()]))
        bank = sample_bank(
            mixture, vectors, config, about, lambda draws: between(readings, draws), middle
        )
    out.mkdir(parents=True, exist_ok=True)
    save_bank(bank, out / "anchors.npz")
    written: dict[str, Any] = json.loads(bank.meta)
    return written


def learn_readings(pack: Pack, vectors_unit: F32) -> tuple[Readings | None, dict[str, float]]:
    """Learn to read sex and age off vectors; returns also how well held-out faces are read.

    None where too few of the pack's file names say them.
    """
    values, known = labels_of(pack.names())
    if known.sum() < _MIN_LABELLED:
        return None, {}
    held = pack.columns["split"] == 1
    learnt, tested = known & ~held, known & held
    readings = fit_readings(vectors_unit[learnt], values[learnt])
    read, true = readings.read(vectors_unit[tested]), values[tested]
    right = (read[:, 0] > 0) == (true[:, 0] > 0)
    return readings, {
        "faces": int(learnt.sum()),
        "held_out": int(tested.sum()),
        "sex_right": round(float(right.mean()), 4),
        "age_correlation": round(float(np.corrcoef(read[:, 1], true[:, 1])[0, 1]), 4),
    }


def between(readings: Readings, vectors_unit: F32, width: float = 1.0) -> Bool:
    """Tell which vectors [n, d] are read as between the sexes and of middling age, [n].

    Args:
        readings: of sex and age.
        vectors_unit: the vectors.
        width: how many times as wide a range of sex is allowed, and of the age's square root.
    """
    sex, root = readings.read(vectors_unit).T
    middle, half = _ROOT_YEARS.mean(), 0.5 * width * np.ptp(_ROOT_YEARS)
    return np.asarray((np.abs(sex) <= width * SEX_MOST) & (np.abs(root - middle) <= half))
