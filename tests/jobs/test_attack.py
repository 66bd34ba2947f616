"""The attack command's course, with stand-ins for the networks and attackers of a few steps."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="attacks need the extra 'train'")

from deid_ops.anchors.bank import density_bank  # noqa: E402
from deid_ops.attacks.learn import LearnOptions  # noqa: E402
from deid_ops.attacks.networks import AttackerSize  # noqa: E402
from deid_ops.errors import SetupError  # noqa: E402
from deid_ops.judge.calibration import Calibration, calibrate_encoder  # noqa: E402
from deid_ops.metrics.faceset import FaceSet  # noqa: E402
from deid_ops.swap.conditions import FaceConditions  # noqa: E402
from deid_ops.swap.crop import TEMPLATE_PX, crop_matrices, warp_crop  # noqa: E402
from deid_ops.swap.layout import N_POINTS  # noqa: E402
from jobs import anchoring, attack, evaluate_ours  # noqa: E402
from jobs.attack import attack_faces  # noqa: E402
from jobs.attack_options import OWN_DEFENCES, AttackOptions  # noqa: E402
from jobs.config import JobConfig  # noqa: E402
from jobs.target_oriented import TargetOriented  # noqa: E402

KEY = bytes(range(32))
SIZE = AttackerSize((8, 8, 8, 8), (8, 8, 8, 8))
LEARN = LearnOptions(steps=2, batch=4, size=SIZE)
TINY = AttackOptions(n_train=8, n_attacked=6, releases=2, reverser=LEARN, regressor=LEARN)


class PixelJudge:
    name, dim = "pixels", 64

    def embed(self, image, points):
        rows = []
        for matrix in crop_matrices(points):
            grey = cv2.cvtColor(warp_crop(image, matrix), cv2.COLOR_BGR2GRAY)[30:100, 30:98]
            small = cv2.resize(grey, (8, 8), interpolation=cv2.INTER_AREA).astype(np.float32)
            vector = (small - small.mean()).ravel() + 0.01
            rows.append(vector / np.linalg.norm(vector))
        return np.stack(rows).astype(np.float32)


def people(n_people, seed):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n_people):
        face = rng.integers(0, 255, (9, 9, 3)).astype(np.float32)
        for _ in range(2):
            shown = np.clip(face + rng.normal(0, 10, face.shape), 0, 255).astype(np.uint8)
            images.append(cv2.resize(shown, (150, 150), interpolation=cv2.INTER_CUBIC))
    marks = np.repeat(TEMPLATE_PX[None] + 11, len(images), axis=0)
    return FaceSet("made", tuple(images), marks, np.repeat(np.arange(n_people), 2))


class FromAnchor:
    """A generator that paints the anchor's numbers as a picture."""

    def find_points(self, crops):
        return np.tile(TEMPLATE_PX, (len(crops), 1, 1))

    def read(self, crops):
        n = len(crops)
        return FaceConditions(np.zeros((n, N_POINTS, 2), np.float32), np.zeros((n, 6), np.float32))

    def missed_px(self, crops, wanted, told, anchors, crop_from_frame):
        assert len(crops) == len(wanted) == len(told) == len(anchors)
        return np.zeros_like(told.points_px)

    def __call__(self, crops, conditions, anchors):
        assert len(crops) == len(conditions) == len(anchors)
        painted = []
        for anchor in anchors:
            face = np.clip(anchor.reshape(8, 8) * 400 + 128, 0, 255).astype(np.uint8)
            big = cv2.resize(face, (128, 128), interpolation=cv2.INTER_CUBIC)
            painted.append(np.repeat(big[..., None], 3, axis=2))
        return np.stack(painted)


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows, centre = calibrate_encoder(
        "pixels", PixelJudge().embed, people(40, 9), (35.0,), (1e-2, 1e-3)
    )
    calibration = Calibration(rows, {"pixels": centre})
    for module in (attack, evaluate_ours):
        monkeypatch.setattr(module, "judge_encoders", lambda _c: {"pixels": PixelJudge()})
        monkeypatch.setattr(module, "calibration_file", lambda: calibration)
        monkeypatch.setattr(module, "conditioning_encoder", lambda _c: PixelJudge())
    monkeypatch.setattr(evaluate_ours, "generator", lambda _c: FromAnchor())
    monkeypatch.setattr(evaluate_ours, "denoiser", lambda _c: None)
    monkeypatch.setattr(anchoring, "anchor_bank", lambda _c: density_bank(64, 64, seed=1))
    # Six faces are few: under some keys chance gives every person the same anchor twice.
    drawn = np.random.default_rng(11)
    monkeypatch.setattr(attack, "secrets", SimpleNamespace(token_bytes=drawn.bytes))
    yield
    torch.set_num_threads(threads)


REDACTING = JobConfig(replace={"generator": None})
OWN = JobConfig(
    replace={"generator": "g", "attributes": "a", "encoder": "e", "denoiser": None},
    anchors={"bank": None},
)


def run(config, *only):
    figures = attack_faces(config, people(4, 1), people(5, 2), TINY, only, KEY)
    return figures, {(f.subject, f.protocol, f.metric): f for f in figures}


