"""The climb of the ladder, with stand-ins: a crop's grey value says how the judge sees it."""

from dataclasses import replace

import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.judge.calibration import FARS, Calibration, CalibrationRow, OperatingPoint
from deid_ops.judge.ladder import LadderParams
from deid_ops.pipeline import guards as guards_module
from deid_ops.pipeline import trial as trial_module
from deid_ops.pipeline.guards import (
    Guard,
    embed_for,
    person_hidden,
    person_means,
    person_steady,
)
from deid_ops.pipeline.settle import PaintedSegment, anchors_for, settle_segment
from deid_ops.pipeline.swap import SwappedFaces
from deid_ops.pipeline.trial import ReplaceModels
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.layout import N_POINTS
from deid_ops.types import BoxOrigin, FaceCrops, FaceTracks, Reason, Treatment

N = 4  # faces of one track
LIKE_THE_ORIGINAL, ANOTHER_PERSON = 50, 200


def one_track(track=(0,) * N):
    ones = np.ones(N)
    return FaceTracks(
        np.arange(N),
        np.int32(track),
        np.tile(np.float32([10, 10, 60, 60]), (N, 1)),
        np.tile(np.float32([[20, 30], [50, 30], [35, 40], [25, 50], [45, 50]]), (N, 1, 1)),
        np.ones(N, bool),
        np.full(N, BoxOrigin.DETECTED),
        ones,
        30 * ones,
        0 * ones,
        0 * ones,
    )


def grey(values):
    return np.stack([np.full((128, 128, 3), v, np.uint8) for v in values])


def embed(crop, points):
    near = float(crop.mean() == LIKE_THE_ORIGINAL)
    return np.tile(np.float32([near, 1 - near]), (len(points), 1))


def calibration():
    points = tuple(OperatingPoint(far, 0.4, 0.9) for far in FARS)
    row = CalibrationRow("judge", 30.0, 10**6, 10**3, 0.99, 0.05, 0.5, points)
    return Calibration((row,), {})


class PaintsGrey:
    """Paints one grey value a face."""

    def __init__(self, values):
        self.values = values

    def find_points(self, crops_bgr):
        raise AssertionError("the crops are cut: the swap has placed them")

    def read(self, crops_bgr):
        raise AssertionError("the originals are gone: their conditions were read by the swap")

    def missed_px(self, crops_bgr, wanted, told, anchors_unit, crop_from_frame):
        raise AssertionError("what was read is no longer known: the swap has aimed")

    def __call__(self, crops_bgr, conditions, anchors_unit):
        assert len(conditions) == len(crops_bgr) == len(anchors_unit)
        return grey(self.values[: len(crops_bgr)])


def settled(first, second, *more, **given):
    """Settle a person whose first anchor gives grey values `first`, whose second gives `second`."""
    painted, models, params = painted_with(first, second, *more, **given)
    return settle_segment(painted, [None] * N, models, params)


def painted_with(
    first,
    second,
    guards=None,
    original=(1, 0),
    painter=None,
    matrices=None,
    track=(0,) * N,
    person_of_track=(0,),
    **params,
):
    """What `anchors_for` takes."""
    tracks = one_track(track)
    matrices = np.tile(np.eye(2, 3), (N, 1, 1)) if matrices is None else matrices
    weight = np.full(grey(first).shape[:3], 255, np.uint8)
    crops = FaceCrops(np.arange(N), grey(first), matrices, weight)
    told = FaceConditions(np.zeros((N, N_POINTS, 2), np.float32), np.zeros((N, 6), np.float32))
    originals = np.broadcast_to(np.float32(original), (N, np.shape(original)[-1]))
    swapped = SwappedFaces(crops, told, originals)
    models = ReplaceModels(
        generate=painter or PaintsGrey(second),
        diffuse=None,
        find_again=lambda crops_bgr: np.ones(len(crops_bgr), bool),
        guards=guards or (Guard("judge", embed, 2, calibration(), 1e-3, 0.0),),
    )
    painted = PaintedSegment(
        swapped,
        tracks,
        np.int32(person_of_track),
        lambda _track, number: np.float32([1, 0]) if number < 2 else None,
    )
    return painted, models, LadderParams(**{"shown_frames_min": 1} | params)


