"""Which synthetic identity each person shows: chosen once when linking, looked up when swapping."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

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
from jobs.rows import Row, further_anchors
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


class _PaintedView:
    """How an encoder sees the faces painted with each anchor, and where it is to see them.

    Args:
        encoder: its name in the calibration.
        painted: [m, g] its vectors of these faces.
        of: picks its vector of a person.
        window: of the distance to the person.
        hidden_window: of that distance by the mean one to others in view; a least of 0 asks for
            nothing.
    """

    def __init__(
        self,
        encoder: str,
        painted: F32,
        of: Callable[[PersonViews], F32 | None],
        window: tuple[float, float],
        hidden_window: tuple[float, float],
    ) -> None:
        self.of, self._encoder = of, encoder
        self._painted_unit = _centred_unit(encoder, painted)
        self._window, self._hidden_window = window, hidden_window

    def distances(
        self, person: PersonViews, others: Sequence[PersonViews]
    ) -> Iterator[tuple[F64, tuple[float, float]]]:
        """Yield what is asked of the anchors: [m] each one's distance, and its window."""
        vector = self.of(person)
        if vector is None:
            return
        unit = _centred_unit(self._encoder, vector[None])[0]
        yield 1.0 - self._painted_unit @ unit, self._window
        of_others = [v for v in map(self.of, others) if v is not None]
        if of_others and self._hidden_window[0] > 0:
            others_unit = _centred_unit(self._encoder, np.stack(of_others))
            relative = relative_distances(self._painted_unit, unit, others_unit)
            yield relative, self._hidden_window


class Anchors:
    """The bank with the policy of the configuration.

    Args:
        config: window, distance between live persons, number of further anchors.
        secret_key: decides which admissible anchor a person gets.
    """

    def __init__(self, config: JobConfig, secret_key: bytes) -> None:
        self.bank: AnchorBank = anchor_bank(config)
        section = config.anchors
        limits = self._limits = ChoiceLimits(
            (section.window_min, section.window_max),
            (section.appearance_min, section.appearance_max),
            (section.own_appearance_min, section.own_appearance_max),
            (section.hidden_min, section.hidden_max),
            (section.own_hidden_min, section.own_hidden_max),
            section.apart_min,
        )
        self._further = config.replace.other_anchors
        self._key = secret_key
        self._views: tuple[_PaintedView, ...] = ()
        if (seen := _usable_appearance(self.bank, config)) is not None:
            far, own_far = limits.appearance_window, limits.own_appearance_window
            hidden, own_hidden = limits.hidden_window, limits.own_hidden_window
            self._views = (
                _PaintedView(seen.encoder, seen.judged, attrgetter("guard_unit"), far, hidden),
                _PaintedView(OWN_ENCODER, seen.own, attrgetter("own_unit"), own_far, own_hidden),
            )

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
        if not self._views or any(view.of(person) is None for view in self._views):
            return None
        asked = [pair for view in self._views for pair in view.distances(person, others)]
        return outside_windows([d for d, _ in asked], [window for _, window in asked])

    def of_tracks(self, row: Row) -> F32:
        """Return the first anchor of every track of a linked row, [t, d]; zeros where none is."""
        vectors = np.zeros((len(row["track_anchor_id"]), self.bank.vectors_unit.shape[1]))
        for track, anchor in enumerate(row["track_anchor_id"]):
            if anchor >= 0:
                vectors[track] = self.bank.vectors_unit[anchor]
        return vectors.astype(np.float32)

    def chooser(self, row: Row) -> Callable[[int, int], F32 | None]:
        """Return `(track, anchor number) -> vector` for a linked row."""
        options = np.column_stack([row["track_anchor_id"], further_anchors(row)])

        def anchor_of_track(track: int, number: int) -> F32 | None:
            if number >= options.shape[1] or options[track, number] < 0:
                return None
            vector: F32 = self.bank.vectors_unit[options[track, number]]
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
