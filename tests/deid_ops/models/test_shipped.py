"""The files that ship: sizes, cards, contracts, and that they do what they are for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from skimage import data

from deid_ops.anchors.bank import load_bank
from deid_ops.diffuse.denoiser import Denoiser
from deid_ops.identity.encoders import Encoder
from deid_ops.inference.session import Runtime
from deid_ops.swap.aim import aim_each
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.crop import apply_matrices, crop_matrices, invert_matrices, warp_crop
from deid_ops.swap.generator import Generator
from jobs.config import load_config
from jobs.models import first_detector

WEIGHTS = Path(__file__).parents[3] / "configs" / "weights"
NAMES = ("attributes", "encoder", "generator", "denoiser")


def _crops(n: int) -> np.ndarray:
    """Smooth skin-coloured crops."""
    rng = np.random.default_rng(0)
    coarse = 110 + rng.integers(0, 60, (n, 4, 4, 3))
    return coarse.repeat(32, axis=1).repeat(32, axis=2).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_file_size_and_card(name: str) -> None:
    path = WEIGHTS / f"{name}.onnx"
    assert path.stat().st_size <= (4e6 if name == "attributes" else 5e6)
    assert onnx.load(path).metadata_props
    card = (WEIGHTS / f"{name}.md").read_text()
    for word in ("non-commercial research", "deid train", "## Limits"):
        assert word in card, word


def test_generator_and_denoiser_paint_an_anchor() -> None:
    bank = load_bank(WEIGHTS / "anchors.npz").vectors_unit
    attributes = str(WEIGHTS / "attributes.onnx")
    crops = _crops(2)
    swap = Generator(str(WEIGHTS / "generator.onnx"), attributes, Runtime(threads=1))
    told = swap.read(crops)
    out = swap(crops, told, bank[:2])
    masks = told.masks()
    assert np.array_equal(out[~masks], crops[~masks])
    other = swap(crops, told, bank[5:7])
    assert np.abs(other.astype(int) - out)[masks].mean() > 1.0
    # on an even ground a face appears, as strong as the original's detail is said to be
    even = np.full_like(crops, 140)
    clear, faint = (FaceConditions(told.points_px, np.full((2, 6), v, "f4")) for v in (0.08, 0.01))
    assert swap(even, clear, bank[:2])[masks].astype(float).std() > 8.0
    assert 1.0 < swap(even, faint, bank[:2])[masks].astype(float).std() < 5.0
    diffuse = Denoiser(str(WEIGHTS / "denoiser.onnx"), Runtime(threads=1))

    def fresh(n: int) -> bytes:
        return hashlib.shake_256(b"test").digest(n)

    noised = diffuse(out, told, bank[:2], 1.0, fresh)
    assert np.array_equal(noised[~masks], crops[~masks])
    assert np.abs(noised.astype(int) - out)[masks].mean() > 0.5


def test_aiming_brings_the_painted_face_nearer_to_what_was_read() -> None:
    image = np.ascontiguousarray(data.astronaut()[..., ::-1])
    (face,) = first_detector(load_config(None, ("inference.threads=1",))).detect([image])
    (matrix,) = crop_matrices(face.landmarks_xy_px)
    crops = np.repeat(warp_crop(image, matrix)[None], 8, axis=0)
    anchors = load_bank(WEIGHTS / "anchors.npz").vectors_unit[:8]
    runtime = Runtime(threads=1)
    swap = Generator(str(WEIGHTS / "generator.onnx"), str(WEIGHTS / "attributes.onnx"), runtime)
    told = swap.read(crops)
    aimed = aim_each(swap, crops, told, anchors, np.repeat(matrix[None], 8, axis=0))
    assert np.array_equal(aimed.detail_rms, told.detail_rms)

    def missed_px(conditions: FaceConditions) -> float:
        seen = swap.read(swap(crops, conditions, anchors))
        return float(np.linalg.norm(seen.points_px - told.points_px, axis=-1).mean())

    assert 0.2 < missed_px(told) < 3.0
    assert missed_px(aimed) < 0.6 * missed_px(told)


def test_a_face_is_found_where_it_is() -> None:
    """However a detector has placed the crop, the points lie at the same place of the image."""
    image = np.ascontiguousarray(data.astronaut()[..., ::-1])
    (face,) = first_detector(load_config(None, ("inference.threads=1",))).detect([image])
    size_px = float(np.linalg.norm(face.landmarks_xy_px[0, 1] - face.landmarks_xy_px[0, 0]))
    shifts = np.float32([[0, 0], [0.06, 0], [0, 0.06], [-0.06, 0.04]]) * size_px
    matrices = crop_matrices(face.landmarks_xy_px + shifts[:, None])
    runtime = Runtime(threads=1)
    swap = Generator(str(WEIGHTS / "generator.onnx"), str(WEIGHTS / "attributes.onnx"), runtime)
    found = swap.find_points(np.stack([warp_crop(image, matrix) for matrix in matrices]))
    in_image = apply_matrices(invert_matrices(matrices), found)
    off = np.linalg.norm(in_image - in_image[:1], axis=2).mean(axis=1) / size_px
    assert off.max() < 0.025  # of what a crop was moved by, more than half is made good
    assert np.linalg.norm(in_image - face.landmarks_xy_px, axis=2).mean() < 0.12 * size_px


def test_anchors_are_apart_and_described() -> None:
    bank = load_bank(WEIGHTS / "anchors.npz")
    assert len(bank) >= 512
    pairs = bank.vectors_unit @ bank.vectors_unit.T - 2 * np.eye(len(bank))
    assert 1 - pairs.max() >= 0.3 - 1e-4
    assert "min_distance_to_training" in bank.meta


def test_the_anchors_appearance_is_of_the_shipped_generator() -> None:
    bank = load_bank(WEIGHTS / "anchors.npz")
    assert bank.appearance is not None
    painter = hashlib.sha256((WEIGHTS / "generator.onnx").read_bytes()).hexdigest()
    assert bank.appearance.painter_sha256 == painter
    assert bank.appearance.encoder == "dlib"  # the first judge of the default configuration


def test_the_bank_says_how_it_was_drawn() -> None:
    bank = load_bank(WEIGHTS / "anchors.npz")
    meta = json.loads(bank.meta)
    assert len(bank) == meta["config"]["n_anchors"]
    assert meta["min_distance_to_training"] >= meta["config"]["min_to_training"]
    pairs = bank.vectors_unit @ bank.vectors_unit.T - 2 * np.eye(len(bank))
    assert 1 - pairs.max() == pytest.approx(meta["pairwise_distance_min"], abs=1e-3)
    assert meta["density_of"] == "synthetic4k_256.tar"  # nobody real is in the density
    assert meta["n_density"] == 4000 < meta["n_training"]
    assert meta["sex"] == [-0.35, 0.8]  # not clearly of one sex
    assert meta["unwanted"] > 0
    assert meta["readings"]["sex"]["right"] > 0.95


def test_encoder_speaks_unit_vectors() -> None:
    encoder = Encoder("own", str(WEIGHTS / "encoder.onnx"), Runtime(threads=1))
    vectors = encoder.embed_crops(_crops(3)[:, :112, 8:120])
    assert vectors.shape == (3, 128)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
