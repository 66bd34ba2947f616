"""The demo's people: detectors find each of them, and a judge takes them for different people."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
import pytest

from deid_ops.detect.faces import find_faces
from deid_ops.errors import SetupError
from deid_ops.types import F32, U8, Faces
from jobs import models
from jobs.config import load_config
from jobs.fleet.drives import ANNA, BEA, CLEO
from jobs.fleet.people import Person
from jobs.fleet.street import Light, Street

CONFIG = load_config(None, ("inference.threads=1", "detect.embed_every_n_frames=1"))
PEOPLE = {"anna": ANNA, "bea": BEA, "cleo": CLEO}
#: Width of the face and tilt of the head in each frame.
VIEWS = ((64, 0), (80, 3), (96, -3), (72, -2), (110, 2))
CENTRE = (300.0, 140.0)


@pytest.fixture(scope="module")
def frames() -> dict[str, list[U8]]:
    return {name: list(map(partial(frame, name), range(len(VIEWS)))) for name in PEOPLE}


@pytest.fixture(scope="module")
def vectors(frames: dict[str, list[U8]]) -> dict[str, F32]:
    try:
        judge = models.judge_encoders(CONFIG)["dlib"]
    except SetupError as error:
        pytest.skip(str(error))
    detector = models.first_detector(CONFIG)
    params = models.detect_params(CONFIG)
    return {
        name: find_faces(enumerate(images), detector, judge, params).embedding
        for name, images in frames.items()
    }


def frame(name: str, number: int) -> U8:
    street = Street((640, 360), 0.0, 5.0, Light(noise_sigma=3.0), number)
    image = street.frame(number / 4)
    face_px, tilt_degrees = VIEWS[number]
    Person(*PEOPLE[name]).draw(image, CENTRE, face_px, tilt_degrees)
    return street.expose(image)


def assert_one_face_a_frame(found: Faces) -> None:
    assert found.frame_index.tolist() == list(range(len(VIEWS)))
    low, high = found.boxes_xyxy_px[:, None, :2], found.boxes_xyxy_px[:, None, 2:]
    assert ((found.landmarks_xy_px > low) & (found.landmarks_xy_px < high)).all()
    middle = found.landmarks_xy_px.mean(axis=1)
    widths = np.array([face_px for face_px, _ in VIEWS])
    assert (np.linalg.norm(middle - CENTRE, axis=1) < 0.4 * widths).all()


@pytest.mark.parametrize("name", PEOPLE)
def test_the_first_detector_finds_each_person(frames: dict[str, list[U8]], name: str) -> None:
    detector, params = models.first_detector(CONFIG), models.detect_params(CONFIG)
    assert_one_face_a_frame(find_faces(enumerate(frames[name]), detector, None, params))


@pytest.mark.parametrize("name", PEOPLE)
def test_the_second_detector_finds_each_person(frames: dict[str, list[U8]], name: str) -> None:
    detector, params = models.second_detector(CONFIG), models.audit_detect_params(CONFIG)
    assert_one_face_a_frame(find_faces(enumerate(frames[name]), detector, None, params))


def test_a_judge_tells_the_people_apart(vectors: dict[str, F32]) -> None:
    within = max(float((1 - own @ own.T).max()) for own in vectors.values())
    between = {
        (a, b): float((1 - vectors[a] @ vectors[b].T).min()) for a, b in combinations(vectors, 2)
    }
    # portraits of one face in other colours are hardly farther apart than frames of one person
    assert min(between.values()) > 3 * within, f"{between}, within one person {within}"


def test_a_person_is_made_once() -> None:
    assert Person(*BEA)._sprite is Person(*BEA)._sprite
