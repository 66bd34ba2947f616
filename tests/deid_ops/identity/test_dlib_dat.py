"""dlib's ResNet as ONNX: equal to dlib itself, and nothing but that file is accepted."""

import cv2
import numpy as np
import pytest
from skimage import data

from deid_ops.errors import SetupError
from deid_ops.identity.dlib_dat import _Reader, face_resnet_graph, read_face_resnet
from deid_ops.inference.session import OrtModel
from jobs.weights import resolve


@pytest.fixture(scope="module")
def dat_file():
    try:
        return resolve("dlib_resnet")
    except SetupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def chips():
    """A face, a cat, noise, flat grey, coarse colours: BGR chips."""
    rng = np.random.default_rng(3)
    face = cv2.resize(data.astronaut()[40:200, 150:310, ::-1], (150, 150))
    cat = cv2.resize(data.chelsea()[..., ::-1], (150, 150))
    noise = rng.integers(0, 256, (150, 150, 3)).astype(np.uint8)
    coarse = cv2.resize(noise[:5, :5], (150, 150), interpolation=cv2.INTER_CUBIC)
    return np.stack([face, cat, noise, np.full_like(noise, 128), coarse])


def test_equals_dlib(dat_file, chips):
    dlib = pytest.importorskip("dlib", reason="dlib-bin, the reference, is not installed")
    reference = dlib.face_recognition_model_v1(str(dat_file))
    expected = [
        np.array(reference.compute_face_descriptor(np.ascontiguousarray(chip[..., ::-1])))
        for chip in chips
    ]
    graph = face_resnet_graph(read_face_resnet(dat_file)).SerializeToString()
    found = OrtModel(graph, buckets=(2, 4)).run({"chips_bgr": chips})["descriptor"]
    assert found.shape == (5, 128)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    # the five are different, so that equality means something
    assert min(np.linalg.norm(found[i] - found[j]) for i in range(5) for j in range(i)) > 0.1


@pytest.mark.parametrize("keep", [0, 10, 400, -1])
def test_a_cut_file_is_refused(dat_file, tmp_path, keep):
    cut = tmp_path / "cut.dat"
    cut.write_bytes(dat_file.read_bytes()[:keep])
    with pytest.raises(SetupError, match=r"cut\.dat: is not dlib's face recognition ResNet"):
        read_face_resnet(cut)


def test_other_networks_are_refused(dat_file, tmp_path):
    content = dat_file.read_bytes()
    longer = tmp_path / "longer.dat"
    longer.write_bytes(content + b"\x01\x01")
    with pytest.raises(SetupError, match="2 bytes are left over"):
        read_face_resnet(longer)
    other = tmp_path / "other.dat"
    other.write_bytes(content.replace(b"loss_metric_2", b"loss_mmod_001", 1))
    with pytest.raises(SetupError, match="loss_mmod_001"):
        read_face_resnet(other)


@pytest.mark.parametrize(
    ("raw", "value"),
    [(b"\x00", 0), (b"\x01\x05", 5), (b"\x02\x80\x12", 0x1280), (b"\x81\x18", -0x18)],
)
def test_integers(raw, value):
    assert _Reader(raw).integer() == value


def test_reals():
    # 0.5 = 1 * 2 ** -1
    assert _Reader(b"\x01\x01\x81\x01").real() == 0.5
