"""Painted faces among the lessons of the attribute network, which reads them in the job.

The job paints a face, reads what came out and moves what it tells the painter against the
difference (`deid_ops/swap/aim.py`). What the network misreads of painted faces, and of no other,
thus stays in every published face. So some of the pictures of a lesson are painted first, by the
shipped painters and as the job paints, and the teachers say what shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deid_ops.diffuse.denoiser import Denoiser
from deid_ops.pipeline.swap import Painter
from deid_ops.swap.crop import crop_matrices, warp_crop
from deid_ops.swap.face_mask import blended, drawn_weights
from deid_ops.types import F32, U8


@dataclass(frozen=True)
class Repainter:
    """Paints synthetic identities over some of a batch's faces.

    Attributes:
        paint: the generator.
        denoise: the diffusion step.
        anchors_unit: [m, 128] identities to paint.
        share: of the pictures that are painted.
        diffused_share: of these, that go through the diffusion step and are blended as they are
            published; the others are as `aim_each` reads them.
    """

    paint: Painter
    denoise: Denoiser
    anchors_unit: F32
    share: float = 0.4
    diffused_share: float = 0.5

    def __call__(self, crops_rgb: U8, rng: np.random.Generator) -> U8:
        """Return crops [n, 128, 128, 3] of which some were painted.

        These are cut anew where the network finds the face, as `deid_ops/pipeline/place.py` does.
        """
        chosen = np.flatnonzero(rng.random(len(crops_rgb)) < self.share)
        if len(chosen) == 0:
            return crops_rgb
        crops = self._placed(np.ascontiguousarray(crops_rgb[chosen][..., ::-1]))
        anchors = self.anchors_unit[rng.integers(0, len(self.anchors_unit), len(chosen))]
        told = self.paint.read(crops)
        painted = self.paint(crops, told, anchors)
        diffused = np.flatnonzero(rng.random(len(chosen)) < self.diffused_share)
        if len(diffused):
            of = told.take(diffused)
            new = self.denoise(painted[diffused], of, anchors[diffused], 1.0, rng.bytes)
            painted[diffused] = blended(crops[diffused], new, drawn_weights(of.masks()))
        out = np.array(crops_rgb)
        out[chosen] = painted[..., ::-1]
        return out

    def _placed(self, crops_bgr: U8) -> U8:
        matrices = crop_matrices(self.paint.find_points(crops_bgr))
        pairs = zip(crops_bgr, matrices, strict=True)
        return np.stack([warp_crop(crop, matrix) for crop, matrix in pairs])
