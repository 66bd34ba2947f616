"""The diffusion step at run time: drown the swapped face in fresh noise, recover it once.

Everything the step knows about the face comes from the swapped crop, after noise, and from the
conditions that the swap was given too: surroundings, the mean face's landmarks in this pose,
expression, gaze and length, the strength of the detail. By data processing it can therefore not add
anything about the original to what the swap was told. (Landmarks read anew off the swapped crop
would be no safer and cost 0.8 degrees of pose.)

Source: HYDRO (Rosberg et al. 2026), as far as it is published: de-identify, inject noise, one
recovery step. Noise: inverse of the normal distribution at uniform numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from scipy.special import ndtri

from deid_ops.diffuse.contract import DENOISER, RATIO_BASE_KEY, RATIO_MAX_KEY, RATIO_MIN_KEY
from deid_ops.errors import InvariantError, SetupError
from deid_ops.identity.vectors import unit_rows
from deid_ops.inference.contracts import check_contract
from deid_ops.inference.session import CPU, Runtime
from deid_ops.swap.attributes import BUCKETS
from deid_ops.swap.conditions import (
    FaceConditions,
    mask_planes,
    surroundings_of,
    to_planes,
)
from deid_ops.swap.contract import LIGHT_CELLS
from deid_ops.swap.generator import check_conditions, check_crops, finished
from deid_ops.types import F32, U8, Bool

ByteSource = Callable[[int], bytes]


def normal_noise(shape: tuple[int, ...], random_bytes: ByteSource) -> F32:
    """Draw standard normal numbers from a source of random bytes.

    Args:
        shape: of the result.
        random_bytes: returns as many bytes as asked for (for example `secrets.token_bytes`).

    Raises:
        InvariantError: the source returns another number of bytes.

    Example:
        >>> bool(abs(float(normal_noise((1,), lambda n: bytes([0, 0, 0, 128])[:n])[0])) < 1e-6)
        True
    """
    count = int(np.prod(shape))
    raw = random_bytes(4 * count)
    if len(raw) != 4 * count:
        raise InvariantError(f"noise source returned {len(raw)} bytes instead of {4 * count}")
    uniform = (np.frombuffer(raw, dtype="<u4").astype(np.float64) + 0.5) / 2.0**32
    return np.asarray(ndtri(uniform).reshape(shape), dtype=np.float32)


def without_cell_means(noise: F32, masks: Bool) -> F32:
    """Take from noise [n, 3, 128, 128] its mean over each of the 8x8 cells of the light.

    The averages over cells, within the masks [n, 128, 128], hold nothing but the light that the
    swap was told; noise in them hides nothing and would come out as coloured clouds. Outside the
    masks the result is 0.
    """
    n, channels, size, _ = noise.shape
    cell = size // LIGHT_CELLS
    shape = (LIGHT_CELLS, cell, LIGHT_CELLS, cell)
    inside = masks.reshape(n, 1, *shape)
    cells = noise.reshape(n, channels, *shape) * inside
    count = np.maximum(inside.sum(axis=(3, 5), keepdims=True), 1)
    means = cells.sum(axis=(3, 5), keepdims=True) / count.astype(np.float32)
    return np.asarray(((cells - means) * inside).reshape(noise.shape), dtype=np.float32)


class Denoiser:
    """One denoising evaluation, conditioned on the anchor.

    Args:
        path: denoiser, contract `diffuse/contract.py: DENOISER`.
        runtime: provider and threads.

    Raises:
        SetupError: a file is missing, does not fit, or lacks its noise levels.
    """

    def __init__(self, path: str, runtime: Runtime = CPU) -> None:
        self._model = runtime.open(path, BUCKETS, path)
        check_contract(self._model, DENOISER)
        self.ratio_base, self.ratio_min, self.ratio_max = _noise_levels(path)

    @property
    def provider(self) -> str:
        """What the denoiser really runs on."""
        return self._model.provider

    def __call__(
        self,
        swapped_bgr: U8,
        conditions: FaceConditions,
        anchors_unit: F32,
        noise_strength: float,
        random_bytes: ByteSource,
    ) -> U8:
        """Noise and recover swapped crops.

        Args:
            swapped_bgr: [n, 128, 128, 3] the generator's output.
            conditions: of the original faces, as given to the generator.
            anchors_unit: [n, 128] the identity that was painted.
            noise_strength: 1 is the level the network was tuned for; the ratio sigma / alpha is
                proportional and kept within the trained range.
            random_bytes: cryptographic source; the draw is used once and not kept.

        Returns:
            [n, 128, 128, 3] BGR; outside the faces' masks the input's own pixels.

        Raises:
            InvariantError: a shape differs, or the strength is not above 0.
        """
        check_crops(swapped_bgr, anchors_unit)
        check_conditions(conditions, len(swapped_bgr))
        if not noise_strength > 0.0:
            raise InvariantError(f"Denoiser: noise strength is {noise_strength}, must be above 0")
        planes = to_planes(swapped_bgr)
        ratio = float(np.clip(noise_strength * self.ratio_base, self.ratio_min, self.ratio_max))
        alpha = 1.0 / np.sqrt(1.0 + ratio**2)
        masks = conditions.masks()
        noise = without_cell_means(normal_noise(planes.shape, random_bytes), masks)
        feeds = {
            "surroundings_rgb": surroundings_of(planes, masks),
            "mask": mask_planes(masks),
            "noised": (alpha * (planes * 2.0 - 1.0) + alpha * ratio * noise).astype(np.float32),
            "points_px": conditions.points_px,
            "detail_rms": conditions.detail_rms,
            "anchor_unit": unit_rows(anchors_unit),
            "noise_ratio": np.full((len(planes), 1), ratio, dtype=np.float32),
        }
        return finished(self._model.run(feeds)["crop_rgb"], conditions, swapped_bgr)


def _noise_levels(path: str) -> tuple[float, float, float]:
    properties = {p.key: p.value for p in onnx.load(path, load_external_data=False).metadata_props}
    try:
        base, low, high = (
            float(properties[k]) for k in (RATIO_BASE_KEY, RATIO_MIN_KEY, RATIO_MAX_KEY)
        )
    except (KeyError, ValueError) as error:
        raise SetupError(
            f"{path}: the metadata lacks the noise levels ({RATIO_BASE_KEY}, ...); "
            "export the denoiser again with `deid train export`"
        ) from error
    if not 0.0 < low <= base <= high:
        raise SetupError(f"{path}: noise levels {low} <= {base} <= {high} do not hold")
    return base, low, high
