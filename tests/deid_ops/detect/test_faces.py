"""`find_faces`: rotation, embedding stride, batches, order."""

import numpy as np
import pytest

from deid_ops.detect.base import Detections
from deid_ops.detect.faces import DetectParams, find_faces
from deid_ops.errors import SetupError
from deid_ops.geometry import rotate_image


class MarkerDetector:
    """Finds the five bright points painted by `frame_with`; one face at most."""

    name, provider = "marker", "cpu"

    def __init__(self):
        self.batches = []

    def detect(self, images_bgr):
        self.batches.append(len(images_bgr))
        return [self._one(image) for image in images_bgr]

    def _one(self, image):
        marks = [np.argwhere(image[..., 0] == 10 + k)[:, ::-1] for k in range(5)]
        if any(len(m) == 0 for m in marks):
            return Detections.empty()
        points = np.array([m.mean(axis=0) for m in marks], np.float32)
        low, high = points.min(axis=0) - 5, points.max(axis=0) + 5
        return Detections(np.array([[*low, *high]]), points[None], np.array([0.9]))


class MeanEncoder:
    """A vector that tells how often it was asked."""

    dim = 3

    def __init__(self):
        self.calls = 0

    def crop(self, image_bgr, landmarks_xy_px):
        return np.zeros((len(landmarks_xy_px), 4, 4, 3), np.uint8)

    def embed_crops(self, crops_bgr):
        self.calls += len(crops_bgr)
        return np.tile(np.array([[1.0, 0, 0]], np.float32), (len(crops_bgr), 1))


POINTS = np.array([[30, 20], [50, 20], [41, 30], [33, 40], [48, 40]])


def frame_with(shift=(0, 0), size_wh=(160, 100)):
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for k, (x, y) in enumerate(POINTS + shift):
        image[y, x, 0] = 10 + k
    return image


@pytest.mark.parametrize("rotation_deg", [0, 90, -90, 180])
def test_faces_come_back_in_the_coded_frame(rotation_deg):
    shown = frame_with()
    coded = rotate_image(shown, -rotation_deg)
    faces = find_faces([(4, coded)], MarkerDetector(), None, DetectParams(), rotation_deg)
    assert faces.frame_index.tolist() == [4]
    for k, (x, y) in enumerate(faces.landmarks_xy_px[0].round().astype(int)):
        assert coded[y, x, 0] == 10 + k
    x0, y0, x1, y1 = faces.boxes_xyxy_px[0]
    assert (faces.landmarks_xy_px[0] >= [x0, y0]).all()
    assert (faces.landmarks_xy_px[0] <= [x1, y1]).all()
    assert faces.eye_distance_px[0] == pytest.approx(20)
    assert faces.embedding.shape == (1, 0)


def test_embeddings_on_the_stride_and_for_new_faces():
    # index 6: the face jumps away; 9: it is back after a frame without a face
    shifts = {2: (0, 0), 3: (1, 0), 4: (2, 0), 5: (3, 0), 6: (90, 40), 7: (91, 40), 9: (91, 40)}
    frames = [
        (i, frame_with(shifts[i]) if i in shifts else np.zeros((100, 160, 3), np.uint8))
        for i in range(2, 10)
    ]
    encoder = MeanEncoder()
    params = DetectParams(embed_every_n_frames=5, batch=3)
    detector = MarkerDetector()
    faces = find_faces(iter(frames), detector, encoder, params)
    assert detector.batches == [3, 3, 2]
    assert faces.frame_index.tolist() == [2, 3, 4, 5, 6, 7, 9]
    assert faces.frame_index[faces.has_embedding].tolist() == [2, 5, 6, 9]
    assert encoder.calls == 4
    norms = np.linalg.norm(faces.embedding, axis=1)
    np.testing.assert_array_equal(norms, faces.has_embedding.astype(np.float32))


def test_the_guard_sees_the_embedded_faces_that_are_large_enough():
    frames = [(i, frame_with((2 * i, i))) for i in range(7)]
    guard, params = MeanEncoder(), DetectParams(embed_every_n_frames=3)
    faces = find_faces(frames, MarkerDetector(), MeanEncoder(), params, guard=guard)
    seen = faces.guard_vector.any(axis=1)
    assert faces.guard_vector.shape == (7, 3)
    np.testing.assert_array_equal(seen, faces.has_embedding)
    assert faces.frame_index[seen].tolist() == [0, 3, 6]
    wide = DetectParams(embed_every_n_frames=3, guard_eyes_min_px=21.0)  # they are 20 px apart
    none = find_faces(frames, MarkerDetector(), MeanEncoder(), wide, guard=guard)
    assert not none.guard_vector.any()
    assert none.has_embedding.sum() == guard.calls == 3


def test_the_batch_length_changes_nothing():
    frames = [(i, frame_with((2 * i, i))) for i in range(7)]
    one, many = (
        find_faces(frames, MarkerDetector(), MeanEncoder(), DetectParams(batch=b)) for b in (1, 4)
    )
    for name in type(one).__dataclass_fields__:
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))


def test_no_faces_no_frames_and_small_faces():
    empty = np.zeros((50, 50, 3), np.uint8)
    assert len(find_faces([(0, empty)], MarkerDetector(), MeanEncoder(), DetectParams())) == 0
    nothing = find_faces([], MarkerDetector(), MeanEncoder(), DetectParams())
    assert nothing.embedding.shape == (0, 3)
    large_only = DetectParams(min_face_px=200)
    assert len(find_faces([(0, frame_with())], MarkerDetector(), None, large_only)) == 0


def test_a_face_whose_points_coincide_is_kept_without_embedding():
    class Collapsed(MarkerDetector):
        def _one(self, image):
            return Detections(np.array([[5, 5, 40, 40]]), np.full((1, 5, 2), 20.0), np.array([0.9]))

    faces = find_faces([(0, frame_with())], Collapsed(), MeanEncoder(), DetectParams())
    assert faces.has_embedding.tolist() == [False]
    assert faces.turn.tolist() == [1.0]


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"embed_every_n_frames": 0}, {"nms_iou": 1.5}])
def test_senseless_parameters_are_refused(wrong):
    with pytest.raises(SetupError, match="detect"):
        DetectParams(**wrong)
