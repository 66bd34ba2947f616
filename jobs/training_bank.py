"""`deid train anchors`: the bank of synthetic identities.

Hair, clothes and hands stay when a face is replaced. A moustache under a woman's hair, or an old
man's face on a child, is seen at once, and a face that suited the head would tell its sex and age:
where a man and a woman are the only people in view, that tells who is who. So all anchors are
adults who could be a woman or a man, rather a woman: a smooth face suits a man's head, a beard's
shade no woman's. They suit most heads and tell nothing.
Both are read off vectors by a linear function, learnt where a pack's file names say sex or age:
`AGE_SEX_...` (UTKFace's: years, 0 man, 1 woman) or a folder `female` or `male`.

Whose faces the density describes shows. A vector also tells how its picture was taken, and the
painter paints that too: of portraits that are sharp and fill their crops it makes faces one would
pass in the street, of small old photographs blotches. So one source of the pack may be named. If
its faces are nobody's, as those of a generator of portraits, no real person's vector is in it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deid_ops.anchors.bank import save_bank
from deid_ops.anchors.density import DensityConfig, fit_mixture, sample_bank
from deid_ops.anchors.readings import Readings, fit_readings
from deid_ops.train.data import Pack
from deid_ops.types import F32, I64, Bool

log = logging.getLogger("deid.train")
_NAME = re.compile(r"(?:.*[:/])?(\d{1,3})_([01])_[^/]*$")
_FOLDER = re.compile(r"(?:.*[:/])?(female|male)/")
_MIN_LABELLED = 200
ALL_SOURCES = "all sources"
#: Of the reading of sex (women 1, men -1), and of age in years: what an anchor may have.
SEX, YEARS = (-0.35, 0.8), (18.0, 45.0)


def labels_of(names: Sequence[str]) -> tuple[F32, F32]:
    """Return sex (1 woman, -1 man) [n] and square root of the age [n] by names; NaN: not told.

    Example:
        >>> sex, root_age = labels_of(["utk.tar:25_1_0_2017.jpg", "made.tar:male/b/1.png", "x.png"])
        >>> sex.tolist(), root_age.tolist()
        ([1.0, -1.0, nan], [5.0, nan, nan])
    """
    sex, root_age = (np.full(len(names), np.nan, dtype=np.float32) for _ in range(2))
    for i, name in enumerate(names):
        if match := _NAME.match(name):
            sex[i], root_age[i] = 2.0 * int(match[2]) - 1.0, np.sqrt(int(match[1]))
        elif match := _FOLDER.match(name):
            sex[i] = 1.0 if match[1] == "female" else -1.0
    return sex, root_age


@dataclass(frozen=True, slots=True)
class Suitable:
    """Tells which vectors suit most heads: read as not clearly of one sex, and of middling age.

    Attributes:
        sex: reads sex; None where too few names say it.
        root_age: reads the square root of the years; None likewise.
    """

    sex: Readings | None
    root_age: Readings | None

    def __call__(self, vectors_unit: F32) -> Bool:
        """Return which of the vectors [n, d] are, [n]; what cannot be read is no hindrance."""
        wanted = np.ones(len(vectors_unit), dtype=np.bool_)
        if self.sex is not None:
            sex = self.sex.read(vectors_unit)[:, 0]
            wanted &= (sex >= SEX[0]) & (sex <= SEX[1])
        if self.root_age is not None:
            years = np.square(self.root_age.read(vectors_unit)[:, 0])
            wanted &= (years >= YEARS[0]) & (years <= YEARS[1])
        return wanted


def run_anchors(
    data: Path, out: Path, config: DensityConfig, licence: str, source: str | None = None
) -> dict[str, Any]:
    """Fit the density to a pack's identities and write `anchors.npz`; returns its metadata.

    Args:
        data: the pack.
        out: folder.
        config: number and distances.
        licence: of the data, in plain words.
        source: whose faces the density describes, one of the pack's sources; None: all faces.
            Anchors keep their distance from all of the pack's faces in any case.

    Raises:
        SetupError: no such source, too few faces, or no room for so many anchors.
    """
    pack = Pack(data)
    vectors = np.asarray(pack.columns["identity_unit"])
    rows = rows_of_density(pack, source or ALL_SOURCES)
    suitable, agreement = learn_suitable(pack, rows)
    if suitable.sex is None:
        log.info("the pack's file names do not say sex: anchors of both")
    about: dict[str, Any] = {
        "space": "MobileFaceNet, 128-d, ArcFace template",
        "data_licence": licence,
        "pack_sha256": pack.meta["sha256"]["identity_unit"],
        "density_of": source or ALL_SOURCES,
        "n_density": len(rows),
        "readings": agreement,
    }
    if suitable.sex is not None:
        about["sex"] = SEX
    if suitable.root_age is not None:
        about["years"] = YEARS
    bank = sample_bank(fit_mixture(vectors[rows], config), vectors, config, about, suitable)
    out.mkdir(parents=True, exist_ok=True)
    save_bank(bank, out / "anchors.npz")
    written: dict[str, Any] = json.loads(bank.meta)
    return written


def rows_of_density(pack: Pack, source: str) -> I64:
    """Return the rows [n] of a pack whose faces a bank's density describes, by its `density_of`."""
    return np.arange(len(pack)) if source == ALL_SOURCES else pack.rows_of_source(source)


def learn_suitable(pack: Pack, rows: I64) -> tuple[Suitable, dict[str, Any]]:
    """Learn to read sex and age off the vectors of some rows [n]; returns also how well.

    Of held-out faces: how many are read as of the right sex, and the correlation of the age. It is
    learnt on the faces that the density describes: what tells the sex of old photographs takes
    most synthetic portraits for men.
    """
    names = pack.names()
    sex, root_age = labels_of([names[i] for i in rows])
    vectors = np.asarray(pack.columns["identity_unit"])[rows]
    held = pack.columns["split"][rows] == 1
    agreement: dict[str, Any] = {}
    if (learnt_sex := _learn(vectors, sex, held)) is not None:
        right = (learnt_sex.read > 0) == (learnt_sex.told > 0)
        agreement["sex"] = learnt_sex.counts | {"right": round(float(right.mean()), 4)}
    if (learnt_age := _learn(vectors, root_age, held)) is not None:
        correlation = np.corrcoef(learnt_age.read, learnt_age.told)[0, 1]
        agreement["age"] = learnt_age.counts | {"correlation": round(float(correlation), 4)}
    parts = (None if part is None else part.readings for part in (learnt_sex, learnt_age))
    return Suitable(*parts), agreement


@dataclass(frozen=True, slots=True)
class _Learnt:
    """A reading, and what it reads of held-out faces beside what their names tell, [m] each."""

    readings: Readings
    n_faces: int
    read: F32
    told: F32

    @property
    def counts(self) -> dict[str, int]:
        return {"faces": self.n_faces, "held_out": len(self.told)}


def _learn(vectors_unit: F32, values: F32, held: Bool) -> _Learnt | None:
    """Learn one value [n], NaN where it is not told; None where too few are."""
    known = ~np.isnan(values)
    learnt, tested = known & ~held, known & held
    if learnt.sum() < _MIN_LABELLED or tested.sum() < 2:
        return None
    readings = fit_readings(vectors_unit[learnt], values[learnt, None])
    read = readings.read(vectors_unit[tested])[:, 0]
    return _Learnt(readings, int(learnt.sum()), read, values[tested])
