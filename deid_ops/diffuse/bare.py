"""Swap and diffusion on bare crops, without frames, tracks or gates: for measuring the networks."""

from __future__ import annotations

import hashlib

import numpy as np

from deid_ops.diffuse.denoiser import Denoiser
from deid_ops.inference.session import Runtime
from deid_ops.swap.aim import aim_each
from deid_ops.swap.face_mask import blended, drawn_weights
from deid_ops.swap.generator import Generator
from deid_ops.types import F32, U8


class BarePainter:
    """The painters as the job runs them, one batch of crops at a time.

    Args:
        generator_path: generator.
        attributes_path: attribute network.
        denoiser_path: denoiser; None where only the swap is wanted.
        runtime: of all three.

    Raises:
        SetupError: a file is missing or does not fit its contract.
    """

    def __init__(
        self,
        generator_path: str,
        attributes_path: str,
        denoiser_path: str | None,
        runtime: Runtime,
    ) -> None:
        self._generator = Generator(generator_path, attributes_path, runtime)
        self._denoiser = None if denoiser_path is None else Denoiser(denoiser_path, runtime)

    def __call__(
        self, crops_bgr: U8, anchors_unit: F32, noise_strength: float = 1.0, seed: int = 0
    ) -> U8:
        """Paint the anchors, noise and recover them where there is a denoiser, blend them in.

        Args:
            crops_bgr: [n, 128, 128, 3] crops of `deid_ops/swap/crop.py`.
            anchors_unit: [n, 128].
            noise_strength: see `Denoiser`.
            seed: of the noise, which is no secret here.
        """
        told = self._generator.read(crops_bgr)
        as_large = np.repeat(np.eye(2, 3, dtype=np.float32)[None], len(crops_bgr), axis=0)
        told = aim_each(self._generator, crops_bgr, told, anchors_unit, as_large)
        painted = self._generator(crops_bgr, told, anchors_unit)
        if self._denoiser is not None:
            secret = seed.to_bytes(8, "big")
            painted = self._denoiser(
                painted,
                told,
                anchors_unit,
                noise_strength,
                lambda n: hashlib.shake_256(secret).digest(n),
            )
        return blended(crops_bgr, painted, drawn_weights(told.masks()))
