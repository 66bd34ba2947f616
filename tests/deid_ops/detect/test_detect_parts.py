"""The parts of detection that need no network: suppression, tiles, scores, quality, padding."""

import doctest
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops.detect import nms as nms_module
from deid_ops.detect import quality, scores, tiles
from deid_ops.detect.base import Detections, cut_at_border, detect_by_shape
from deid_ops.detect.nms import nms_rows, without_ghosts
from deid_ops.detect.scores import Scores, confirmed_rows, scores_for
from deid_ops.detect.tiles import TiledDetector, tile_starts
from deid_ops.errors import InvariantError, SetupError
from deid_ops.geometry import ARCFACE_TEMPLATE_112, iou_matrix


@pytest.mark.parametrize("module", [nms_module, quality, scores, tiles])
def test_doc_examples_hold(module):
    result = doctest.testmod(module)
    assert result.attempted >= 1
    assert result.failed == 0


def detections(boxes, score):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    marks = np.repeat(boxes[:, None, :2], 5, axis=1)
    return Detections(boxes, marks, np.asarray(score, np.float32))


def test_a_weak_second_hit_on_a_head_goes_and_neighbours_stay():
    head = [100, 100, 140, 150]
    ghost = [116, 88, 156, 138]  # overlaps by 0.3, centre within the head
    neighbour = [128, 100, 168, 150]  # overlaps by 0.18, centre outside
    small = [110, 110, 120, 122]  # a picture on a shirt: inside, but hardly any overlap
    boxes = [head, ghost, neighbour, small]
    assert without_ghosts(detections(boxes, [0.9, 0.2, 0.2, 0.2])).boxes_xyxy_px.tolist() == [
        head,
        neighbour,
        small,
    ]
    assert len(without_ghosts(detections([head, ghost], [0.9, 0.6]))) == 2  # two sure faces
    assert len(without_ghosts(detections([ghost], [0.2]))) == 1
    assert len(without_ghosts(Detections.empty())) == 0


@given(st.integers(0, 60), st.floats(0.1, 0.9), st.integers(0, 1000))
def test_suppression_keeps_the_best_and_covers_the_rest(n, iou_max, seed):
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 100, (n, 2)), rng.uniform(5, 60, (n, 2))
    boxes, score = np.concatenate([corner, corner + side], axis=1), rng.uniform(-1, 1, n)
    rows = nms_rows(boxes, score, iou_max)
    assert len(set(rows)) == len(rows)
    assert np.all(np.diff(score[rows]) <= 0)
    among = iou_matrix(boxes[rows], boxes[rows]) - np.eye(len(rows))
    assert (among <= iou_max + 1e-9).all()
    for gone in set(range(n)) - set(rows.tolist()):
        better = rows[score[rows] >= score[gone]]
        assert iou_matrix(boxes[[gone]], boxes[better]).max() >= iou_max - 1e-9


def test_pieces_of_a_face_are_suppressed_but_never_the_whole():
    whole, piece = [0, 0, 100, 100], [60, 0, 100, 100]
    both = np.array([whole, piece], float)
    assert nms_rows(both, np.array([0.9, 0.5]), 0.5, covered_max=0.8).tolist() == [0]
    assert nms_rows(both, np.array([0.5, 0.9]), 0.5, covered_max=0.8).tolist() == [1, 0]


@given(st.integers(1, 9000), st.integers(256, 2560), st.data())
def test_tiles_cover_and_overlap(length, tile, data):
    overlap = data.draw(st.integers(1, tile // 2))
    starts = tile_starts(length, tile, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - tile)
    assert all(b - a <= tile - overlap for a, b in pairwise(starts))


class SquareDetector:
    """Finds white squares of known size that lie whole in what it is shown."""

    name, provider = "square", "cpu"

    def __init__(self, side_px):
        self.side_px, self.seen = side_px, []

    def detect(self, images_bgr):
        out = []
        for image in images_bgr:
            self.seen.append(image.shape[:2])
            _, _, stats, _ = cv2.connectedComponentsWithStats(
                (image[..., 0] > 128).astype(np.uint8)
            )
            boxes = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:] if w >= self.side_px]
            out.append(detections(boxes, np.linspace(0.9, 0.8, len(boxes))))
        return out


def test_tiles_find_each_face_once_at_full_resolution():
    image = np.zeros((900, 2000, 3), np.uint8)
    places = [(10, 20), (480, 300), (505, 700), (1900, 850), (1000, 450), (770, 20)]
    for x, y in places:
        image[y : y + 40, x : x + 40] = 255
    inner = SquareDetector(side_px=40)
    found = TiledDetector(inner, tile_px=512, overlap_px=64, nms_iou=0.4).detect([image])[0]
    assert sorted(map(tuple, found.boxes_xyxy_px[:, :2].astype(int))) == sorted(places)
    assert max(max(shape) for shape in inner.seen) <= 512


def test_a_face_larger_than_a_tile_is_found_in_the_overview():
    image = np.zeros((1000, 1500, 3), np.uint8)
    image[100:900, 300:1100] = 255
    found = TiledDetector(SquareDetector(200), 512, 128, 0.4).detect([image])[0]
    best = iou_matrix(found.boxes_xyxy_px, np.array([[300, 100, 1100, 900]])).max()
    assert best > 0.97


def test_small_images_go_through_whole_and_bad_overlaps_are_refused():
    inner = SquareDetector(1)
    TiledDetector(inner, 512, 64, 0.4).detect([np.zeros((300, 512, 3), np.uint8)])
    assert inner.seen == [(300, 512)]
    with pytest.raises(SetupError, match="at most half"):
        TiledDetector(inner, 512, 300, 0.4)


