import cv2
import numpy as np
import pytest

from deid_ops.attacks.defences import (
    Defence,
    apply_defence,
    baselines,
    k_same,
    mask,
    pixelate,
    uniform_noise,
)
from deid_ops.errors import InvariantError
from deid_ops.metrics.faceset import FaceSet
from deid_ops.swap.crop import INNER_MASK, TEMPLATE_PX


@pytest.fixture
def faces(rng):
    images = []
    for _ in range(7):
        base = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
        images.append(cv2.resize(base, (200, 200), interpolation=cv2.INTER_CUBIC))
    marks = np.repeat(TEMPLATE_PX[None] + 30, 7, axis=0)
    return FaceSet("set", tuple(images), marks, np.arange(7))


@pytest.mark.parametrize("defence", baselines(), ids=lambda d: d.name)
def test_nothing_changes_outside_the_mask(faces, defence):
    treated = apply_defence(faces, defence, seed=1)
    pairs = zip(faces.images_bgr, treated.faces.images_bgr, treated.changed, strict=True)
    for before, after, changed in pairs:
        assert np.array_equal(before[~changed], after[~changed])
        assert 0 <= changed.mean() < 0.5
    differs = any(
        not np.array_equal(a, b)
        for a, b in zip(faces.images_bgr, treated.faces.images_bgr, strict=True)
    )
    assert differs == (defence.name != "untouched")


def test_mask_leaves_nothing_inside(faces):
    treated = apply_defence(faces, mask(100), seed=1)
    inner = np.zeros((200, 200), bool)
    inner[30 : 30 + 128, 30 : 30 + 128] = INNER_MASK
    inside = cv2.erode(inner.astype(np.uint8), np.ones((5, 5))) > 0
    assert all(set(np.unique(image[inside])) == {100} for image in treated.faces.images_bgr)


def test_mosaic_has_one_value_per_cell(rng):
    crops = rng.integers(0, 255, (2, 128, 128, 3), dtype=np.uint8)
    out = pixelate(8).treat(crops, np.zeros((2, 5, 2), np.float32), rng)
    cells = out.reshape(2, 8, 16, 8, 16, 3)
    assert (cells == cells[:, :, :1, :, :1]).all()
    assert cells[0, 3, 0, 4, 0] == pytest.approx(
        crops[0, 48:64, 64:80].reshape(-1, 3).mean(axis=0), abs=1
    )


def test_k_same_makes_groups_that_share_a_face(rng):
    two_people = rng.integers(0, 255, (2, 16, 16, 3), dtype=np.uint8)
    crops = np.stack([cv2.resize(two_people[i % 2], (128, 128)) for i in range(6)])
    out = k_same(3).treat(crops, np.zeros((6, 5, 2), np.float32), rng)
    assert np.array_equal(out[0], out[2])
    assert not np.array_equal(out[0], out[1])
    with pytest.raises(InvariantError, match="2 faces for k = 3"):
        k_same(3).treat(crops[:2], np.zeros((2, 5, 2), np.float32), rng)


def test_noise_has_the_strength_asked_for_and_follows_the_seed(faces, rng):
    crops = np.full((1, 128, 128, 3), 128, np.uint8)
    out = uniform_noise(0.15).treat(crops, np.zeros((1, 5, 2), np.float32), rng)
    assert np.abs(out.astype(int) - 128).max() in {19, 20}
    first, again, other = (apply_defence(faces, uniform_noise(), seed=s) for s in (5, 5, 6))
    assert all(map(np.array_equal, first.faces.images_bgr, again.faces.images_bgr))
    assert not any(map(np.array_equal, first.faces.images_bgr, other.faces.images_bgr))


def test_a_defence_that_breaks_the_contract_is_named(faces):
    wrong = Defence("wrong", lambda crops, _p, _r: crops[:, :64])
    with pytest.raises(InvariantError, match="wrong: returned"):
        apply_defence(faces, wrong, seed=0)
