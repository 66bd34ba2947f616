from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deid_ops.errors import InvariantError, SetupError
from deid_ops.track.params import TrackParams
from deid_ops.track.tracker import track_faces
from deid_ops.types import BoxOrigin, Faces

SIZE = (640, 360)
DIM = 64
PEOPLE = np.linalg.qr(np.random.default_rng(3).normal(size=(DIM, DIM)))[0]


def face_rows(
    frames: list[int], boxes: npt.ArrayLike, person: int | None = None, every: int = 1
) -> Faces:
    """One person's detections; `every` is the embedding stride."""
    n = len(frames)
    box = np.asarray(boxes, dtype=np.float64).reshape(n, 4)
    centre = (box[:, :2] + box[:, 2:]) / 2
    marks = np.repeat(centre[:, None, :], 5, axis=1) + np.arange(5)[None, :, None]
    has = np.array([person is not None and f % every == 0 for f in frames], dtype=bool)
    noise = np.random.default_rng(person or 0).normal(size=(n, DIM)) * 0.03
    vectors = (PEOPLE[person] if person is not None else np.zeros(DIM)) + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = np.where(has[:, None], vectors, 0)
    one = np.ones(n)
    return Faces(frames, box, marks, 0.9 * one, 30 * one, 0.1 * one, 0.1 * one, vectors, has)


def together(*people: Faces) -> Faces:
    names = Faces.__dataclass_fields__
    stacked = {n: np.concatenate([getattr(p, n) for p in people]) for n in names}
    order = np.argsort(stacked["frame_index"], kind="stable")
    return Faces(**{n: v[order] for n, v in stacked.items()})


def line(frames: list[int], start_xy: tuple[float, float], step_xy: tuple[float, float], size=40.0):
    t = np.array(frames)[:, None]
    corner = np.array(start_xy) + t * np.array(step_xy)
    return np.concatenate([corner, corner + size], axis=1)


def persons_of(faces: Faces, n_frames: int, params: TrackParams | None = None):
    result = track_faces(faces, n_frames, SIZE, params or TrackParams())
    return result, result.tracks.track[result.row_of_face]


def test_no_faces_no_tracks():
    result = track_faces(Faces.empty(DIM), 5, SIZE, TrackParams())
    assert len(result.tracks) == 0
    assert result.embedding.shape == (0, DIM)


def test_a_track_keeps_the_mean_of_the_guards_vectors_it_has():
    frames = list(range(6))
    one = face_rows(frames, line(frames, (10, 10), (2, 0)), person=1)
    two = face_rows(frames, line(frames, (400, 100), (2, 0)), person=2)
    seen = np.zeros((6, 2))
    seen[[1, 4]] = [[1.0, 0.0], [0.0, 1.0]]
    both = together(replace(one, guard_vector=seen), replace(two, guard_vector=np.zeros((6, 2))))
    result, labels = persons_of(both, 6)
    first = labels[np.flatnonzero(both.guard_vector.any(axis=1))[0]]
    np.testing.assert_allclose(result.guard_vector[first], [0.5, 0.5], atol=1e-6)
    assert not np.delete(result.guard_vector, first, axis=0).any()
    assert track_faces(Faces.empty(DIM, 2), 5, SIZE, TrackParams()).guard_vector.shape == (0, 2)


def test_frames_outside_the_segment_are_refused():
    faces = face_rows([7], [[0, 0, 9, 9]])
    with pytest.raises(InvariantError, match=r"7\.\.7 of a segment of 7"):
        track_faces(faces, 7, SIZE, TrackParams())


def test_two_people_who_cross_keep_their_tracks():
    frames = list(range(40))
    a = face_rows(frames, line(frames, (50, 100), (8, 0)), person=1, every=5)
    b = face_rows(frames, line(frames, (370, 104), (-8, 0)), person=2, every=5)
    _, labels = persons_of(together(a, b), 40)
    assert np.array_equal(labels[0::2], np.zeros(40))
    assert np.array_equal(labels[1::2], np.ones(40))


def test_motion_alone_follows_a_fast_small_face():
    frames = list(range(20))
    # 24 px a frame with a 20 px box: consecutive boxes do not overlap once the face is moving
    boxes = line(frames, (10, 60), (24, 0), size=20)
    boxes[0] = boxes[1] - [12, 0, 12, 0]
    _, labels = persons_of(face_rows(frames, boxes), 20)
    assert set(labels.tolist()) == {0}


