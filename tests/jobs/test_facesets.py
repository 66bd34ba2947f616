import io
import logging
import tarfile

import cv2
import numpy as np
import pytest

from deid_ops.detect.base import Detections
from deid_ops.errors import SetupError
from jobs.facesets import load_face_set

MARKS = np.float32([[20, 20], [40, 20], [30, 30], [22, 42], [38, 42]])


class BrightSquare:
    """Finds two faces on bright pictures, the larger one second, and none on dark ones."""

    name, provider = "square", "cpu"

    def detect(self, images_bgr):
        small = [[0, 0, 5, 5], [10, 10, 50, 55]]
        hit = Detections(np.float32(small), np.stack([MARKS * 0.1, MARKS]), np.float32([0.9, 0.8]))
        return [hit if image.mean() > 50 else Detections.empty() for image in images_bgr]


def picture(level):
    return cv2.imencode(".png", np.full((64, 64, 3), level, np.uint8))[1].tobytes()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "people.tar"
    files = {"Ada_0001.png": 200, "Ada_0002.png": 180, "Bob_0001.png": 160, "Cleo_0001.png": 10}
    with tarfile.open(path, "w") as tar:
        for name, level in files.items():
            data = picture(level)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_people_and_largest_faces_are_read_and_dark_pictures_left_out(archive, monkeypatch):
    said = []
    logger = logging.getLogger("deid.facesets")
    monkeypatch.setattr(logger, "warning", lambda text, *values: said.append(text % values))
    faces = load_face_set(archive, BrightSquare)
    assert faces.name == "people"
    assert faces.person.tolist() == [0, 0, 1]
    assert np.array_equal(faces.landmarks_xy_px[2], MARKS)
    assert len(said) == 1
    assert said[0].endswith("no face found in 1 pictures")


def test_a_limit_keeps_people_who_can_be_searched(archive):
    assert load_face_set(archive, BrightSquare, limit=2).person.tolist() == [0, 0]


def test_a_limit_can_be_spread_over_all_names(archive):
    spread = load_face_set(archive, BrightSquare, limit=3, keep_people_together=False)
    levels = [int(image.mean()) for image in spread.images_bgr]
    assert levels == [200, 180]  # Ada, Ada, and Cleo, whose picture is too dark
    assert len(load_face_set(archive, BrightSquare, limit=9, keep_people_together=False)) == 3


def test_a_landmark_table_makes_the_detector_unnecessary(archive):
    rows = ["file,eye_left_x_px,eye_left_y_px,eye_right_x_px,eye_right_y_px,nose_x_px,nose_y_px,"
            "mouth_left_x_px,mouth_left_y_px,mouth_right_x_px,mouth_right_y_px"]  # fmt: skip
    numbers = ",".join(str(v) for v in (MARKS + 1).ravel())
    rows += [f"{n}.png,{numbers}" for n in ("Ada_0001", "Ada_0002", "Bob_0001", "Cleo_0001")]
    archive.with_name("people_landmarks.csv").write_text("\n".join(rows))

    def never():
        raise AssertionError("the detector was asked for")

    faces = load_face_set(archive, never)
    assert len(faces) == 4
    assert np.array_equal(faces.landmarks_xy_px[0], MARKS + 1)


def test_a_source_without_faces_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.png").write_bytes(picture(5))
    with pytest.raises(SetupError, match="1 pictures, but only 0 with a face"):
        load_face_set(tmp_path / "empty", BrightSquare)
    with pytest.raises(SetupError, match="folder or a tar"):
        load_face_set(tmp_path / "missing", BrightSquare)
