"""Which synthetic identity each person shows: chosen once when linking, looked up when swapping."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.anchors.bank import AnchorBank, Appearance
from deid_ops.anchors.choose import (
    AnchorChoice,
    ChoiceLimits,
    choose_anchor,
    outside_windows,
    relative_distances,
)
from deid_ops.identity.vectors import unit_rows
from deid_ops.types import F32, F64
from jobs.config import JobConfig
from jobs.models import OWN_ENCODER, anchor_bank, calibration_file, judge_name
from jobs.rows import Row
from jobs.weights import sha256_of

log = logging.getLogger("deid.anchors")


@dataclass(frozen=True)
class PersonViews:
    """How two encoders see a person; None where no face was good enough. Biometric: memory only."""

    own_unit: F32 | None  # [d] the conditioning encoder
    guard_unit: F32 | None = None  # [g] the first judge


@dataclass(frozen=True)
class AnchorSet:
    """A person's anchors in order of choice (-1: none), and the first one's distance (-1: n/a)."""

    anchor_ids: tuple[int, ...]
    distance: float


class Anchors:
    """The bank with the policy of the configuration.

    Args:
        config: window, distance between live persons, number of further anchors.
        secret_key: decides which admissible anchor a person gets.
    """

    def __init__(self, config: JobConfig, secret_key: bytes) -> None:
        self.bank: AnchorBank = anchor_bank(config)
        section = config.anchors
        self._limits = ChoiceLimits(
            (section.window_min, section.window_max),
            (section.appearance_min, section.appearance_max),
            (section.own_appearance_min, section.own_appearance_max),
            (section.hidden_min, section.hidden_max),
            (section.own_hidden_min, section.own_hidden_max),
            section.apart_min,
        )
        self._further = config.replace.other_anchors
        self._key = secret_key
        self._painted_unit: dict[str, F32] = {}  # [m, g] centred, of the first judge and our own
        if (seen := _usable_appearance(self.bank, config)) is not None:
            views = {seen.encoder: seen.judged, OWN_ENCODER: seen.own}
            self._painted_unit = {name: _centred_unit(name, v) for name, v in views.items()}

    def choose(
        self,
        person: PersonViews,
        scope_id: str,
        person_id: str,
        taken: Collection[int] = (),
        live: Collection[int] = (),
        others: Sequence[PersonViews] = (),
    ) -> AnchorSet:
        """Choose a person's anchor and its further ones.

        Args:
            person: what the encoders see.
            scope_id: identity scope.
            person_id: person within the scope.
            taken: anchors of all other persons of the scope; avoided while the bank lasts.
            live: those of persons in view at the same time; never given twice.
            others: how the encoders see these persons; the new face is to be hidden among them.
        """
        chosen: list[int] = []
        distance = -1.0
        outside = self._outside(person, others)
        for number in range(1 + self._further):
            name = person_id if number == 0 else f"{person_id}#{number}"
            for occupied in ({*taken, *live, *chosen}, {*live, *chosen}):
                choice = self._one(person.own_unit, outside, scope_id, name, occupied - {-1})
                if choice is not None:
                    break
            chosen.append(-1 if choice is None else choice.anchor_id)
            if number == 0 and choice is not None and choice.distance_to_person is not None:
                distance = choice.distance_to_person
        return AnchorSet(tuple(chosen), distance)

    def _one(
        self,
        own_unit: F32 | None,
        outside: F64 | None,
        scope_id: str,
        name: str,
        occupied: set[int],
    ) -> AnchorChoice | None:
        return choose_anchor(
            self.bank,
            own_unit,
            self._key,
            scope_id,
            name,
            occupied,
            outside,
            self._limits,
        )

    def _outside(self, person: PersonViews, others: Sequence[PersonViews]) -> F64 | None:
        """Return [m] how far outside of their windows the faces painted with each anchor lie."""
        if not self._painted_unit or person.own_unit is None or person.guard_unit is None:
            return None
        limits = self._limits
        asked = (
            (person.guard_unit, [o.guard_unit for o in others if o.guard_unit is not None],
             limits.appearance_window, limits.hidden_window),
            (person.own_unit, [o.own_unit for o in others if o.own_unit is not None],
             limits.own_appearance_window, limits.own_hidden_window),
        )  # fmt: skip
        distances: list[F64] = []
        windows: list[tuple[float, float]] = []
        for (name, painted), (vector, of_others, far, hidden) in zip(
            self._painted_unit.items(), asked, strict=True
        ):
            unit = _centred_unit(name, vector[None])[0]
            distances.append(1.0 - painted @ unit)
            windows.append(far)
            if of_others and hidden[0] > 0:
                others_unit = _centred_unit(name, np.stack(of_others))
                distances.append(relative_distances(painted, unit, others_unit))
                windows.append(hidden)
        return outside_windows(distances, windows)

    def of_tracks(self, row: Row) -> F32:
        """Return the first anchor of every track of a linked row, [t, d]; zeros where none is."""
        vectors = np.zeros((len(row["track_anchor_id"]), self.bank.vectors_unit.shape[1]))
        for track, anchor in enumerate(row["track_anchor_id"]):
            if anchor >= 0:
                vectors[track] = self.bank.vectors_unit[anchor]
        return vectors.astype(np.float32)

    def chooser(self, row: Row) -> Callable[[int, int], F32 | None]:
        """Return `(track, anchor number) -> vector` for a linked row."""
        first = row["track_anchor_id"]
        further = row["track_other_anchor_ids"].reshape(len(first), -1) if len(first) else None

        def anchor_of_track(track: int, number: int) -> F32 | None:
            options = [int(first[track])]
            if further is not None:
                options += [int(a) for a in further[track]]
            if number >= len(options) or options[number] < 0:
                return None
            vector: F32 = self.bank.vectors_unit[options[number]]
            return vector

        return anchor_of_track


def _centred_unit(encoder: str, vectors: F32) -> F32:
    """Return vectors [n, g] less the encoder's mean, as it is calibrated, at unit length."""
    return unit_rows(calibration_file().centred(encoder, vectors))


def _usable_appearance(bank: AnchorBank, config: JobConfig) -> Appearance | None:
    """Return the bank's appearance where it is the first judge's, of the present generator."""
    seen = bank.appearance
    if config.replace.generator is None or not config.audit.judges:
        return None
    if seen is None:
        if "appearance" in json.loads(bank.meta):
            log.warning(
                "the anchor bank's appearance is of an older version: anchors are chosen without "
                "it (measure it again with `deid train appearance`)"
            )
        return None
    if seen.encoder != judge_name(config.audit.judges[0]):
        return None
    if seen.painter_sha256 != sha256_of(config.replace.generator):
        log.warning(
            "the anchor bank's appearance is of another generator: anchors are chosen without it "
            "(measure it again with `deid train appearance`)"
        )
        return None
    return seen
