import cv2
import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.metrics.faceset import FaceSet, number_people, person_of_file, split_people


@pytest.fixture
def faces():
    image = np.zeros((200, 160, 3), np.uint8)
    marks = np.float32([[50, 80], [110, 80], [80, 110], [60, 140], [100, 140]])
    for x, y in marks:
        cv2.circle(image, (int(x), int(y)), 6, (255, 255, 255), -1)
    return FaceSet("set", (image, image), np.stack([marks, marks]), np.array([0, 1]))


def test_shrinking_keeps_landmarks_on_their_pixels(faces):
    small = faces.shrunk(20)
    assert small.name == "set@20px"
    assert small.eye_distance_px == pytest.approx([20, 20], abs=0.5)
    grey = cv2.cvtColor(small.images_bgr[0], cv2.COLOR_BGR2GRAY).astype(float)
    for x, y in small.landmarks_xy_px[0]:
        patch = grey[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4]
        ys, xs = np.mgrid[-3:4, -3:4]
        assert (patch * xs).sum() / patch.sum() + round(x) == pytest.approx(x, abs=0.35)
        assert (patch * ys).sum() / patch.sum() + round(y) == pytest.approx(y, abs=0.35)


def test_small_faces_are_not_enlarged(faces):
    assert faces.shrunk(100).images_bgr[0] is faces.images_bgr[0]


def test_other_sizes_are_refused(faces):
    with pytest.raises(InvariantError, match="became"):
        faces.with_images([faces.images_bgr[0], np.zeros((3, 3, 3), np.uint8)])


@pytest.mark.parametrize(
    ("file", "person"),
    [
        ("Ada_Lovelace_0002.webp", "Ada_Lovelace"),
        ("set/Ada_Lovelace_0002.webp", "Ada_Lovelace"),
        ("ada/portrait.png", "ada"),
        ("portrait.png", "portrait"),
    ],
)
def test_person_of_file(file, person):
    assert person_of_file(file) == person


def test_no_person_is_on_both_sides():
    person = number_people([f"p{i % 40}" for i in range(200)])
    train, held = split_people(person, 300, seed=1)
    assert len(set(person[train])) == 28
    assert not set(person[train]) & set(person[held])
    assert sorted([*train, *held]) == list(range(200))
    assert list(split_people(person, 300, seed=1)[1]) == list(held)
    assert list(split_people(person, 300, seed=2)[1]) != list(held)