def test_strangers_far_apart_are_two_tracks_without_embeddings():
    a = face_rows([0, 1, 2], line([0, 1, 2], (10, 10), (1, 0)))
    b = face_rows([3, 4, 5], line([3, 4, 5], (500, 200), (1, 0)))
    result, labels = persons_of(together(a, b), 6)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert result.has_embedding.tolist() == [False, False]


def test_same_place_but_another_person_is_another_track():
    frames = list(range(10))
    a = face_rows(frames, line(frames, (100, 100), (0, 0)), person=4)
    later = list(range(10, 20))
    b = face_rows(later, line(later, (102, 100), (0, 0)), person=5)
    _, labels = persons_of(together(a, b), 20)
    assert labels.tolist() == [0] * 10 + [1] * 10


def test_who_leaves_and_returns_is_the_same_track_and_the_absence_stays_empty():
    first, again = list(range(10)), list(range(80, 90))
    a = face_rows(first, line(first, (100, 100), (1, 0)), person=6)
    b = face_rows(again, line(again, (300, 50), (1, 0)), person=6)
    result, labels = persons_of(together(a, b), 100, TrackParams(max_gap_frames=20))
    assert set(labels.tolist()) == {0}
    assert not np.isin(np.arange(16, 74), result.tracks.frame_index).any()
    extended = result.tracks.frame_index[result.tracks.origin == BoxOrigin.EXTENDED]
    assert extended.tolist() == [10, 11, 12, 13, 14, 75, 76, 77, 78, 79, 90, 91, 92, 93, 94]


def test_backward_pass_recovers_a_blurred_beginning():
    """The first faces carry no embedding and jump; only the way back can join them."""
    later = list(range(10, 30))
    b = face_rows(later, line(later, (100, 100), (0, 0)), person=7)
    early = face_rows([2], [[118, 100, 158, 140]])
    params = TrackParams(motion_memory_frames=10)
    _, labels = persons_of(together(early, b), 30, params)
    assert set(labels.tolist()) == {0}


def test_gap_is_interpolated_with_landmarks():
    frames = [0, 1, 2, 6, 7, 8]
    faces = face_rows(frames, line(frames, (100, 100), (10, 0)), person=1)
    result, _ = persons_of(faces, 9, TrackParams(gap_growth=0.0))
    tracks = result.tracks
    filled = tracks.take(tracks.origin == BoxOrigin.INTERPOLATED)
    assert filled.frame_index.tolist() == [3, 4, 5]
    assert filled.boxes_xyxy_px[:, 0] == pytest.approx([130, 140, 150])
    assert filled.has_landmarks.all()
    assert filled.landmarks_xy_px[1, 0] == pytest.approx([160, 120])


def test_added_boxes_grow_with_the_distance_to_a_detection():
    frames = [3, 4, 5, 9]
    faces = face_rows(frames, line(frames, (100, 100), (0, 0)), person=1)
    result, _ = persons_of(
        faces, 12, TrackParams(extend_frames=2, extend_growth=0.1, gap_growth=0.05)
    )
    t = result.tracks
    width = dict(
        zip(t.frame_index.tolist(), np.diff(t.boxes_xyxy_px[:, [0, 2]])[:, 0], strict=True)
    )
    expected = {1: 48, 2: 44, 3: 40, 4: 40, 5: 40, 6: 42, 7: 44, 8: 42, 9: 40, 10: 44, 11: 48}
    assert width == pytest.approx(expected)


def test_margins_stop_at_the_border_of_the_frame():
    frames = list(range(5))
    faces = face_rows(frames, line(frames, (560, 100), (12, 0)), person=1)
    result, _ = persons_of(faces, 30, TrackParams(extend_frames=20, extend_growth=0.0))
    # at frame 7 the left edge is at 644, outside 640
    assert result.tracks.frame_index.max() == 6


def test_a_margin_inside_a_detection_is_left_out():
    frames, later = list(range(5)), list(range(5, 10))
    a = face_rows(frames, line(frames, (100, 100), (0, 0)), person=1)
    b = face_rows(later, line(later, (100, 100), (0, 0)), person=2)
    result, labels = persons_of(together(a, b), 12, TrackParams(extend_growth=0.0))
    assert len(set(labels.tolist())) == 2
    extended = result.tracks.take(result.tracks.origin == BoxOrigin.EXTENDED)
    assert extended.frame_index.tolist() == [10, 11]


def test_margins_of_two_runs_that_meet_become_their_hull():
    a = face_rows([0], [[100, 100, 140, 140]], person=1)
    b = face_rows([4], [[120, 100, 160, 140]], person=1)
    params = TrackParams(max_gap_frames=0, extend_frames=2, extend_growth=0.0)
    result, _ = persons_of(together(a, b), 5, params)
    assert result.tracks.frame_index.tolist() == [0, 1, 2, 3, 4]
    assert result.tracks.boxes_xyxy_px[2].tolist() == [100, 100, 160, 140]


