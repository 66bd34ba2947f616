"""The evaluation with small stand-ins for the networks: a judge that sees pixels."""

import dataclasses

import cv2
import numpy as np
import pytest

from deid_ops.anchors.bank import density_bank
from deid_ops.detect.base import Detections
from deid_ops.errors import SetupError
from deid_ops.judge.calibration import Calibration, calibrate_encoder
from deid_ops.metrics.faceset import FaceSet
from deid_ops.metrics.utility import FaceAttributes
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.crop import TEMPLATE_PX, crop_matrices, warp_crop
from deid_ops.swap.layout import N_POINTS
from deid_ops.types import Reason
from jobs import anchoring, evaluate, evaluate_ours
from jobs.calibrate import merged, read_calibration, write_calibration
from jobs.config import JobConfig
from jobs.evaluate import EvaluateOptions, evaluate_faces, write_grid
from jobs.evaluate_ours import OwnReplacement
from jobs.target_oriented import TargetOriented, open_target_oriented

KEY = bytes(range(32))
OWN = {
    "generator": "g", "attributes": "a", "encoder": "e", "denoiser": None, "other_anchors": 1,
}  # fmt: skip
REDACTING = JobConfig(replace={"generator": None})


class PixelJudge:
    """The inner face, 16 x 16 grey, as a vector."""

    name, dim = "pixels", 256

    def embed(self, image, points):
        rows = []
        for matrix in crop_matrices(points):
            grey = cv2.cvtColor(warp_crop(image, matrix), cv2.COLOR_BGR2GRAY)[30:100, 30:98]
            small = cv2.resize(grey, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
            vector = (small - small.mean()).ravel() + 0.01
            rows.append(vector / np.linalg.norm(vector))
        return np.stack(rows).astype(np.float32)


class EdgeDetector:
    """Finds a face in the middle of every picture that is not flat there."""

    name, provider = "edges", "cpu"

    def detect(self, images_bgr):
        found = []
        for image in images_bgr:
            h, w = image.shape[:2]
            textured = image[h // 3 : 2 * h // 3, w // 3 : 2 * w // 3].std() > 12
            box = np.float32([[w * 0.2, h * 0.1, w * 0.8, h * 0.95]])
            hit = Detections(box, np.zeros((1, 5, 2), np.float32), np.float32([0.9]))
            found.append(hit if textured else Detections.empty())
        return found


class PlainReader:
    name = "plain"

    def read(self, crops_bgr):
        n = len(crops_bgr)
        points = crops_bgr.reshape(n, -1, 2)[:, :5].astype(np.float32)
        eye = np.repeat(np.eye(3, dtype=np.float32)[None], n, axis=0)
        none = np.zeros((n, 4), np.float32)
        return FaceAttributes(points, eye, none[:, :2], none, np.ones(n, bool))


def people(n_people, seed):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n_people):
        face = rng.integers(0, 255, (9, 9, 3)).astype(np.float32)
        for _ in range(2):
            shown = np.clip(face + rng.normal(0, 14, face.shape), 0, 255).astype(np.uint8)
            images.append(cv2.resize(shown, (176, 176), interpolation=cv2.INTER_CUBIC))
    marks = np.repeat(TEMPLATE_PX[None] + 24, len(images), axis=0)
    return FaceSet("made", tuple(images), marks, np.repeat(np.arange(n_people), 2))


@pytest.fixture(scope="module")
def calibration():
    others = people(60, seed=9)
    rows, centre = calibrate_encoder("pixels", PixelJudge().embed, others, (35.0,), (1e-2, 1e-3))
    return Calibration(rows, {"pixels": centre})


@pytest.fixture
def stand_ins(monkeypatch, calibration):
    for module in (evaluate, evaluate_ours):
        monkeypatch.setattr(module, "judge_encoders", lambda _config: {"pixels": PixelJudge()})
        monkeypatch.setattr(module, "calibration_file", lambda: calibration)
    monkeypatch.setattr(evaluate, "first_detector", lambda _config: EdgeDetector())
    monkeypatch.setattr(evaluate_ours, "conditioning_encoder", lambda _config: PixelJudge())
    monkeypatch.setattr(anchoring, "anchor_bank", lambda _config: density_bank(64, 256, seed=1))
    monkeypatch.setattr(evaluate_ours, "denoiser", lambda _config: None)
    monkeypatch.setattr(
        evaluate_ours, "FindAgain", lambda _config: lambda crops: np.ones(len(crops), bool)
    )


class Paints:
    """A generator out of a function (crops, conditions, anchors) -> crops."""

    def __init__(self, paint):
        self.paint = paint

    def find_points(self, crops):
        return np.tile(TEMPLATE_PX, (len(crops), 1, 1))

    def read(self, crops):
        n = len(crops)
        # landmarks all around: the mask is as wide as it may be
        corners = np.float32([[0, 0], [127, 0], [127, 127], [0, 127]])
        points = np.tile(np.resize(corners, (1, N_POINTS, 2)), (n, 1, 1))
        return FaceConditions(points, np.ones((n, 6), np.float32))

    def missed_px(self, crops, wanted, told, anchors, crop_from_frame):
        assert len(crops) == len(wanted) == len(told) == len(anchors)
        return np.zeros_like(told.points_px)

    def __call__(self, crops, conditions, anchors):
        assert len(conditions) == len(crops)
        return self.paint(crops, conditions, anchors)


@Paints
def from_anchor(_crops, _conditions, anchors):
    """A generator that paints the anchor's numbers as a picture."""
    painted = []
    for anchor in anchors:
        face = (np.clip(anchor.reshape(16, 16) * 600 + 128, 0, 255)).astype(np.uint8)
        big = cv2.resize(face, (128, 128), interpolation=cv2.INTER_CUBIC)
        painted.append(np.repeat(big[..., None], 3, axis=2))
    return np.stack(painted)


def middles(treated):
    """What is painted of each face, and none of what is around it."""
    return treated.faces.aligned()[:, 40:90, 40:90]


def measured(config, faces, **options):
    wanted = EvaluateOptions(fars=(1e-2, 1e-3), **options)
    result = evaluate_faces(config, faces, wanted, KEY, PlainReader())
    return result, {(f.subject, f.metric): f for f in result.figures}


def test_baselines_lie_between_untouched_and_mask(stand_ins):
    result, found = measured(REDACTING, people(30, seed=1))
    subjects = {f.subject for f in result.figures}
    assert subjects == {"untouched", "blur", "pixelate", "mask", "k_same", "noise", "redact"}
    match = {s: found[s, "match_original_far_0.01"].estimate.value for s in subjects}
    assert match["untouched"] == 1
    assert match["noise"] > 0.9
    assert match["mask"] < 0.1
    assert match["redact"] < match["untouched"]
    assert found["untouched", "found_again"].estimate.value == 1
    assert found["mask", "found_again"].estimate.value < 0.5
    assert found["mask", "psnr_outside_db"].estimate.value == 100
    assert found["untouched", "landmark_shift_percent"].estimate.value == 0
    assert found["untouched", "frechet_distance"].estimate.value == pytest.approx(0, abs=1e-6)


def test_only_what_was_asked_for_is_measured(stand_ins):
    result, found = measured(
        REDACTING, people(20, seed=2), subjects=("mask",), max_queries=6, eye_distances_px=(0, 20)
    )
    assert {f.subject for f in result.figures} == {"mask"}
    assert {f.dataset for f in result.figures} == {"made", "made@20px"}
    assert found["mask", "match_original_far_0.01"].estimate.n == 6
    with pytest.raises(SetupError, match=r"no subject \['ours'\]"):
        measured(REDACTING, people(4, seed=2), subjects=("ours",))


def test_people_with_one_picture_cannot_be_searched(stand_ins):
    alone = people(5, seed=3).take([0, 2, 4])
    with pytest.raises(SetupError, match="nobody has two pictures"):
        measured(REDACTING, alone)


def test_our_replacement_is_judged_like_the_job_does(stand_ins, monkeypatch):
    monkeypatch.setattr(evaluate_ours, "generator", lambda _config: from_anchor)
    config = JobConfig(replace=OWN, anchors={"bank": None})
    _, found = measured(config, people(30, seed=4), subjects=("ours", "ours_undiffused"))
    ours = found["ours", "match_original_far_0.001"].estimate
    assert ours.value == 0
    assert found["ours", "redacted_share"].estimate.value < 0.3
    assert found["ours_undiffused", "redacted_share"].estimate.value == 0


def test_a_generator_that_copies_ends_in_redaction(stand_ins, monkeypatch):
    monkeypatch.setattr(evaluate_ours, "generator", lambda _config: Paints(lambda c, told, a: c))
    config = JobConfig(replace=OWN, anchors={"bank": None})
    _, found = measured(config, people(20, seed=5), subjects=("ours", "ours_undiffused"))
    assert found["ours_undiffused", "match_original_far_0.001"].estimate.value == 1
    assert found["ours", "redacted_share"].estimate.value == 1
    assert found["ours", "match_original_far_0.001"].estimate.value < 0.3
    own = dict(OwnReplacement(config, KEY).subjects(people(4, seed=6), {"ours"}))["ours"]
    assert Reason.TOO_CLOSE in own.reasons
    assert set(own.reasons) <= {Reason.TOO_CLOSE, Reason.TOO_BLURRED}


def test_noise_strengths_are_measured_one_by_one(stand_ins, monkeypatch):
    strengths = []

    def noisy(crops, conditions, anchors, strength, random_bytes):
        assert (conditions.detail_rms == 1).all()  # as the generator read them off the originals
        strengths.append(strength)
        return np.full_like(crops, int(100 * strength))

    monkeypatch.setattr(evaluate_ours, "generator", lambda _config: from_anchor)
    monkeypatch.setattr(evaluate_ours, "denoiser", lambda _config: noisy)
    config = JobConfig(replace=OWN, anchors={"bank": None})
    faces = people(4, seed=8)
    asked = {"ours_noise_0.5", "ours_noise_2", "ours_unjudged"}
    made = dict(OwnReplacement(config, KEY).subjects(faces, asked, (0.5, 2.0)))
    assert set(made) == asked
    assert sorted(set(strengths)) == [0.5, 1.0, 2.0]
    half = made["ours_noise_0.5"].treated
    assert (middles(half) == 50).all()


def test_noise_needs_a_denoiser(stand_ins, monkeypatch):
    monkeypatch.setattr(evaluate_ours, "generator", lambda _config: from_anchor)
    monkeypatch.setattr(evaluate_ours, "denoiser", lambda _config: None)
    own = OwnReplacement(JobConfig(replace=OWN, anchors={"bank": None}), KEY)
    with pytest.raises(SetupError, match=r"replace\.denoiser"):
        own.unjudged((1.5,))


def test_a_release_shows_one_face_per_person_and_key(stand_ins, monkeypatch):
    monkeypatch.setattr(evaluate_ours, "generator", lambda _config: from_anchor)
    own = OwnReplacement(JobConfig(replace=OWN, anchors={"bank": None}), KEY)
    faces = people(6, seed=7)
    first, again = (middles(own.release(faces, KEY)) for _ in range(2))
    other = middles(own.release(faces, KEY[::-1]))
    assert np.array_equal(first, again)
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_without_a_generator_there_is_nothing_of_ours():
    with pytest.raises(SetupError, match=r"replace\.generator"):
        OwnReplacement(REDACTING, KEY)


def test_grids_hide_originals_unless_shown(tmp_path):
    crops = np.full((3, 256, 256, 3), 77, np.uint8)
    samples = {"untouched": crops, "mask": crops}
    write_grid(tmp_path / "a.jpg", samples)
    write_grid(tmp_path / "b.jpg", samples, hidden=())
    heights = [cv2.imread(str(tmp_path / name)).shape[0] for name in ("a.jpg", "b.jpg")]
    assert heights == [128, 256]


def test_calibrations_are_merged_by_encoder_and_size(calibration, tmp_path):
    path = tmp_path / "c.yaml"
    assert read_calibration(path) is None
    write_calibration(path, calibration, people(3, seed=1), "deid calibrate x")
    assert path.read_text().startswith("# Thresholds")
    stored = read_calibration(path)
    other = Calibration(
        tuple(type(r)("other", *_rest(r)) for r in calibration.rows), {"other": np.zeros(3)}
    )
    both = merged(other, stored)
    assert both.encoders == ("other", "pixels")
    assert merged(calibration, both).encoders == ("other", "pixels")
    row = stored.rows[0]
    small = Calibration((dataclasses.replace(row, eye_distance_px=1.5),), {row.encoder: np.ones(3)})
    added = merged(small, stored)
    assert [r.eye_distance_px for r in added.rows] == sorted(
        [1.5, *(r.eye_distance_px for r in stored.rows)]
    )
    assert np.array_equal(added.centres[row.encoder], stored.centres[row.encoder])
    largest = dataclasses.replace(row, eye_distance_px=1e3)
    grown = merged(Calibration((largest,), {row.encoder: np.ones(3)}), added)
    assert np.array_equal(grown.centres[row.encoder], np.ones(3))
    write_calibration(path, grown, people(3, seed=1), "deid calibrate y")
    assert "calibrate x (" in path.read_text()
    assert "calibrate y (" in path.read_text()
    path.write_text("rows: [1")
    with pytest.raises(SetupError, match="cannot read"):
        read_calibration(path)


def _rest(row):
    names = [f for f in row.__dataclass_fields__ if f != "encoder"]
    return [getattr(row, name) for name in names]


def copying(crops, _anchors):
    return crops


def painting(crops, anchors):
    return from_anchor.paint(crops, None, anchors)


def test_the_target_oriented_swap_shows_the_anchors_that_ours_shows(stand_ins, monkeypatch):
    monkeypatch.setattr(evaluate_ours, "generator", lambda _config: from_anchor)
    own = OwnReplacement(JobConfig(replace=OWN, anchors={"bank": None}), KEY)
    faces = people(20, seed=4)  # more than one batch
    made = dict(own.subjects(faces, {"ours_undiffused"}))["ours_undiffused"].treated
    target = TargetOriented(painting, own).treated(faces)
    assert np.array_equal(middles(target), middles(made))


def test_the_target_oriented_swap_is_measured_beside_the_others(stand_ins, monkeypatch):
    monkeypatch.setattr(evaluate_ours, "generator", lambda _config: from_anchor)
    config = JobConfig(replace=OWN, anchors={"bank": None})
    values = {}
    for paint in (copying, painting):
        options = EvaluateOptions(fars=(1e-2, 1e-3), subjects=("target_oriented", "mask"))
        result = evaluate_faces(config, people(30, seed=4), options, KEY, PlainReader(), paint)
        assert {f.subject for f in result.figures} == {"target_oriented", "mask"}
        assert set(result.samples["made"]) == {"target_oriented", "mask"}
        found = {(f.subject, f.metric): f.estimate for f in result.figures}
        values[paint] = found["target_oriented", "match_original_far_0.01"]
        assert ("target_oriented", "redacted_share") not in found  # it has no judge
    assert values[copying].value == 1
    assert values[painting].value < 0.1
    assert values[painting].n == 60


def test_the_target_oriented_swap_needs_its_network_and_a_replacement(stand_ins, tmp_path):
    faces, asked = people(4, seed=2), ("target_oriented",)
    with pytest.raises(SetupError, match=r"no subject \['target_oriented'\]"):
        measured(REDACTING, faces, subjects=asked)
    with pytest.raises(SetupError, match=r"set replace\.generator"):
        evaluate_faces(REDACTING, faces, EvaluateOptions(), KEY, None, copying)
    with pytest.raises(SetupError, match="needs its network: --target-oriented"):
        open_target_oriented(REDACTING, None, asked)
    with pytest.raises(SetupError, match=r"none\.onnx.*neither a file nor in weights"):
        open_target_oriented(REDACTING, str(tmp_path / "none.onnx"), ())
    assert open_target_oriented(REDACTING, None, ("mask",)) is None
