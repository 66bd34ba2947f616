from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deid_ops.track.link import LinkParams, link_tracks, person_guard_vectors, person_vectors
from deid_ops.track.params import TrackParams
from deid_ops.track.summary import SegmentPlace, TrackSummary, summarize_tracks
from deid_ops.track.tracker import track_faces
from deid_ops.types import Faces

SIZE = (1280, 720)
DIM = 32
PEOPLE = np.linalg.qr(np.random.default_rng(3).normal(size=(DIM, DIM)))[0]
PARAMS = LinkParams()


def detections(rows: list[tuple[int, float, float, int | None]]) -> Faces:
    """Rows `(frame, x, y, person or None without embedding)` with 40 px boxes."""
    rows = sorted(rows, key=lambda r: r[0])
    n = len(rows)
    frames = np.array([r[0] for r in rows])
    corner = np.array([[r[1], r[2]] for r in rows], dtype=np.float64).reshape(n, 2)
    box = np.concatenate([corner, corner + 40], axis=1)
    has = np.array([r[3] is not None for r in rows], dtype=bool)
    rng = np.random.default_rng(n)
    vectors = np.stack([PEOPLE[r[3] or 0] for r in rows]) + rng.normal(size=(n, DIM)) * 0.04
    vectors = np.where(has[:, None], vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 0)
    one = np.ones(n)
    marks = np.repeat(corner[:, None], 5, axis=1) + 10
    return Faces(frames, box, marks, 0.9 * one, 30 * one, 0.1 * one, 0.1 * one, vectors, has)


def persons_when_cut(faces: Faces, cuts: list[int], stream: str = "rec/0") -> list[str]:
    """Person id of every detection when the sequence is cut at the given frames."""
    summaries: list[TrackSummary] = []
    label_of: list[tuple[int, int]] = []
    for k, (start, end) in enumerate(pairwise(cuts)):
        part = faces.take((faces.frame_index >= start) & (faces.frame_index < end))
        values = {n: getattr(part, n) for n in Faces.__dataclass_fields__}
        values["frame_index"] = part.frame_index - start
        found = track_faces(Faces(**values), end - start, SIZE, TrackParams())
        place = SegmentPlace(stream, k, start, end - start)
        summaries += summarize_tracks(found.tracks, found.embedding, found.has_embedding, place)
        label_of += [(k, int(t)) for t in found.tracks.track[found.row_of_face]]
    ids = link_tracks(summaries, PARAMS)
    by_track = {(s.place.segment_index, s.track): p for s, p in zip(summaries, ids, strict=True)}
    return [by_track[label] for label in label_of]


def summary(
    segment: int, track: int, frames: range, person: int | None, x: float = 0.0, stream: str = "r"
) -> TrackSummary:
    box = np.array([x, 0, x + 40, 40], dtype=np.float64)
    vector = PEOPLE[person] if person is not None else np.zeros(DIM)
    place = SegmentPlace(stream, segment, segment * 100, 100)
    weight = 0.0 if person is None else 1.0
    return TrackSummary(place, track, np.array(frames), box, box, box, vector, weight, weight)


def test_the_guards_view_of_a_person_weighs_tracks_as_the_encoders():
    box = np.zeros(4)
    tracks = [
        TrackSummary(
            SegmentPlace("r", i, 100 * i, 100), 0, np.arange(5), box, box, box, PEOPLE[0], weight,
            1.0, np.array(seen),
        )
        for i, (weight, seen) in enumerate([(3.0, [1, 0]), (1.0, [0, 1]), (1.0, [0, 0])])
    ]  # fmt: skip
    views = person_guard_vectors(tracks, ["a", "a", "b"])
    assert set(views) == {"a"}  # nobody has seen b
    np.testing.assert_allclose(views["a"], np.array([3.0, 1.0]) / np.sqrt(10), atol=1e-6)


def test_same_person_in_two_segments_and_two_cameras():
    tracks = [
        summary(0, 0, range(10, 20), 1),
        summary(5, 0, range(40, 50), 1, x=500),
        summary(0, 0, range(10, 20), 1, x=200, stream="other"),
        summary(0, 1, range(30, 40), 2, x=90),
    ]
    a, b, c, d = link_tracks(tracks, PARAMS)
    assert a == b == c
    assert d != a


def test_seen_at_the_same_time_in_one_camera_is_never_one_person():
    tracks = [
        summary(0, 0, range(10, 20), 1),
        summary(0, 1, range(15, 25), 1, x=300),
        summary(3, 0, range(15, 25), 1, x=600),
    ]
    a, b, c = link_tracks(tracks, PARAMS)
    assert a != b
    assert c in (a, b)


def test_cannot_link_also_holds_between_whole_clusters():
    """1 and 3 look alike and were never seen together, but 3's partner 2 stands beside 1."""
    near = 0.99 * PEOPLE[1] + np.sqrt(1 - 0.99**2) * PEOPLE[2]
    tracks = [
        summary(0, 0, range(10), 1),
        summary(0, 1, range(10), 1, x=300),
        summary(4, 0, range(10), 1, x=600),
    ]
    tracks[2] = TrackSummary(
        tracks[2].place, 0, tracks[2].frames, tracks[2].first_box_xyxy_px,
        tracks[2].entry_box_xyxy_px, tracks[2].exit_box_xyxy_px, near, 1.0, 1.0,
    )  # fmt: skip
    ids = link_tracks(tracks, PARAMS)
    assert len(set(ids)) == 2


