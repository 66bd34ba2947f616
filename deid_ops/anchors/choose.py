"""Which synthetic identity a person gets: a keyed choice within a distance window.

The window keeps the output away from the person and from the person's negation: an output that is
the furthest possible identity re-identifies just as well (negate it). With a threshold of 0.63 at
FAR 1e-3 the output must lie in (0.63, 1.37). The output is not the anchor: surroundings, light and
pose stay, and pull it back to the person. In a crowd's clip (11 people, 8 anchors each) outputs of
anchors at 0.8 to 1.2 lay 0.25 nearer than their anchors, on average at 0.74, 0.86 and 0.89 under
three encoders; of anchors nearer than 0.9 a judge matched 3.4 %, of those beyond 1.0 none. The
bank's anchors (`jobs/training_bank.py`) lie at 0.78 to 1.25 from people in photographs (1st to
99th of 100); the window [0.8, 1.3] leaves 98 % of them.

The anchor's own distance says little about the painted face's within the window. How a judge sees
the faces painted with an anchor (`AnchorBank.appearance`) says more: in the same clip (8 people, 4
anchors each) that distance correlates with the outcome's by 0.6 within a person, the anchor's own
by 0.05. Anchors whose painted faces lie at 1.05 or more gave outputs at 1.00 on average, the others
at 0.83, and a third encoder found the right person of the recording in 6 % of the faces instead of
38 % (chance 5 %). So among the anchors of the window those are preferred, or where they are few
(for some people one or two) some more that come nearest (`CHOICES_MIN`). The same is asked of the
conditioning encoder's view, which the painters learn to please: it knows best what they leave of a
person. With it retail-0095 ranked the right one of two to seven people first in 3 % more of the
faces than a guesser, without it in 9 % (12 tracks of three clips, 24 anchors each, the ladder
simulated).

A painted face may be far from the person and yet farther from everybody else in view: whoever asks
which of them it was is then right. So where others are in view it is also asked how far the person
is from the faces painted with an anchor, of how far the others are (`relative_distances`). Within a
person that goes along with the outcome's by 0.79 for either view (15 people of four clips, 48
anchors each); what is painted lies about a tenth nearer to the person.

What the window itself tells: whoever knows the bank can name the anchor of a face, and then that
the person lies in the windows around it, as one person in eleven does (258 held-out training faces,
each alone in view; mean; 3.4 bits a release; for half of them so few lie in all windows that the
nearest one in `CHOICES_ONE_IN` are taken, 5 bits). The pull it takes away tells more: it points at
the person in every release, so an attacker could average.

Among the admissible anchors the one with the smallest HMAC-SHA256(key, scope, person, anchor) is
taken (rendezvous or highest-random-weight hashing, Thaler and Ravishankar 1998). Each anchor has
its own rank that does not depend on the others, so a small change of the person's vector, which
lets a few anchors in or out of the window, seldom changes the choice. Without the key the ranks
cannot be computed: the key decides linkability.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.anchors.bank import AnchorBank
from deid_ops.errors import SetupError

KEY_BYTES_MIN = 16
#: From so many at least, and from one in so many of the bank, the key chooses where so many are
#: admissible. Of fewer it would often take the same again under another key, and the anchor would
#: tell who the person is.
CHOICES_MIN, CHOICES_ONE_IN = 32, 32


@dataclass(frozen=True, slots=True)
class ChoiceLimits:
    """Which anchors a person may get.

    Attributes:
        window: smallest and largest cosine distance between person and anchor.
        appearance_window: smallest and largest of the person to an anchor's painted faces, by a
            judge.
        own_appearance_window: the same by the conditioning encoder.
        hidden_window: smallest and largest of `relative_distances` by the judge; whose smallest is
            0, it is not asked.
        own_hidden_window: the same by the conditioning encoder.
        apart_min: cosine distance to every taken anchor.
    """

    window: tuple[float, float] = (0.8, 1.3)
    appearance_window: tuple[float, float] = (1.05, 1.35)
    own_appearance_window: tuple[float, float] = (1.0, 1.35)
    hidden_window: tuple[float, float] = (1.1, 1.25)
    own_hidden_window: tuple[float, float] = (1.15, 1.35)
    apart_min: float = 0.5


@dataclass(frozen=True, slots=True)
class AnchorChoice:
    """The anchor of one person.

    Attributes:
        anchor_id: row of the bank.
        distance_to_person: cosine distance, None where the person has no vector.
        distance_to_negation: cosine distance to the negated vector (2 minus the other).
        relaxed: no admissible anchor was `ChoiceLimits.apart_min` away from the anchors of all live
            persons; this one is only different from them. The window itself is never relaxed.
    """

    anchor_id: int
    distance_to_person: float | None
    distance_to_negation: float | None
    relaxed: bool


def choose_anchor(
    bank: AnchorBank,
    person_unit: npt.NDArray[Any] | None,
    key: bytes,
    scope_id: str,
    person_id: str,
    taken: Collection[int],
    outside: npt.NDArray[Any] | None = None,
    limits: ChoiceLimits = ChoiceLimits(),
) -> AnchorChoice | None:
    """Choose a person's anchor; None where the bank has no admissible one (then redact).

    Args:
        bank: synthetic identities.
        person_unit: `[d]` unit vector, or None where no face of the person was good enough: then
            the window cannot be checked and every anchor counts as admissible.
        key: secret run key, at least 16 bytes.
        scope_id: identity scope.
        person_id: person within the scope.
        taken: anchors of other persons who are live in the same scope; never given twice.
        outside: `[m]` how far outside of their windows each anchor's painted faces lie, see
            `outside_windows`; None where it is not known. Of the anchors of `limits.window` the
            choice is among those that lie inside, or as many as `CHOICES_MIN` and
            `CHOICES_ONE_IN` ask for, the nearest to it; the ladder looks at what is painted anyway.
        limits: windows, and how far from `taken`.

    Raises:
        SetupError: the key is too short, or the vector does not fit the bank.
    """
    if len(key) < KEY_BYTES_MIN:
        raise SetupError(f"the anchor key has {len(key)} bytes; use at least {KEY_BYTES_MIN}")
    distance = _distances(bank, person_unit)
    occupied = np.zeros(len(bank), dtype=np.bool_)
    occupied[list(taken)] = True
    admissible = ~occupied
    if distance is not None:
        low, high = limits.window
        admissible &= (distance >= low) & (distance <= high)
    if not admissible.any():
        return None
    if outside is not None:
        choices = max(CHOICES_MIN, len(bank) // CHOICES_ONE_IN)
        admissible &= outside <= _enough(outside[admissible], choices)
    apart = admissible & _apart(bank, occupied, limits.apart_min)
    relaxed = not apart.any()
    rows = np.flatnonzero(admissible if relaxed else apart)
    anchor_id = _first_by_key(rows, key, scope_id, person_id)
    to_person = None if distance is None else float(distance[anchor_id])
    to_negation = None if to_person is None else 2.0 - to_person
    return AnchorChoice(anchor_id, to_person, to_negation, relaxed)


def relative_distances(
    painted_unit: npt.NDArray[Any],
    person_unit: npt.NDArray[Any],
    others_unit: npt.NDArray[Any],
) -> npt.NDArray[np.float64]:
    """Return [m] how far a person lies from each anchor's painted faces, of how far others do.

    The ratio of the cosine distance to the person and the mean one to the others. Below 1 a painted
    face points at that person rather than at the others in view.

    Args:
        painted_unit: [m, d] an encoder's vectors of the faces painted with each anchor, less the
            encoder's mean, at unit length; the others likewise.
        person_unit: [d].
        others_unit: [k, d] of those in view at the same time, one or more.

    Example:
        >>> painted = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> relative_distances(painted, np.array([0.6, 0.8]), np.array([[0.0, -1.0]])).round(2)
        array([0.4, 0.1])
    """
    to_person = 1.0 - painted_unit @ person_unit
    to_others = (1.0 - painted_unit @ others_unit.T).mean(axis=1)
    return np.asarray(to_person / np.maximum(to_others, 1e-6), dtype=np.float64)


def outside_windows(
    distances: Sequence[npt.NDArray[Any]], windows: Sequence[tuple[float, float]]
) -> npt.NDArray[np.float64]:
    """Return how far outside of their windows `m` anchors lie, by the encoder that sees most of it.

    In units of distance; negative inside.

    Args:
        distances: `[m]` by each encoder: cosine distances of the person to each anchor's painted
            faces, of vectors less the encoder's mean.
        windows: smallest and largest for each encoder.

    Example:
        >>> by_two = [np.array([0.9, 1.1]), np.array([1.2, 1.5])]
        >>> outside_windows(by_two, [(1.0, 1.3), (1.0, 1.4)]).round(3).tolist()
        [0.1, 0.1]
    """
    parts = [
        np.maximum(low - distance, distance - high)
        for distance, (low, high) in zip(distances, windows, strict=True)
    ]
    return np.asarray(np.max(parts, axis=0), dtype=np.float64)


def _enough(outside: npt.NDArray[Any], choices: int) -> float:
    """Return how far outside anchors may lie, so that there are enough to choose from."""
    widest = np.sort(outside)[:choices][-1]
    return float(max(widest, 0.0))


def _distances(
    bank: AnchorBank, person_unit: npt.NDArray[Any] | None
) -> npt.NDArray[np.float64] | None:
    if person_unit is None:
        return None
    vector = np.asarray(person_unit, dtype=np.float64)
    if vector.shape != (bank.dim,):
        raise SetupError(
            f"the anchor bank has {bank.dim} dimensions, the person's vector has shape "
            f"{vector.shape}; bank and encoder do not belong together"
        )
    norm = float(np.linalg.norm(vector))
    if not 0.5 < norm < 2.0:
        raise SetupError(f"the person's vector has length {norm:.3f}, not 1")
    return 1.0 - bank.vectors_unit.astype(np.float64) @ (vector / norm)


def _apart(bank: AnchorBank, occupied: npt.NDArray[np.bool_], apart_min: float) -> Any:
    if not occupied.any():
        return np.ones(len(bank), dtype=np.bool_)
    similarity = bank.vectors_unit @ bank.vectors_unit[occupied].T
    return similarity.max(axis=1) <= 1.0 - apart_min


def _first_by_key(rows: npt.NDArray[np.intp], key: bytes, scope_id: str, person_id: str) -> int:
    parts = [part.encode() for part in ("anchor", scope_id, person_id)]
    # lengths first, so that no two pairs of scope and person give the same message
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    person_key = hmac.digest(key, message, hashlib.sha256)
    return min(
        (int(row) for row in rows),
        key=lambda row: hmac.digest(person_key, row.to_bytes(8, "big"), "sha256"),
    )