def test_images_are_padded_grouped_and_returned_in_order():
    sizes = [(40, 70), (64, 64), (33, 90), (64, 96)]
    seen = []

    def run(stack):
        seen.append(stack.shape)
        # reports the whole padded image, marked by its first pixel
        height, width = stack.shape[1:3]
        return [detections([[-5, -5, width, height]], [s[0, 0, 0] / 255]) for s in stack]

    images = [np.full((*s, 3), i + 1, np.uint8) for i, s in enumerate(sizes)]
    results = detect_by_shape(images, 32, 2, run)
    assert sorted(seen) == [(1, 64, 64, 3), (1, 64, 96, 3), (2, 64, 96, 3)]
    for i, ((height, width), found) in enumerate(zip(sizes, results, strict=True)):
        assert found.boxes_xyxy_px.tolist() == [[0, 0, width, height]]
        assert found.score[0] == pytest.approx((i + 1) / 255)


def test_wrong_images_are_refused_and_boxes_outside_dropped():
    with pytest.raises(InvariantError, match="uint8"):
        detect_by_shape([np.zeros((4, 4), np.uint8)], 32, 1, lambda stack: [])
    assert len(cut_at_border(detections([[50, 2, 60, 9]], [0.5]), (40, 40))) == 0


def test_weak_hits_count_only_beside_strong_ones():
    marks = np.array([0.15, 0.2, 0.5, 0.15, 0.3, 0.3], np.float32)
    frames = np.array([0, 1, 2, 4, 2, 3], np.int32)
    boxes = np.array([[10, 10, 50, 50]] * 4 + [[200, 10, 240, 50]] * 2, np.float32)
    order = np.argsort(frames, kind="stable")
    rows = (frames[order], boxes[order], marks[order])
    keep = confirmed_rows(*rows, Scores(0.1, 0.4, 0.2), n_frames=9)
    assert sorted(order[keep].tolist()) == [0, 1, 2, 3]
    # a gap of three frames ends a run
    far = confirmed_rows(
        np.array([0, 3], np.int32),
        boxes[:2],
        np.array([0.2, 0.9], np.float32),
        Scores(0.1, 0.4, 0.2),
        n_frames=9,
    )
    assert far.tolist() == [False, True]


def test_one_frame_has_its_own_threshold_and_a_set_one_is_plain():
    score = np.array([0.15, 0.25, 0.5], np.float32)
    still = np.zeros(3, np.int32), np.tile([[0, 0, 9, 9]], (3, 1)).astype(np.float32), score
    assert confirmed_rows(*still, Scores(0.1, 0.4, 0.2), 1).tolist() == [False, True, True]
    plain = scores_for("centerface", score_min=0.2)
    apart = np.array([0, 30, 60], np.int32)
    assert confirmed_rows(apart, *still[1:], plain, 90).tolist() == [False, True, True]
    with pytest.raises(SetupError, match="weak"):
        scores_for("centerface", score_min=0.5, score_sure=0.3)


def test_turn_grows_with_yaw_and_ignores_roll_and_nod():
    # a head in mm: eyes, nose tip, mouth corners; z towards the viewer
    head = np.array([[-31.5, 0, 0], [31.5, 0, 0], [0, 35, 28], [-24, 66, 5], [24, 66, 5]], float)

    def seen(yaw_deg, roll_deg=0.0, nod_deg=0.0):
        y, r, n = np.radians([yaw_deg, roll_deg, nod_deg])
        turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        nod = np.array([[1, 0, 0], [0, np.cos(n), -np.sin(n)], [0, np.sin(n), np.cos(n)]])
        roll = np.array([[np.cos(r), -np.sin(r)], [np.sin(r), np.cos(r)]])
        return ((head @ turn.T @ nod.T)[:, :2] @ roll.T)[None]

    values = [float(quality.turns(seen(yaw))[0]) for yaw in (0, 15, 30, 45, 60, 75, 89)]
    assert values == sorted(values)
    np.testing.assert_allclose(values, np.array([0, 15, 30, 45, 60, 75, 89]) / 90, atol=0.06)
    assert quality.turns(seen(30, roll_deg=70))[0] == pytest.approx(values[2], abs=1e-5)
    assert quality.turns(seen(0, nod_deg=25))[0] == pytest.approx(0, abs=1e-6)
    assert quality.turns(np.zeros((1, 5, 2)))[0] == 1.0


def test_blur_rises_with_blurring_whatever_the_resolution(rng):
    sharp = rng.integers(0, 256, (90, 90, 3)).astype(np.uint8)
    values = [quality.blur(cv2.GaussianBlur(sharp, (0, 0), s)) for s in (0.5, 1, 2, 4)]
    assert values == sorted(values)
    assert quality.blur(sharp) < 0.25
    assert values[-1] > 0.4
    large = cv2.resize(sharp, (720, 720), interpolation=cv2.INTER_LINEAR)
    assert quality.blur(large) == pytest.approx(
        quality.blur(cv2.resize(sharp, (112, 112))), abs=0.1
    )
    assert quality.blurs(sharp, [[-20, -20, 30, 30], [95, 95, 99, 99]]).shape == (2,)


def test_eye_distance_scales():
    marks = np.stack([ARCFACE_TEMPLATE_112, ARCFACE_TEMPLATE_112 * 2])
    small, large = quality.eye_distances_px(marks)
    assert large == pytest.approx(2 * small)
