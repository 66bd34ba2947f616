from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from deid_ops.anchors.bank import AnchorBank, Appearance, density_bank, load_bank, save_bank
from deid_ops.anchors.choose import (
    CHOICES_MIN,
    CHOICES_ONE_IN,
    ChoiceLimits,
    choose_anchor,
    outside_windows,
    relative_distances,
)
from deid_ops.errors import SetupError

KEY_A, KEY_B = b"a" * 32, b"b" * 32
BANK = density_bank(1000, 128, seed=5)


def people(n: int, seed: int = 11) -> np.ndarray:
    v = np.random.default_rng(seed).normal(size=(n, 128))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def chosen(key: bytes, scope: str = "s", n: int = 400) -> np.ndarray:
    choices = [choose_anchor(BANK, v, key, scope, f"p{i}", ()) for i, v in enumerate(people(n))]
    return np.array([c.anchor_id for c in choices if c is not None])


def test_density_bank_is_repeatable_unit_and_spread():
    again = density_bank(1000, 128, seed=5)
    assert again.sha256 == BANK.sha256
    assert density_bank(1000, 128, seed=6).sha256 != BANK.sha256
    cosine = BANK.vectors_unit @ BANK.vectors_unit.T - 2 * np.eye(1000)
    assert cosine.max() <= 0.5 + 1e-6


def test_a_bank_that_cannot_exist_is_refused():
    with pytest.raises(SetupError, match="vectors fit at cosine distance"):
        density_bank(100, 2, seed=0)


def test_bank_round_trip(tmp_path):
    save_bank(BANK, tmp_path / "bank.npz")
    loaded = load_bank(tmp_path / "bank.npz")
    assert loaded.sha256 == BANK.sha256
    assert json.loads(loaded.meta)["seed"] == 5
    with pytest.raises(ValueError, match="read-only"):
        loaded.vectors_unit[0] = 0


def test_a_bank_keeps_its_anchors_appearance(tmp_path):
    drawn = np.random.default_rng(0).random((2, 1000, 16), np.float32)
    seen = Appearance(drawn[0], drawn[1, :, :8], "judge", "ab12")
    save_bank(replace(BANK, appearance=seen), tmp_path / "bank.npz")
    loaded = load_bank(tmp_path / "bank.npz")
    assert loaded.sha256 == BANK.sha256
    assert loaded.appearance is not None
    assert (loaded.appearance.encoder, loaded.appearance.painter_sha256) == ("judge", "ab12")
    np.testing.assert_allclose(loaded.appearance.judged, seen.judged, atol=1e-3)
    np.testing.assert_allclose(loaded.appearance.own, seen.own, atol=1e-3)
    for part in ("judged", "own"):
        with pytest.raises(SetupError, match="999 appearances of 1000 anchors"):
            replace(BANK, appearance=replace(seen, **{part: getattr(seen, part)[1:]}))


def test_bad_bank_files_are_named(tmp_path):
    with pytest.raises(SetupError, match="not found"):
        load_bank(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(SetupError, match=r"text\.npz: not an anchor bank"):
        load_bank(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", vectors=np.eye(3))
    with pytest.raises(SetupError, match="vectors_unit"):
        load_bank(tmp_path / "other.npz")
    np.savez(tmp_path / "long.npz", vectors_unit=2 * np.eye(3))
    with pytest.raises(SetupError, match=r"long\.npz.*length 2\.0000"):
        load_bank(tmp_path / "long.npz")


def test_every_choice_lies_in_the_window_and_reports_its_distances():
    for i, v in enumerate(people(100)):
        c = choose_anchor(BANK, v, KEY_A, "s", f"p{i}", ())
        assert c is not None
        assert c.distance_to_person == pytest.approx(1 - BANK.vectors_unit[c.anchor_id] @ v)
        assert 0.8 <= c.distance_to_person <= 1.2
        assert c.distance_to_person + c.distance_to_negation == pytest.approx(2)
        assert not c.relaxed


def test_anchors_whose_painted_faces_are_far_enough_are_preferred():
    distance = np.linspace(0.7, 1.5, len(BANK))
    outside = outside_windows([distance], [(1.05, 1.35)])
    for i, v in enumerate(people(60)):
        free = choose_anchor(BANK, v, KEY_A, "s", f"p{i}", ())
        seen = choose_anchor(BANK, v, KEY_A, "s", f"p{i}", (), outside=outside)
        assert free is not None
        assert seen is not None
        assert 1.05 <= distance[seen.anchor_id] <= 1.35
        assert 0.8 <= seen.distance_to_person <= 1.3  # the window of the vectors holds as well
        if 1.05 <= distance[free.anchor_id] <= 1.35:
            assert seen == free


def test_the_window_comes_before_the_appearance():
    person = people(1)[0]
    near = np.full(len(BANK), 0.55)  # no anchor looks different enough
    free = choose_anchor(BANK, person, KEY_A, "s", "p", ())
    assert choose_anchor(BANK, person, KEY_A, "s", "p", (), outside=near) == free


def test_nothing_in_the_window_gives_none_not_a_near_miss():
    person = np.eye(128)[0]
    near = person + 0.1 * people(20)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    both_sides = AnchorBank(np.concatenate([near, -near]).astype(np.float32))
    assert choose_anchor(both_sides, person, KEY_A, "s", "p", ()) is None


def test_same_key_and_scope_same_anchor_another_key_shares_none_beyond_chance():
    a, again, b = chosen(KEY_A), chosen(KEY_A), chosen(KEY_B)
    other_scope = chosen(KEY_A, scope="t")
    assert np.array_equal(a, again)
    # about 980 anchors are admissible: 0.4 shared of 400 expected; 6 or more has p < 1e-5
    assert (a == b).sum() < 6
    assert (a == other_scope).sum() < 6


def test_choice_does_not_depend_on_the_hash_seed_of_the_process():
    code = (
        "from deid_ops.anchors.bank import density_bank\n"
        "from deid_ops.anchors.choose import choose_anchor\n"
        "bank = density_bank(50, 128, seed=5)\n"
        "print(choose_anchor(bank, None, b'k' * 16, 's', 'p', {3, 1, 2}).anchor_id)\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": s}, capture_output=True, check=True
        ).stdout
        for s in ("1", "2")
    }
    assert len(found) == 1