@pytest.mark.parametrize(
    ("first", "second", "expected_grey", "reasons"),
    [
        pytest.param(
            [200, 200, 200, 50],
            [50, 50, 50, 50],
            [200, 200, 200],
            [Reason.REPLACED] * 3 + [Reason.TOO_CLOSE],
            id="another anchor is worse: the first stays",
        ),
        pytest.param(
            [200, 200, 50, 50],
            [190, 190, 190, 190],
            [190, 190, 190, 190],
            [Reason.REPLACED_STRONGER] * 4,
            id="another anchor is better: the whole track gets it",
        ),
        pytest.param(
            [50, 50, 50, 50],
            [50, 50, 50, 50],
            [],
            [Reason.TOO_CLOSE] * 4,
            id="nothing helps: redacted",
        ),
    ],
)
def test_track_keeps_the_anchor_that_is_accepted_for_more_faces(
    first, second, expected_grey, reasons
):
    outcome = settled(first, second)
    assert outcome.crops.crops_bgr[:, 0, 0, 0].tolist() == expected_grey
    assert list(outcome.reason) == reasons
    swapped = [t == Treatment.SWAPPED for t in outcome.treatment]
    assert swapped == [r != Reason.TOO_CLOSE for r in reasons]
    assert outcome.distance_to_original == pytest.approx(np.ones(sum(swapped)))


@pytest.mark.parametrize("second", [[50, 50, 50, 50], [190, 190, 190, 190]])
def test_anchors_are_found_as_the_ladder_finds_them(second):
    """Who shows which anchor is the same, whether the segment is settled or not."""
    first = [200, 200, 50, 50]
    numbers = anchors_for(*painted_with(first, second))
    assert numbers.tolist() == [int(second[0] == 190)]
    assert numbers.tolist() == settled(first, second).anchor_number.tolist()
    painted, models, params = painted_with(first, second)
    empty = anchors_for(replace(painted, swapped=SwappedFaces.none()), models, params)
    assert empty.tolist() == [0]


def test_a_face_that_would_flash_up_is_redacted():
    values = [50, 200, 50, 50]
    assert list(settled(values, values).reason)[1] == Reason.REPLACED
    brief = settled(values, values, shown_frames_min=2)
    assert list(brief.reason) == [Reason.TOO_CLOSE, Reason.TOO_BRIEF] + [Reason.TOO_CLOSE] * 2
    assert set(brief.treatment) == {Treatment.REDACTED}
    assert len(brief.crops) == 0


def refuses_200(crop, points):
    near = float(crop.mean() == ANOTHER_PERSON)
    return np.tile(np.float32([0, near, 1 - near]), (len(points), 1))


def test_every_guard_may_refuse():
    first = Guard("judge", embed, 2, calibration(), 1e-3, 0.0)
    second = Guard("judge", refuses_200, 3, calibration(), 1e-3, 0.0)
    values = [ANOTHER_PERSON] * 3 + [150]
    outcome = settled(values, values, (first, second), (1, 0, 0, 1, 0), other_anchors=0)
    assert list(outcome.treatment) == [Treatment.REDACTED] * 3 + [Treatment.SWAPPED]
    alone = settled(values, values, (first,), other_anchors=0)
    assert set(alone.treatment) == {Treatment.SWAPPED}
    both = embed_for((first, second))(grey([ANOTHER_PERSON])[0], np.zeros((2, 5, 2)))
    assert both.tolist() == [[0, 1, 0, 1, 0]] * 2


def test_a_face_near_both_thresholds_is_redacted_although_each_guard_lets_it_pass():
    """Grey 200 is at 0.5 of either; the thresholds lie at 0.4."""
    guard = Guard("judge", half_way, 2, calibration(), 1e-3, 0.0)
    original, ratio = (1, 0, 1, 0), 0.5 / 0.4
    for least, treatment in ((ratio - 0.05, Treatment.SWAPPED), (ratio + 0.05, Treatment.REDACTED)):
        outcome = settled(
            [200] * N, [200] * N, (guard, guard), original, other_anchors=0, together_min=least
        )
        assert set(outcome.treatment) == {treatment}
        alone = settled([200] * N, [200] * N, (guard,), other_anchors=0, together_min=least)
        assert set(alone.treatment) == {Treatment.SWAPPED}


def test_vectors_of_other_guards_are_refused():
    with pytest.raises(InvariantError, match="the guards 2"):
        settled([200] * N, [200] * N, original=(1, 0, 0))


def half_way(crop, points):
    """Grey 200 is at distance 0.5 of the original, 190 at 1."""
    share = {200: 0.5, 190: 0.0}[int(crop.mean())]
    return np.tile(np.float32([share, (1 - share**2) ** 0.5]), (len(points), 1))


@pytest.mark.parametrize(("asked", "grey_value"), [(0.75, 190), (0.4, 200)])
def test_a_track_that_is_near_as_a_whole_gets_the_next_anchor(asked, grey_value):
    guards = (Guard("judge", half_way, 2, calibration(), 1e-3, asked),)
    outcome = settled([200] * N, [190] * N, guards)
    assert outcome.crops.crops_bgr[:, 0, 0, 0].tolist() == [grey_value] * N
    # where no anchor is far enough, the best one stays
    guards = (Guard("judge", half_way, 2, calibration(), 1e-3, 1.2),)
    assert settled([200] * N, [190] * N, guards).crops.crops_bgr[0, 0, 0, 0] == 190


