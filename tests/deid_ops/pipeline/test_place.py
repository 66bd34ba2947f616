"""Where crops lie: on what the painter's network sees, not on what a detector says."""

import numpy as np
import pytest
from made_tracks import tracks_with

from deid_ops.pipeline.place import FURTHEST_PX, lies_on_face, place_segment
from deid_ops.swap.crop import TEMPLATE_PX, apply_matrices
from deid_ops.types import FaceCrops

EYES_PX = 24.0
SHAPE = (TEMPLATE_PX - TEMPLATE_PX.mean(axis=0)) * EYES_PX / 35.0  # a face as the template is
TOP_PX = 70.0


def tracks_of(boxes, off=0.0):
    """`boxes`: (frame, track, x) of faces; the detector's points lie `off` [n, 5, 2] beside."""
    frame, track, x = (np.array(column) for column in zip(*boxes, strict=True))
    middle = np.stack([x, np.full(len(x), TOP_PX)], axis=1)
    return tracks_with(frame, track, SHAPE + middle[:, None] + off, EYES_PX)


def drawn(points):
    """A picture in which each face is five white dots, as if a network could see them."""
    image = np.zeros((140, 240, 3), np.float32)
    rows, columns = np.mgrid[:140, :240]
    for face in points:
        for x, y in face:
            bump = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18.0)
            image = np.maximum(image, 255 * bump[..., None])
    return np.rint(image).astype(np.uint8)


def sees_dots(crops):
    """Return the middle of each dot, looked for around the template's points."""
    rows, columns = np.mgrid[:128, :128]
    found = np.zeros((len(crops), 5, 2), np.float32)
    for i, crop in enumerate(crops[..., 0].astype(np.float64)):
        for k, (x, y) in enumerate(TEMPLATE_PX):
            near = crop * (np.hypot(columns - x, rows - y) < 14)
            found[i, k] = (near * columns).sum() / near.sum(), (near * rows).sum() / near.sum()
    return found


def frames_of(truth, shown=None):
    """Frames that show the faces of `truth` where they are."""
    for index in np.unique(truth.frame_index) if shown is None else shown:
        yield int(index), drawn(truth.landmarks_xy_px[truth.frame_index == index])


def place(truth, said, find_points=sees_dots, shown=None):
    rows = np.arange(len(said.frame_index), dtype=np.int32)
    return place_segment(frames_of(truth, shown), said, rows, find_points)


def off_template_px(truth, placed):
    """How far each crop has its face from where it should be: mean over the points, crop pixels."""
    at = apply_matrices(placed.matrices, truth.landmarks_xy_px[placed.rows])
    return np.linalg.norm(at - TEMPLATE_PX, axis=2).mean(axis=1)


def test_what_a_detector_misplaces_is_placed_by_what_is_seen():
    boxes = [(f, t, 60 + 2 * f + 110 * t) for f in range(6) for t in (0, 1)]
    truth = tracks_of(boxes)
    jitter = np.random.default_rng(3).normal(0, 0.8, (12, 1, 2)) + np.float32([0.0, 1.5])
    said = tracks_of(boxes, jitter)
    by_detector = off_template_px(truth, place(truth, said, lambda c: 0 * sees_dots(c) + 500)[1])
    crops, placed = place(truth, said)
    assert by_detector.mean() > 2.0
    assert off_template_px(truth, placed).max() < 0.4
    assert placed.rows.tolist() == list(range(12))
    assert np.abs(sees_dots(crops) - TEMPLATE_PX).max() < 1.0  # each crop is of its own face


def test_a_network_that_finds_the_face_far_away_is_not_believed():
    boxes = [(f, 0, 60) for f in range(3)]
    truth = tracks_of(boxes)
    for off_px, believed in ((0.9 * FURTHEST_PX, True), (1.1 * FURTHEST_PX, False)):
        shift = np.float32([off_px, 0])
        _, placed = place(
            truth, truth, lambda crops, d=shift: 0 * sees_dots(crops) + TEMPLATE_PX + d
        )
        moved = off_template_px(truth, placed)
        assert moved == pytest.approx(np.full(3, off_px if believed else 0.0), abs=1e-2)


def test_places_are_averaged_over_neighbours_and_do_not_depend_on_who_else_is_there():
    boxes = [(f, 0, 60 + 3 * f) for f in range(5)]
    truth = tracks_of(boxes)
    _, alone = place(truth, truth)
    both = tracks_of([box for b in boxes for box in (b, (b[0], 1, 190))])
    _, beside = place(both, both)
    np.testing.assert_allclose(beside.matrices[::2], alone.matrices, atol=0.02)
    flicker = iter(np.float32([4, -4, 4, -4, 4]))
    _, placed = place(truth, truth, lambda crops: sees_dots(crops) + next(flicker))
    assert off_template_px(truth, placed)[1:-1].max() < 0.4


def test_a_track_that_jumps_to_another_head_is_placed_on_it():
    truth = tracks_of([(f, 0, 60 if f < 3 else 150) for f in range(6)])
    _, placed = place(truth, truth)
    assert off_template_px(truth, placed).max() < 0.4


def test_a_replacement_beside_what_the_detector_found_is_told_apart():
    truth = tracks_of([(f, 0, 60) for f in range(4)])
    crops, placed = place(truth, truth)
    weight = np.zeros((4, 128, 128), np.uint8)
    weight[:, 20:116, 16:112] = 255
    matrices = placed.matrices.copy()
    matrices[1, 0, 2] += 30  # the crop lies to the left of the face
    matrices[2, 1, 2] += 6
    matrices[3, 0, 2] += 300  # or wholly beside it
    drawn_crops = FaceCrops(placed.rows, crops, matrices, weight)
    assert lies_on_face(truth, drawn_crops).tolist() == [True, False, True, False]


def test_frames_that_never_came_leave_the_others_where_they_are():
    boxes = [(f, t, 60 + 110 * t) for f in range(5) for t in (0, 1)]
    truth = tracks_of(boxes)
    crops, placed = place(truth, truth, shown=[1, 2, 4])
    assert placed.rows.tolist() == [2, 3, 4, 5, 8, 9]
    assert len(crops) == len(placed.matrices) == placed.n_cut == 6
    assert off_template_px(truth, placed).max() < 0.4
