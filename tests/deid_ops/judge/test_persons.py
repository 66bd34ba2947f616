"""Whole persons on the ladder: who moves, and what is the better anchor."""

import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.judge.ladder import LadderParams
from deid_ops.judge.persons import PersonsSeen, person_merit, persons_to_move

PARAMS = LadderParams(other_anchors=1)


def seen(n, apart=9.0, steady=9.0, hidden=9.0):
    return PersonsSeen(*(np.broadcast_to(np.float32(v), n) for v in (apart, steady, hidden)))


def moves(accepted, person, **views):
    there = seen(max(person) + 1, **views)
    return persons_to_move(np.array(accepted), np.int32(person), there, PARAMS).tolist()


def test_a_person_moves_when_a_share_of_the_faces_failed():
    assert moves([True, True, True], [0, 0, 1]) == [False, False]
    assert moves([True, False, True], [0, 0, 1]) == [True, False]
    assert moves([True] * 19 + [False], [0] * 20) == [False]  # one in twenty goes on alone
    assert moves([True] * 18 + [False] * 2, [0] * 20) == [True]


def test_a_person_moves_who_is_near_varies_or_is_told_from_the_others():
    both = [True, True, True], [0, 0, 2]
    assert moves(*both, apart=[0.99, 0.5, 1.0]) == [True, False, False]  # person 1 has no face
    assert moves(*both, steady=[1.0, 0.5, 0.99]) == [False, False, True]
    assert moves(*both, hidden=[0.99, 0.5, np.inf]) == [True, False, False]


def test_what_is_beyond_that_asked_for_has_no_merit():
    def merit(accepted, apart, steady, hidden):
        there = seen(1, apart, steady, hidden)
        return person_merit(np.array(accepted), np.int32([0, 0]), there)[0]

    full = merit([True, True], 1, 1, 1)
    assert merit([True, True], 2, 3, np.inf) == full
    near, unsteady, told, refused = (
        full - merit(*v)
        for v in (
            ([True, True], 0.9, 1, 1),
            ([True, True], 1, 0.9, 1),
            ([True, True], 1, 1, 0.9),
            ([True, False], 1, 1, 1),
        )
    )
    assert 0 < unsteady < near < told < refused


def test_lengths_must_fit():
    with pytest.raises(InvariantError, match="3 faces, 2 persons"):
        moves([False] * 3, [0, 1])
