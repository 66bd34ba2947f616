import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops.errors import InvariantError
from deid_ops.judge.audit import AuditParams, close_ledger, covered_share, missed_faces
from deid_ops.types import Faces, FaceTracks


def detections(frames, boxes, score=0.9):
    n = len(frames)
    ones = np.ones(n)
    return Faces(
        np.asarray(frames),
        np.asarray(boxes),
        np.zeros((n, 5, 2)),
        score * ones,
        20 * ones,
        0 * ones,
        0 * ones,
        np.zeros((n, 0)),
        np.zeros(n, bool),
    )


def treated(frames, boxes):
    n = len(frames)
    ones = np.ones(n)
    return FaceTracks(
        np.asarray(frames),
        np.zeros(n),
        np.asarray(boxes),
        np.zeros((n, 5, 2)),
        np.ones(n, bool),
        np.zeros(n),
        ones,
        20 * ones,
        0 * ones,
        0 * ones,
    )


HEAD = [10, 10, 60, 80]
FACE = [18, 25, 52, 70]


def test_a_face_inside_a_large_treated_box_is_covered():
    assert missed_faces(detections([0], [FACE]), treated([0], [HEAD])).tolist() == []


def test_a_face_in_the_next_frame_or_beside_is_missed():
    assert missed_faces(detections([1], [FACE]), treated([0], [HEAD])).tolist() == [0]
    beside = [70, 25, 104, 70]
    found = missed_faces(detections([0, 0], [FACE, beside]), treated([0], [HEAD]))
    assert found.tolist() == [1]


def test_a_clip_without_treatment_misses_every_face():
    found = missed_faces(detections([0, 3], [FACE, FACE]), FaceTracks.empty())
    assert found.tolist() == [0, 1]


def test_two_half_boxes_cover_together():
    halves = [[18, 25, 35, 70], [34, 25, 52, 70]]
    assert covered_share(np.float32([FACE]), np.float32(halves)).tolist() == [1.0]
    assert missed_faces(detections([0], [FACE]), treated([0, 0], halves)).tolist() == []


def test_margin_and_noise_limits():
    near = treated([0], [[40, 25, 60, 70]])
    assert missed_faces(detections([0], [FACE]), near).tolist() == [0]
    assert missed_faces(detections([0], [FACE]), near, AuditParams(mask_margin=1.2)).tolist() == []
    tiny = detections([0], [[200, 200, 205, 206]])
    assert missed_faces(tiny, near).tolist() == []
    assert missed_faces(tiny, near, AuditParams(min_side_px=4)).tolist() == [0]
    weak = detections([0], [[200, 200, 250, 260]], score=0.2)
    assert missed_faces(weak, near, AuditParams(min_score=0.5)).tolist() == []


@given(
    st.lists(st.floats(0, 100, width=32), min_size=4, max_size=4),
    st.lists(st.floats(0, 100, width=32), min_size=4, max_size=4),
)
def test_covered_share_agrees_with_the_area_of_one_box(a, b):
    box = [min(a[0], a[2]), min(a[1], a[3]), max(a[0], a[2]) + 1, max(a[1], a[3]) + 1]
    over = [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1]
    w = max(0, min(box[2], over[2]) - max(box[0], over[0]))
    h = max(0, min(box[3], over[3]) - max(box[1], over[1]))
    expected = w * h / ((box[2] - box[0]) * (box[3] - box[1]))
    assert covered_share(np.float32([box]), np.float32([over]))[0] == pytest.approx(
        expected, abs=0.09
    )


def test_empty_output_passes():
    assert len(missed_faces(Faces.empty(), FaceTracks.empty())) == 0


def test_closed_books():
    ledger = close_ledger(105, 105, 700, 650, 50)
    assert (ledger.n_frames, ledger.n_faces) == (105, 700)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((105, 104, 7, 7, 0), "105 frames in, 104 frames out"),
        ((105, 105, 7, 5, 1), "5 swapped . 1 redacted = 6"),
        ((105, 105, 6, 5, 2), "6 faces"),
        ((0, 0, -1, -1, 0), "negative"),
    ],
)
def test_open_books_stop_the_run(counts, message):
    with pytest.raises(InvariantError, match=message):
        close_ledger(*counts)