def test_a_track_that_stays_near_is_redacted_although_each_face_is_beyond_its_threshold():
    guards = (Guard("judge", half_way, 2, calibration(), 1e-3, 1.0),)
    for least, treatment in ((0.45, Treatment.SWAPPED), (0.55, Treatment.REDACTED)):
        outcome = settled([200] * N, [200] * N, guards, person_apart_min=least)
        assert set(outcome.treatment) == {treatment}
    assert set(outcome.reason) == {Reason.TOO_CLOSE}
    assert len(outcome.crops) == 0


def test_tracks_of_one_person_get_another_anchor_together():
    first, second = [50, 50, 200, 200], [190] * N
    track = (0, 0, 1, 1)
    alone = settled(first, second, track=track, person_of_track=(0, 1))
    assert alone.crops.crops_bgr[:, 0, 0, 0].tolist() == [190, 190, 200, 200]
    assert alone.anchor_number.tolist() == [1, 0]
    same = settled(first, second, track=track, person_of_track=(3, 3))
    assert same.crops.crops_bgr[:, 0, 0, 0].tolist() == second
    assert same.anchor_number.tolist() == [1, 1]


def test_a_replacement_that_lies_beside_its_face_is_redacted():
    beside = np.tile(np.float32([[1, 0, 90], [0, 1, 0]]), (N, 1, 1))
    beside[1] = np.eye(2, 3)
    outcome = settled([200] * N, [200] * N, matrices=beside)
    assert list(outcome.reason) == [Reason.MISPLACED, Reason.REPLACED, *[Reason.MISPLACED] * 2]
    assert outcome.crops.row.tolist() == [1]


def test_every_guard_asks_for_its_own_distance():
    lax, strict = (Guard("judge", half_way, 2, calibration(), 1e-3, d) for d in (0.4, 0.75))
    original = (1, 0, 1, 0)
    both = settled([200] * N, [190] * N, (lax, strict), original)
    assert set(both.crops.crops_bgr[:, 0, 0, 0].tolist()) == {190}
    alike = settled([200] * N, [190] * N, (lax, lax), original)
    assert set(alike.crops.crops_bgr[:, 0, 0, 0].tolist()) == {200}


def test_many_faces_are_generated_in_batches(monkeypatch):
    monkeypatch.setattr(trial_module, "_FACES_AT_ONCE", 3)
    lengths = []
    real = PaintsGrey.__call__

    def counted(self, crops_bgr, conditions, anchors_unit):
        lengths.append(len(crops_bgr))
        return real(self, crops_bgr, conditions, anchors_unit)

    monkeypatch.setattr(PaintsGrey, "__call__", counted)
    outcome = settled([50] * N, [190] * N)
    assert outcome.crops.crops_bgr[:, 0, 0, 0].tolist() == [190] * N
    assert lengths == [3, 1]


class PaintsOneAfterAnother(PaintsGrey):
    """Paints the given grey values in the order in which faces come."""

    def __call__(self, crops_bgr, conditions, anchors_unit):
        now, self.values = self.values[: len(crops_bgr)], self.values[len(crops_bgr) :]
        return grey(now)


@pytest.mark.parametrize(
    ("painted", "expected"),
    [
        # faces 0 and 3 are tried, then 1 and 2 are painted
        pytest.param([190, 191, 192, 193], [190, 192, 193, 191], id="the trial holds"),
        pytest.param([50, 50], [200, 200], id="the trial fails: nothing else is painted"),
        pytest.param([190, 50, 50, 50], [200, 200], id="the trial promised more than it holds"),
    ],
)
def test_another_anchor_is_tried_on_a_few_faces_before_all_get_it(painted, expected):
    painter = PaintsOneAfterAnother(painted)
    outcome = settled([50, 200, 200, 50], [], painter=painter, trial_faces=2)
    assert painter.values == []
    assert outcome.crops.crops_bgr[:, 0, 0, 0].tolist() == expected
    assert outcome.anchor_number.tolist() == [int(190 in expected)]


def by_grey(crop, points):
    """Turn with the grey value: 200 is one person, each grey value less a degree off."""
    angle = np.deg2rad(90.0 + 200 - crop.mean())
    return np.tile(np.float32([np.cos(angle), np.sin(angle)]), (len(points), 1))


