"""Figures of the conditioning encoder and the attribute network."""

from pathlib import Path

import numpy as np
import pytest

from deid_ops.errors import SetupError
from deid_ops.inference.session import Runtime
from deid_ops.metrics.faceset import FaceSet
from deid_ops.swap.attributes import AttributeReader
from deid_ops.swap.crop import TEMPLATE_PX
from deid_ops.train.teachers import Teachers
from jobs.config import JobConfig
from jobs.evaluate_networks import agreement_figures, encoder_figures, network_figures
from jobs.facesets import load_face_set

WEIGHTS = Path(__file__).parents[2] / "configs" / "weights"


def made(person):
    n = len(person)
    images = tuple(np.full((150, 150, 3), 90, np.uint8) for _ in range(n))
    marks = np.repeat(TEMPLATE_PX[None] + 11, n, axis=0)
    return FaceSet("made", images, marks, np.array(person))


def vectors(person, spread, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(person) + 1, 32))
    rows = centres[person] + spread * rng.normal(size=(len(person), 32))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_an_encoder_that_tells_people_apart_is_told_from_one_that_does_not():
    person = np.repeat(np.arange(40), 2)
    good, bad = (
        {f.metric: f for f in encoder_figures(vectors(person, s), made(person), (1e-2,))}
        for s in (0.2, 30.0)
    )
    assert good["auc"].estimate.value > 0.999
    assert good["auc"].estimate.n == 40
    assert good["tar_far_0.01"].estimate.value == 1
    assert good["eer"].estimate.value < 0.01
    low, high = bad["auc"].estimate.ci_low, bad["auc"].estimate.ci_high
    assert low < 0.5 < high  # a guesser lies within the interval
    assert bad["tar_far_0.01"].estimate.value < 0.2
    assert {f.bar for f in good.values()} == {0.985, None}


def test_strangers_alone_measure_nothing():
    person = np.arange(4)
    with pytest.raises(SetupError, match="nobody has two pictures"):
        list(encoder_figures(vectors(person, 0.1), made(person), (1e-2,)))


def test_networks_must_be_configured():
    config = JobConfig(replace={"generator": None})
    with pytest.raises(SetupError, match=r"replace\.encoder"):
        list(network_figures(config, made([0, 0]), (1e-2,), None))


@pytest.mark.shared
def test_the_attribute_network_agrees_with_its_teachers(shared_dir):
    faces = load_face_set(
        shared_dir / "faces" / "synthetic4k_256.tar", lambda: pytest.fail("has landmarks"), limit=24
    )
    network = AttributeReader(str(WEIGHTS / "attributes.onnx"), Runtime(threads=1))
    teachers = Teachers(shared_dir / "models", 1)
    found = {(f.subject, f.metric): f for f in agreement_figures(network, teachers, faces)}
    shift = {s: found[s, "landmark_shift_percent"].estimate.value for s, m in found}
    assert shift["attributes"] < 4
    # drawing the mean face costs the person's shape; reading it wrongly comes on top
    assert 1 < shift["teachers_retargeted"] < shift["attributes_retargeted"] < 8
    assert found["teachers_retargeted", "gaze_shift_deg"].estimate.value < 1
    assert found["teachers_retargeted", "pose_error_deg"].estimate.value == 0
    assert found["attributes", "gaze_shift_deg"].estimate.value < 6
    assert found["attributes", "pose_error_deg"].estimate.value < 4
    assert found["attributes", "landmark_shift_percent"].estimate.n >= 20