def test_untouched_faces_are_retrieved_and_a_grey_redaction_is_not():
    figures, found = run(REDACTING, "untouched", "redact")
    assert {f.protocol for f in figures} == {"inversion", "regression", "parrot"}
    keys = [(f.subject, f.dataset, f.encoder, f.metric) for f in figures]
    assert len(set(keys)) == len(keys)  # what identifies a row of `evaluations`
    untouched = found["untouched", "inversion", "inversion_same_photo_far_0.01"]
    redacted = found["redact", "inversion", "inversion_same_photo_far_0.01"]
    assert untouched.estimate.value > 0.8
    assert redacted.estimate.value < untouched.estimate.value
    assert untouched.estimate.n == 6


def test_every_figure_carries_the_size_of_the_attack():
    figures, _ = run(REDACTING, "blur")
    assert all(f.params["reverser_steps"] == 2 for f in figures)
    assert all(f.params["attacker_faces"] == 8 for f in figures)


def test_our_swap_is_attacked_after_each_cheap_defence_and_linked():
    names = ("swap", "swap_noise", "swap_fgsm", "swap_diffusion")
    figures, found = run(OWN, *names)
    assert {f.subject for f in figures} == {
        *names,
        "mask",
        "redact",
        "ours_same_key",
        "ours_different_keys",
        "ours_8_keys",
    }
    same = found["ours_same_key", "linkage", "linked_same_photo_far_0.01"].estimate
    other = found["ours_different_keys", "linkage", "linked_same_photo_far_0.01"].estimate
    assert same.value == 1
    assert other.value < 1  # the anchors differ, what surrounds the faces does not
    alone = found["mask", "linkage", "linked_other_photo_far_0.01"].estimate
    again = found["ours_same_key", "linkage", "linked_other_photo_far_0.01"].estimate
    assert alone.value < again.value == 1  # surroundings link fewer than one face kept does
    assert found["swap", "inversion", "inversion_same_photo_far_0.001"].bar == 0.02
    mean = found["ours_8_keys", "averaged", "averaged_rank1_other_photo"]
    assert (mean.estimate.n, mean.chance is not None) == (6, True)


def test_unknown_defences_and_lonely_people_are_refused():
    with pytest.raises(SetupError, match="no defence"):
        run(REDACTING, "swap")
    alone = people(3, 2).take([0, 2, 4])
    with pytest.raises(SetupError, match="nobody has two pictures"):
        attack_faces(REDACTING, people(3, 1), alone, TINY, (), KEY)


def test_quick_is_smaller_in_every_way():
    quick, full = AttackOptions.quick(), AttackOptions()
    assert quick.n_train < full.n_train
    assert quick.reverser.steps < full.reverser.steps
    assert max(quick.reverser.size.reverser) < max(full.reverser.size.reverser)
    assert "swap_parameter_noise" in OWN_DEFENCES


def test_another_painter_paints_the_same_anchors(monkeypatch):
    """Noise on a generator's weights changes its sha256, not who gets which anchor."""
    own = evaluate_ours.OwnReplacement(OWN, KEY)
    asked = []
    monkeypatch.setattr(evaluate_ours, "generator", lambda c: asked.append(c) or FromAnchor())
    other = own.painted_by("noisy.onnx")
    assert [c.replace.generator for c in asked] == ["noisy.onnx"]
    crops = np.random.default_rng(1).integers(0, 256, (6, 128, 128, 3), dtype=np.uint8)
    points = np.repeat(TEMPLATE_PX[None], 6, axis=0)
    vectors = [o.anchors_of_crops(crops, points, np.random.default_rng(3)) for o in (own, other)]
    assert np.array_equal(*vectors)


def test_the_target_oriented_swap_is_attacked_with_the_anchors_of_ours():
    own = evaluate_ours.OwnReplacement(OWN, KEY)
    crops = np.random.default_rng(1).integers(0, 256, (40, 128, 128, 3), dtype=np.uint8)
    points = np.repeat(TEMPLATE_PX[None], 40, axis=0)

    def paint(crops, anchors):
        return FromAnchor()(crops, anchors, anchors)

    core = np.s_[:, 60:80, 55:75]  # drawn whole by both; towards the rim ours is blended
    shown = [
        defence.treat(crops, points, np.random.default_rng(seed))[core]
        for defence in (TargetOriented(paint, own).defence(), own.defence())
        for seed in (3, 4)
    ]
    assert np.array_equal(shown[0], shown[2])
    assert np.array_equal(shown[1], shown[3])
    assert not np.array_equal(shown[0], shown[1])
    names = ("target_oriented", "untouched")
    figures = attack_faces(OWN, people(4, 1), people(5, 2), TINY, names, KEY, paint)
    assert {f.subject for f in figures} == set(names)
    assert {f.protocol for f in figures} == {"inversion", "regression", "parrot"}
    with pytest.raises(SetupError, match=r"no defence \['target_oriented'\]"):
        run(OWN, "target_oriented")
    with pytest.raises(SetupError, match=r"set replace\.generator"):
        attack_faces(REDACTING, people(4, 1), people(5, 2), TINY, (), KEY, paint)