def test_track_embedding_is_the_quality_weighted_mean():
    faces = face_rows([0, 1], line([0, 1], (0, 0), (1, 0)), person=1)
    values = {n: np.array(getattr(faces, n)) for n in Faces.__dataclass_fields__}
    values["embedding"] = np.stack([PEOPLE[0], 0.8 * PEOPLE[0] + 0.6 * PEOPLE[1]])
    values["blur"] = np.array([0.0, 0.5])
    values["turn"] = np.zeros(2)
    values["eye_distance_px"] = np.full(2, 60.0)
    result, _ = persons_of(Faces(**values), 2)
    expected = 2 * PEOPLE[0] + (0.8 * PEOPLE[0] + 0.6 * PEOPLE[1])
    assert result.embedding[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)


def test_wrong_params_are_refused():
    with pytest.raises(SetupError, match="extend_frames"):
        TrackParams(extend_frames=-1)
    with pytest.raises(SetupError, match="accept_distance"):
        TrackParams(accept_distance=3.0)


@st.composite
def any_faces(draw: st.DrawFn) -> tuple[Faces, int]:
    """Detections without any sense, duplicates and boxes without area among them."""
    n = draw(st.integers(1, 30))
    n_frames = draw(st.integers(1, 12))
    frames = np.sort(draw(st.lists(st.integers(0, n_frames - 1), min_size=n, max_size=n)))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-50, 700, (n, 2)).round(draw(st.integers(-2, 1)))
    box = np.concatenate([corner, corner + rng.uniform(0, 120, (n, 2)).round()], axis=1)
    has = rng.random(n) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    vectors = PEOPLE[rng.integers(0, 3, n)] + rng.normal(size=(n, DIM)) * 0.1
    vectors = np.where(has[:, None], vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 0)
    unit = rng.random((3, n))
    marks = np.where(rng.random(n)[:, None, None] < 0.2, 0, rng.uniform(1, 600, (n, 5, 2)))
    eyes = rng.uniform(0, 60, n)
    return Faces(frames, box, marks, unit[0], eyes, unit[1], unit[2], vectors, has), n_frames


any_params = st.builds(
    TrackParams,
    max_gap_frames=st.integers(0, 10),
    extend_frames=st.integers(0, 10),
    extend_growth=st.sampled_from([0.0, 0.05, 1.0]),
    gap_growth=st.sampled_from([0.0, 0.02, 1.0]),
    accept_distance=st.floats(0, 2),
    overlap_distance=st.floats(0, 2),
    overlap_iou=st.floats(0, 1),
    iou_weight=st.floats(0, 3),
    motion_iou_min=st.floats(0, 1),
    motion_reach_sizes=st.floats(0, 5),
    motion_memory_frames=st.integers(0, 20),
    embedding_momentum=st.floats(0, 0.99),
    embedding_weight_min=st.floats(0, 1),
)


@given(any_faces(), any_params)
@settings(max_examples=100, deadline=None)
def test_no_box_is_ever_lost_and_no_frame_has_a_track_twice(case, params):
    faces, n_frames = case
    result = track_faces(faces, n_frames, SIZE, params)
    tracks = result.tracks

    detected = tracks.take(tracks.origin == BoxOrigin.DETECTED)
    before = np.column_stack([faces.frame_index, faces.boxes_xyxy_px])
    after = np.column_stack([detected.frame_index, detected.boxes_xyxy_px])
    assert sorted(map(tuple, before.tolist())) == sorted(map(tuple, after.tolist()))

    keys = list(zip(tracks.frame_index.tolist(), tracks.track.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys)
    assert tracks.frame_index.min() >= 0
    assert tracks.frame_index.max() < n_frames

    labels = tracks.track[result.row_of_face]
    first_rows = [int(np.flatnonzero(labels == t)[0]) for t in range(tracks.n_tracks)]
    assert first_rows == sorted(first_rows)


@given(any_faces(), any_params)
@settings(max_examples=30, deadline=None)
def test_same_input_same_tracks(case, params):
    faces, n_frames = case
    one = track_faces(faces, n_frames, SIZE, params)
    two = track_faces(faces, n_frames, SIZE, params)
    assert np.array_equal(one.tracks.track, two.tracks.track)
    assert np.array_equal(one.tracks.boxes_xyxy_px, two.tracks.boxes_xyxy_px)
    assert np.array_equal(one.embedding, two.embedding)
