import base64
import io

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from skimage import data

from deid_ops.errors import SetupError
from deid_ops.inference.session import Runtime
from deid_ops.metrics.utility import READER_SIZE_PX, FaceAttributes, attribute_drift
from deid_ops.swap.contract import FACE_SHAPE_KEY
from deid_ops.swap.crop import EYE_DISTANCE_PX, crop_matrices, warp_crop
from deid_ops.swap.layout import N_EXPRESSION, N_POINTS, position_of
from jobs.attribute_readers import OwnReader, TeacherReader
from jobs.config import load_config
from jobs.models import first_detector, own_attribute_reader


def looking(right_px):
    """Landmarks of an upright face whose irises lie `right_px` right of the eyes' middle."""
    points = np.random.default_rng(0).uniform(20, 100, (N_POINTS, 2))
    places = {
        33: (30, 50), 133: (48, 50), 362: (72, 50), 263: (90, 50),
        468: (39 + right_px, 50), 473: (81 + right_px, 50), 10: (60, 10), 152: (60, 110),
    }  # fmt: skip
    for mesh_index, place in places.items():
        points[position_of(mesh_index)] = place
    return points.astype(np.float32)


@pytest.fixture
def network(tmp_path):
    """A network that says the same of every crop: landmarks, pose (3, -5, 20), expression 0.25."""
    values = {
        "points_px": looking(18 * 0.4 * np.sin(np.radians(12)))[None],
        "pose_deg": np.float32([[3, -5, 20]]),
        "expression": np.full((1, N_EXPRESSION), 0.25, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMax", ["crops_rgb"], ["top"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Sub", ["top", "top"], ["zero"]),
    ]
    weights, outputs = [], []
    for name, value in values.items():
        ones = np.array([-1] + [1] * (value.ndim - 1), np.int64)
        weights += [numpy_helper.from_array(value, f"{name}_is")]
        weights += [numpy_helper.from_array(ones, f"{name}_shape")]
        nodes += [helper.make_node("Reshape", ["zero", f"{name}_shape"], [f"{name}_zero"])]
        nodes += [helper.make_node("Add", [f"{name}_zero", f"{name}_is"], [name])]
        shape = ["n", *value.shape[1:]]
        outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
    crops = helper.make_tensor_value_info("crops_rgb", TensorProto.FLOAT, ["n", 3, 128, 128])
    graph = helper.make_graph(nodes, "attributes", [crops], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    buffer = io.BytesIO()
    mean = np.random.default_rng(1).normal(size=(N_POINTS, 3)).astype(np.float32)
    np.savez(
        buffer,
        mean_xyz=mean,
        basis_xyz=np.zeros((N_EXPRESSION, N_POINTS, 3), np.float32),
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = FACE_SHAPE_KEY, base64.b64encode(buffer.getvalue()).decode()
    path = tmp_path / "attributes.onnx"
    onnx.save(model, str(path))
    return str(path)


def test_own_network_gives_pose_gaze_and_expression(network):
    reader, crops = OwnReader(network, Runtime(threads=1)), np.zeros((3, 256, 256, 3), np.uint8)
    read, mirrored = reader.both_ways(crops)
    assert read.points_xy_px.shape == (3, N_POINTS, 2)
    assert read.gaze_deg == pytest.approx(np.repeat([[12, 0]], 3, axis=0), abs=0.05)
    assert read.expression == pytest.approx(np.full((3, N_EXPRESSION), 0.25))
    angle = np.degrees(np.arccos((np.trace(read.rotation[0]) - 1) / 2))
    assert 19 < angle < 23
    assert read.present.all()
    assert mirrored.gaze_deg == pytest.approx(np.repeat([[-12, 0]], 3, axis=0), abs=0.05)
    mean = reader.read(crops)  # a network that says the same of every crop looks straight ahead
    assert mean.gaze_deg == pytest.approx(np.zeros((3, 2)), abs=0.05)
    assert mean.rotation[:, 0, 2] == pytest.approx(np.zeros(3), abs=1e-6)
    assert mean.expression == pytest.approx(np.full((3, N_EXPRESSION), 0.25))


def test_the_shipped_network_sees_how_far_a_portrait_moved():
    config = load_config(None, ("replace.attributes=attributes", "inference.threads=1"))
    image = np.ascontiguousarray(data.astronaut()[..., ::-1])
    (face,) = first_detector(config).detect([image])
    (matrix,) = crop_matrices(face.landmarks_xy_px)
    moved = matrix.copy()
    moved[0, 2] += 3.0  # crop pixels
    crops = np.stack([warp_crop(image, m, READER_SIZE_PX) for m in (matrix, matrix, moved)])
    read = own_attribute_reader(config).read(crops)

    def rows(*chosen):
        names = FaceAttributes.__dataclass_fields__
        return FaceAttributes(*(getattr(read, name)[list(chosen)] for name in names))

    drift = attribute_drift(rows(0, 0), rows(1, 2), EYE_DISTANCE_PX)
    for name in ("landmark_shift_percent", "pose_deg", "gaze_deg", "expression"):
        assert getattr(drift, name)[0] == pytest.approx(0, abs=1e-3), name
    assert drift.landmark_shift_percent[1] == pytest.approx(300 / EYE_DISTANCE_PX, rel=0.2)
    assert drift.pose_deg[1] < 2


def test_without_a_name_there_is_no_reader():
    without = load_config(None, ("replace.generator=null", "replace.attributes=null"))
    assert own_attribute_reader(without) is None


def test_missing_teachers_are_named(tmp_path):
    with pytest.raises(SetupError, match=r"mp_face_landmarks\.onnx.*--teachers"):
        TeacherReader(tmp_path)


@pytest.mark.shared
def test_teachers_see_a_mirrored_face_mirrored(shared_dir):
    from deid_ops.metrics.attributes import rotation_angle_deg
    from jobs.facesets import load_face_set

    def never():
        raise AssertionError("landmarks come from the table")

    faces = load_face_set(shared_dir / "faces" / "synthetic4k_256.tar", never, limit=4)
    matrices = crop_matrices(faces.landmarks_xy_px)
    pairs = zip(faces.images_bgr, matrices, strict=True)
    crops = np.stack([warp_crop(image, matrix, 256) for image, matrix in pairs])
    reader = TeacherReader(shared_dir / "models", threads=1)
    seen, mirrored = reader.read(crops), reader.read(np.ascontiguousarray(crops[:, :, ::-1]))
    assert seen.present.all()
    flip = np.diag([-1.0, 1.0, 1.0])
    expected = (flip @ seen.rotation.astype(float) @ flip).astype(np.float32)
    assert rotation_angle_deg(expected, mirrored.rotation).max() < 0.5
    assert np.abs(seen.gaze_deg[:, 0] + mirrored.gaze_deg[:, 0]).max() < 0.5
    first, second = reader.both_ways(crops)
    assert rotation_angle_deg(first.rotation, second.rotation).mean() < 6
    apart = np.linalg.norm(first.points_xy_px - second.points_xy_px, axis=2).mean()
    assert 0.05 < apart < 0.06 * EYE_DISTANCE_PX