def test_motion_links_over_a_border_without_embeddings():
    stays = [summary(0, 0, range(80, 100), None, x=50), summary(1, 0, range(5), None, x=52)]
    assert len(set(link_tracks(stays, PARAMS))) == 1
    far = [summary(0, 0, range(80, 100), None, x=50), summary(1, 0, range(5), None, x=700)]
    assert len(set(link_tracks(far, PARAMS))) == 2
    far_apart = [summary(0, 0, range(80, 100), None), summary(2, 0, range(5), None)]
    assert len(set(link_tracks(far_apart, PARAMS))) == 2
    long_ago = [summary(0, 0, range(20), None), summary(1, 0, range(5), None)]
    assert len(set(link_tracks(long_ago, PARAMS))) == 2


def test_motion_links_over_a_segment_without_the_face():
    left = summary(0, 0, range(80, 100), None, x=50)
    came = summary(2, 0, range(5), None, x=52)
    place = SegmentPlace("r", 2, 110, 100)
    other = TrackSummary(
        place, 0, came.frames, came.first_box_xyxy_px, came.entry_box_xyxy_px,
        came.exit_box_xyxy_px, came.embedding, 0.0, 0.0,
    )  # fmt: skip
    assert len(set(link_tracks([left, other], PARAMS))) == 1


def test_position_over_a_border_does_not_override_another_identity():
    tracks = [summary(0, 0, range(80, 100), 1, x=50), summary(1, 0, range(5), 2, x=52)]
    assert len(set(link_tracks(tracks, PARAMS))) == 2


@given(st.permutations(range(9)))
@settings(max_examples=40, deadline=None)
def test_ids_do_not_depend_on_the_order_of_the_input(order):
    tracks = [summary(s, t, range(10 * t, 10 * t + 8), (s + t) % 4, x=90.0 * t)
              for s in range(3) for t in range(3)]  # fmt: skip
    expected = link_tracks(tracks, PARAMS)
    shuffled = link_tracks([tracks[i] for i in order], PARAMS)
    assert shuffled == [expected[i] for i in order]
    one, two = (
        person_vectors(tracks, expected),
        person_vectors([tracks[i] for i in order], shuffled),
    )
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[p], two[p]) for p in one)


def test_poor_faces_are_not_linked_by_their_embedding():
    good, poor = summary(0, 0, range(10, 20), 1), summary(5, 0, range(40, 50), 1, x=500)
    blurred = replace(poor, quality=0.01)
    assert len(set(link_tracks([good, poor], PARAMS))) == 1
    assert len(set(link_tracks([good, blurred], PARAMS))) == 2


def test_ids_do_not_depend_on_other_people():
    tracks = [summary(0, 0, range(10, 20), 1), summary(0, 1, range(5, 15), 2, x=300)]
    assert link_tracks(tracks[:1], PARAMS)[0] == link_tracks(tracks, PARAMS)[0]


def test_person_vector_is_the_weighted_mean_and_missing_without_embedding():
    tracks = [summary(0, 0, range(10), 1), summary(1, 0, range(40, 50), None, x=800)]
    ids = link_tracks(tracks, PARAMS)
    vectors = person_vectors(tracks, ids)
    assert set(vectors) == {ids[0]}
    assert np.allclose(vectors[ids[0]], PEOPLE[1], atol=1e-6)


def test_no_tracks_no_persons():
    assert link_tracks([], PARAMS) == []


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Faces, int, list[int]]:
    """People on lanes of their own; some come back, some are never recognised; and cuts."""
    n_frames = draw(st.integers(20, 60))
    rows: list[tuple[int, float, float, int | None]] = []
    for person in range(draw(st.integers(1, 5))):
        y = 10.0 + 130.0 * person
        speed = draw(st.floats(-4, 4))
        start = draw(st.integers(0, n_frames - 1))
        end = draw(st.integers(start + 1, n_frames))
        known = draw(st.booleans())
        # a face without embeddings is followed by its motion, so it may only blink
        away = range(0)
        if end - start > 12:
            gap_start = draw(st.integers(start + 4, end - 6))
            longest = (end - 2 if known else min(gap_start + 4, end - 2)) - gap_start
            away = range(gap_start, gap_start + draw(st.integers(0, max(longest, 0))))
        for frame in range(start, end):
            if frame not in away:
                rows.append((frame, 600 + speed * (frame - start), y, person if known else None))
    inner = draw(st.lists(st.integers(1, n_frames - 1), max_size=3, unique=True))
    return detections(rows), n_frames, [0, *sorted(inner), n_frames]


@given(scenes())
@settings(max_examples=40, deadline=None)
def test_persons_are_stable_under_segment_borders(scene):
    faces, n_frames, cuts = scene
    assert persons_when_cut(faces, cuts) == persons_when_cut(faces, [0, n_frames])