def test_small_changes_of_the_vector_seldom_change_the_choice():
    noise = 0.02 * np.random.default_rng(2).normal(size=(400, 128))
    same = 0
    for i, v in enumerate(people(400)):
        moved = v + noise[i]
        moved /= np.linalg.norm(moved)
        one = choose_anchor(BANK, v, KEY_A, "s", f"p{i}", ())
        two = choose_anchor(BANK, moved, KEY_A, "s", f"p{i}", ())
        assert one is not None
        assert two is not None
        same += one.anchor_id == two.anchor_id
    assert same >= 320  # 0.85: the edge of the window lies where anchors are dense


def test_live_persons_get_anchors_apart_from_each_other():
    taken: list[int] = []
    for i, v in enumerate(people(60)):
        c = choose_anchor(BANK, v, KEY_A, "s", f"p{i}", taken, limits=ChoiceLimits(apart_min=0.7))
        assert c is not None
        if taken and not c.relaxed:
            assert (BANK.vectors_unit[taken] @ BANK.vectors_unit[c.anchor_id]).max() <= 0.3 + 1e-6
        taken.append(c.anchor_id)
    assert len(set(taken)) == 60


def test_apartness_is_relaxed_openly_and_no_anchor_is_given_twice():
    bank = AnchorBank(np.eye(4, 128, dtype=np.float32))
    person = np.eye(128)[100]
    seen: list[int] = []
    for i in range(4):
        c = choose_anchor(
            bank, person, KEY_A, "s", f"p{i}", seen, limits=ChoiceLimits(apart_min=1.5)
        )
        assert c is not None
        assert c.relaxed == (i > 0)
        seen.append(c.anchor_id)
    assert sorted(seen) == [0, 1, 2, 3]
    assert choose_anchor(bank, person, KEY_A, "s", "p4", seen) is None


def test_person_without_a_vector_still_gets_a_keyed_anchor():
    c = choose_anchor(BANK, None, KEY_A, "s", "p", ())
    assert c is not None
    assert c.distance_to_person is None


def test_wrong_arguments_are_refused():
    with pytest.raises(SetupError, match="at least 16"):
        choose_anchor(BANK, None, b"short", "s", "p", ())
    with pytest.raises(SetupError, match="do not belong together"):
        choose_anchor(BANK, np.ones(64), KEY_A, "s", "p", ())
    with pytest.raises(SetupError, match="not 1"):
        choose_anchor(BANK, np.zeros(128), KEY_A, "s", "p", ())


def test_scope_and_person_are_not_confused():
    one = [choose_anchor(BANK, None, KEY_A, "ab", f"c{i}", ()) for i in range(20)]
    two = [choose_anchor(BANK, None, KEY_A, "a", f"bc{i}", ()) for i in range(20)]
    same = sum(a == b for a, b in zip(one, two, strict=True))
    assert same < 3


@pytest.mark.parametrize(("n", "choices"), [(1000, CHOICES_MIN), (2048, 2048 // CHOICES_ONE_IN)])
def test_a_key_chooses_among_enough_anchors_even_where_few_look_far_enough(n: int, choices: int):
    bank, person = density_bank(n, 128, seed=5), people(1)[0]
    distance = 1.0 - bank.vectors_unit @ person
    inside = np.flatnonzero((distance >= 0.8) & (distance <= 1.3))
    seen = np.random.default_rng(1).uniform(0.5, 1.0, n)
    seen[inside[:3]] = 1.2  # three look far enough from this person
    chosen = set()
    for i in range(1000):
        key = i.to_bytes(32, "big")
        choice = choose_anchor(bank, person, key, "s", "p", (), outside=1.05 - seen)
        assert choice is not None
        chosen.add(choice.anchor_id)
    nearest = inside[np.argsort(-seen[inside])[:choices]]
    assert chosen == set(nearest.tolist())
    assert chosen >= set(inside[:3].tolist())


def test_relative_distances_tell_whom_a_face_points_at():
    person, *others = people(4)
    painted = np.stack([person, others[0], -person])
    towards, away, negated = relative_distances(painted, person, np.stack(others))
    assert towards == pytest.approx(0.0, abs=1e-6)
    assert away > 1.2  # one of the three others is met
    assert negated == pytest.approx(2.0 / (1.0 + np.mean([person @ o for o in others])), rel=1e-5)
