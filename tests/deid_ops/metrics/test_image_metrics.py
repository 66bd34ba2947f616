import numpy as np
import pytest

from deid_ops.errors import InvariantError
from deid_ops.metrics.image import psnr, ssim, ssim_map


@pytest.fixture
def picture():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
    return np.kron(base, np.ones((8, 8, 1), np.uint8))


def test_equal_pictures(picture):
    assert psnr(picture, picture) == float("inf")
    assert ssim(picture, picture) == pytest.approx(1.0)


def test_mask_ignores_what_lies_inside(picture):
    changed = picture.copy()
    changed[20:60, 20:60] = 0
    outside = np.ones(picture.shape[:2], bool)
    outside[20:60, 20:60] = False
    assert psnr(picture, changed, outside) == float("inf")
    assert psnr(picture, changed) < 20


def test_noise_lowers_both_in_order(picture):
    rng = np.random.default_rng(1)

    def noisy(sigma):
        noise = rng.normal(0, sigma, picture.shape)
        return np.clip(picture + noise, 0, 255).astype(np.uint8)

    weak, strong = noisy(3), noisy(25)
    assert psnr(picture, weak) > psnr(picture, strong)
    assert ssim(picture, weak) > ssim(picture, strong)
    assert ssim_map(picture, strong).shape == picture.shape[:2]


def test_known_value():
    a = np.full((16, 16), 100, np.uint8)
    assert psnr(a, a + 5) == pytest.approx(10 * np.log10(255**2 / 25))


def test_wrong_shapes_and_empty_masks_are_refused(picture):
    with pytest.raises(InvariantError, match="differ"):
        psnr(picture, picture[:-1])
    with pytest.raises(InvariantError, match="no pixel"):
        psnr(picture, picture, np.zeros(picture.shape[:2], bool))