def test_a_track_that_varies_more_than_asked_gets_a_steadier_anchor():
    guards = (Guard("judge", by_grey, 2, calibration(), 1e-3, 0.0),)
    originals = by_grey(np.full((1,), 290.0), [0])[0]
    varied, calm = [200, 170, 200, 170], [190, 189, 190, 189]
    outcome = settled(varied, calm, guards, originals)
    assert outcome.crops.crops_bgr[:, 0, 0, 0].tolist() == calm
    # asked for nothing, the first stays
    outcome = settled(varied, calm, guards, originals, steady_share=1e9)
    assert outcome.crops.crops_bgr[:, 0, 0, 0].tolist() == varied


def test_steadiness_is_that_of_the_outputs_by_that_of_the_originals():
    guards = (Guard("judge", by_grey, 2, calibration(), 1e-3, 0.0),)
    n = guards_module.STEADY_FACES_MIN
    degrees = np.deg2rad(np.arange(n) % 2 * 20.0)
    wide = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)
    narrow = np.stack([np.cos(degrees / 2), np.sin(degrees / 2)], axis=1).astype(np.float32)
    track = np.zeros(n, np.int32)
    ratio = (1 - np.cos(np.deg2rad(20))) / (1 - np.cos(np.deg2rad(10)))
    steady = person_steady(guards, wide, narrow, track, 2, 0.5)
    assert steady.tolist() == [pytest.approx(0.5 * ratio, rel=1e-4), np.inf]
    # two guards are averaged; a shorter track tells nothing
    both = person_steady(
        guards * 2, np.hstack([wide] * 2), np.hstack([narrow, wide]), track, 1, 0.5
    )
    assert both[0] == pytest.approx(0.5 / ((1 / ratio + 1) / 2), rel=1e-4)
    assert np.isinf(person_steady(guards, wide[1:], narrow[1:], track[1:], 1, 0.5)).all()


def by_greys(values):
    return np.concatenate([by_grey(np.full(1, v), [0]) for v in values])


def test_a_face_that_is_nearer_to_who_it_was_than_to_the_others_gets_the_next_anchor():
    guards = (Guard("judge", by_grey, 2, calibration(), 1e-3, 0.0),)
    track = (0, 0, 1, 1)
    two = {"track": track, "person_of_track": (0, 1), "original": by_greys([150, 150, 60, 60])}
    # each is 60 degrees from itself, then 150 from the other, then 30
    told, hidden = [210, 210, 0, 0], [90, 90, 120, 120]

    def shown(first, second, **params):
        return settled(first, second, guards, **two, **params).crops.crops_bgr[:, 0, 0, 0].tolist()

    assert shown(told, hidden, hidden_window=(1.0, 9.0)) == hidden
    assert shown(hidden, told, hidden_window=(1.0, 9.0)) == hidden
    assert shown(told, hidden, hidden_window=(0.0, 9.0)) == told  # nothing is asked for


def test_hidden_is_the_distance_to_the_person_by_that_to_the_others():
    guards = (Guard("judge", by_grey, 2, calibration(), 1e-3, 0.0),)
    person = np.int32([0, 1, 2])
    people = person_means(guards, by_greys([150, 130, 110]), person, 4)
    assert np.isnan(people[3]).all()

    def hidden(values, least=1.0, most=999.0):
        outputs = person_means(guards, by_greys(values), person, 4)
        return person_hidden(guards, people, outputs, (least, most)).tolist()

    near, far = 1 - np.cos(np.deg2rad(10)), 1 - np.cos(np.deg2rad(30))
    # all are painted between the first two: each of these is 10 degrees away, the third 30
    one, last = near / ((near + far) / 2), far / near
    assert hidden([140] * 3) == pytest.approx([one, one, last, np.inf], rel=1e-4)
    assert hidden([140] * 3, 0.5) == pytest.approx([2 * one, 2 * one, 2 * last, np.inf], rel=1e-4)
    # too far from oneself is no better than too near
    assert hidden([140] * 3, 0.01, last / 2) == pytest.approx(
        [100 * one] * 2 + [0.5, np.inf], rel=1e-4
    )
    assert hidden([140] * 3, 0.0) == [np.inf] * 4


def test_the_guard_that_sees_most_of_a_person_counts_and_whoever_is_alone_is_hidden():
    guards = (Guard("judge", by_grey, 2, calibration(), 1e-3, 0.0),)
    person = np.int32([0, 1])
    people = person_means(guards * 2, np.tile(by_greys([150, 110]), 2), person, 2)
    # one guard sees the first person twice, the other one the second
    seen = np.hstack([by_greys([150, 150]), by_greys([110, 110])])
    outputs = person_means(guards * 2, seen, person, 2)
    hidden = person_hidden(guards * 2, people, outputs, (1.0, 9.0))
    assert hidden.tolist() == pytest.approx([0, 0], abs=1e-5)
    alone = person_means(guards, by_greys([150]), person[:1], 2)
    assert np.isinf(person_hidden(guards, alone, alone, (1.0, 9.0))).all()
