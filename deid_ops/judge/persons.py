"""Whole persons on the ladder: who gets another anchor, and which anchor is the better one.

Single faces may each be beyond their thresholds while all faces of somebody together are not far
enough, vary from frame to frame, or are still nearer to that person than to the others in view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.judge.ladder import LadderParams
from deid_ops.types import F32, I32, Bool

#: What steadiness counts beside distance: it must not buy a face that is nearer to its original.
STEADY_WEIGHT = 0.25
#: The same of being hidden among the others. Its differences are half as large as those of `apart`.
HIDDEN_WEIGHT = 2.0


@dataclass(frozen=True, slots=True)
class PersonsSeen:
    """How guards see the new faces of `p` persons, of what is asked for: 1 is enough.

    Attributes:
        apart: [p] how far the mean vectors of a person's faces and originals are apart
            (`guards.person_apart`).
        steady: [p] how little they vary (`guards.person_steady`).
        hidden: [p] how little they point at that person rather than at others in view
            (`guards.person_hidden`).
    """

    apart: F32
    steady: F32
    hidden: F32


def persons_to_move(
    accepted: Bool, person_of_face: I32, seen: PersonsSeen, params: LadderParams
) -> Bool:
    """Return `[p]` whom another anchor is tried for.

    A person must not change within a segment, so another anchor is for all faces of one: of those
    who failed often enough, are too near as a whole, vary too much or can be told from the others.

    Args:
        accepted: `[k]`, every face that may be replaced: does its present replacement stand?
        person_of_face: `[k]`.
        seen: of `p` persons; who has no face does not move.
        params: limits.

    Raises:
        InvariantError: the lengths differ.
    """
    n_persons = len(seen.apart)
    if len(accepted) != len(person_of_face):
        raise InvariantError(
            f"persons_to_move: {len(accepted)} faces, {len(person_of_face)} persons"
        )
    failed = 1.0 - _accepted_share(accepted, person_of_face, n_persons)
    whole = (failed > 0) & (failed >= params.other_anchor_share)
    there = np.bincount(person_of_face, minlength=n_persons) > 0
    wanting = (seen.apart < 1.0) | (seen.steady < 1.0) | (seen.hidden < 1.0)
    return np.asarray(there & (whole | wanting))


def person_merit(accepted: Bool, person_of_face: I32, seen: PersonsSeen) -> F32:
    """Return `[p]` how good an anchor is for each person.

    What is beyond that asked for adds nothing, so that a good anchor is not left for a better one.
    """
    share = _accepted_share(accepted, person_of_face, len(seen.apart))
    calm = STEADY_WEIGHT * np.minimum(seen.steady, 1.0)
    hidden = HIDDEN_WEIGHT * np.minimum(seen.hidden, 1.0)
    return np.asarray(share + np.minimum(seen.apart, 1.0) + calm + hidden, dtype=np.float32)


def _accepted_share(accepted: Bool, person_of_face: I32, n_persons: int) -> F32:
    n_faces = np.bincount(person_of_face, minlength=n_persons)
    n_accepted = np.bincount(person_of_face[accepted], minlength=n_persons)
    return np.asarray(n_accepted / np.maximum(n_faces, 1), dtype=np.float32)
