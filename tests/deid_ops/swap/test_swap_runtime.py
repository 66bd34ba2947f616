"""Generator and denoiser at run time: contracts, leaks, noise."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import onnx
import pytest

from deid_ops.diffuse.contract import RATIO_BASE_KEY
from deid_ops.diffuse.denoiser import Denoiser, normal_noise
from deid_ops.errors import InvariantError, SetupError
from deid_ops.inference.session import Runtime
from deid_ops.swap.aim import aim_each
from deid_ops.swap.attributes import read_face_shape
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.contract import FACE_SHAPE_KEY
from deid_ops.swap.generator import Generator
from deid_ops.swap.layout import N_POINTS


def _faces(n: int) -> tuple[np.ndarray, FaceConditions, np.ndarray]:
    rng = np.random.default_rng(7)
    crops = rng.integers(0, 256, (n, 128, 128, 3), dtype=np.uint8)
    anchors = rng.normal(size=(n, 128)).astype(np.float32)
    points = rng.uniform(30, 100, (n, N_POINTS, 2)).astype(np.float32)
    told = FaceConditions(points, np.full((n, 6), 0.1, np.float32))
    return crops, told, anchors / np.linalg.norm(anchors, axis=1, keepdims=True)


class Bytes:
    """A reproducible byte source that counts what it gives."""

    def __init__(self, seed: int) -> None:
        self.seed, self.calls, self.total = seed, 0, 0

    def __call__(self, n: int) -> bytes:
        self.calls += 1
        self.total += n
        return hashlib.shake_256(f"{self.seed}/{self.calls}".encode()).digest(n)


def test_generator_paints_inside_only(swap_files) -> None:
    swap = Generator(swap_files.generator, swap_files.attributes, Runtime(threads=1))
    crops, told, anchors = _faces(3)
    out = swap(crops, told, anchors)
    assert out.shape == crops.shape
    assert out.dtype == np.uint8
    masks = told.masks()
    assert np.array_equal(out[~masks], crops[~masks])
    changed = swap(crops, told, np.roll(anchors, 1, axis=0))
    assert np.abs(changed.astype(int) - out)[masks].mean() > 0.5
    one_by_one = np.concatenate(
        [swap(crops[i : i + 1], told.take(np.array([i])), anchors[i : i + 1]) for i in range(3)]
    )
    assert np.abs(one_by_one.astype(int) - out).max() <= 1


def test_no_faces_is_no_work(swap_files) -> None:
    swap = Generator(swap_files.generator, swap_files.attributes, Runtime(threads=1))
    crops, _, anchors = _faces(1)
    nothing = swap.read(crops[:0])
    assert len(nothing) == 0
    assert swap(crops[:0], nothing, anchors[:0]).shape == (0, 128, 128, 3)


def test_conditions_are_read_off_the_original(swap_files) -> None:
    swap = Generator(swap_files.generator, swap_files.attributes, Runtime(threads=1))
    crops = _faces(2)[0]
    dull = (crops // 4 + 96).astype(np.uint8)
    told = FaceConditions.join([swap.read(crops), swap.read(dull)])
    assert told.points_px.shape == (4, N_POINTS, 2)
    assert told.detail_rms[2:] == pytest.approx(told.detail_rms[:2] / 4, abs=0.002)
    # a face of weaker detail is painted with weaker detail
    anchors = _faces(2)[2]
    even = np.full_like(crops, 128)
    strong, weak = (swap(even, told.take(rows), anchors) for rows in (np.r_[0, 1], np.r_[2, 3]))
    masks = told.masks()
    contrast = [o[m].astype(float).std() for o, m in ((strong, masks[:2]), (weak, masks[2:]))]
    assert contrast[1] < 0.5 * contrast[0]


def test_aiming_learns_nothing_of_the_face(swap_files) -> None:
    swap = Generator(swap_files.generator, swap_files.attributes, Runtime(threads=1))
    crops, told, anchors = _faces(2)
    as_large = np.tile(np.eye(2, 3, dtype=np.float32), (2, 1, 1))
    aimed = aim_each(swap, crops, told, anchors, as_large)
    assert np.abs(aimed.points_px - told.points_px).mean() > 0.1
    other = crops.copy()
    for face, mask in zip(other, told.masks(), strict=True):
        for y, x in np.ndindex(8, 8):  # another face with the same averages over cells
            cell = slice(16 * y, 16 * y + 16), slice(16 * x, 16 * x + 16)
            inside = mask[cell]
            face[cell][inside] = face[cell][inside][::-1]
    assert np.abs(other.astype(int) - crops)[told.masks()].mean() > 20
    again = aim_each(swap, other, told, anchors, as_large)
    assert np.allclose(aimed.points_px, again.points_px, atol=0.01)
    painted = swap(crops, aimed, anchors)
    assert not np.array_equal(painted, swap(crops, told, anchors))


@pytest.mark.parametrize("what", ["crops", "conditions", "anchors"])
def test_wrong_shapes_are_refused(swap_files, what: str) -> None:
    swap = Generator(swap_files.generator, swap_files.attributes, Runtime(threads=1))
    crops, told, anchors = _faces(2)
    values = {
        "crops": crops[:, :100] if what == "crops" else crops,
        "conditions": told.take(np.array([0])) if what == "conditions" else told,
        "anchors_unit": anchors[:1] if what == "anchors" else anchors,
    }
    with pytest.raises(InvariantError, match=what):
        swap(values["crops"], values["conditions"], values["anchors_unit"])


def test_denoiser_draws_fresh_noise_from_the_source(swap_files) -> None:
    diffuse = Denoiser(swap_files.denoiser, Runtime(threads=1))
    crops, told, anchors = _faces(2)
    first = Bytes(1)
    a = diffuse(crops, told, anchors, 1.0, first)
    assert first.total == 2 * 3 * 128 * 128 * 4
    assert np.array_equal(a, diffuse(crops, told, anchors, 1.0, Bytes(1)))
    b = diffuse(crops, told, anchors, 1.0, Bytes(2))
    masks = told.masks()
    assert np.abs(a.astype(int) - b)[masks].mean() > 0.5
    assert np.array_equal(a[~masks], crops[~masks])
    stronger = diffuse(crops, told, anchors, 1.5, Bytes(1))
    assert not np.array_equal(a, stronger)
    beyond = diffuse(crops, told, anchors, 50.0, Bytes(1))
    assert np.array_equal(beyond, diffuse(crops, told, anchors, 3.5 / 2.0, Bytes(1)))
    with pytest.raises(InvariantError, match="strength"):
        diffuse(crops, told, anchors, 0.0, Bytes(1))


def test_normal_noise_is_normal_and_refuses_short_sources() -> None:
    noise = normal_noise((200, 500), Bytes(3))
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.std()) - 1) < 0.01
    assert abs(float((np.abs(noise) > 1.96).mean()) - 0.05) < 0.004
    assert np.isfinite(normal_noise((4,), lambda n: b"\xff" * n)).all()
    with pytest.raises(InvariantError, match="noise source"):
        normal_noise((4,), lambda n: b"\0" * (n - 1))


def test_files_of_another_kind_are_refused(swap_files, tmp_path) -> None:
    with pytest.raises(SetupError, match="contract"):
        Generator(swap_files.denoiser, swap_files.attributes, Runtime(threads=1))
    bare = tmp_path / "attributes.onnx"
    model = onnx.load(swap_files.attributes)
    kept = [p for p in model.metadata_props if p.key != FACE_SHAPE_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    bare.write_bytes(model.SerializeToString())
    with pytest.raises(SetupError, match="mean face"):
        read_face_shape(str(bare))
    level = tmp_path / "denoiser.onnx"
    shutil.copy(swap_files.denoiser, level)
    model = onnx.load(str(level))
    for p in model.metadata_props:
        if p.key == RATIO_BASE_KEY:
            p.value = "9"
    level.write_bytes(model.SerializeToString())
    with pytest.raises(SetupError, match="noise levels"):
        Denoiser(str(level), Runtime(threads=1))
