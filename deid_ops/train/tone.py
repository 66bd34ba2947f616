"""Painted faces have, on average, the tones of the faces they replace, place by place.

What a painter adds to every face tells nobody apart, and neither the encoders nor a critic that
looks through them objects: lower lips paler than the skin, orange eyes, two locks on each forehead,
stripes on chins. On average over many faces such a habit is a difference of two means, and that can
be taken away without asking that any single face look like its original.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from deid_ops.models.generator import MAP_SIZE, bare_skin
from deid_ops.swap.crop import CROP_SIZE_PX

_CELL_PX = CROP_SIZE_PX // MAP_SIZE
_COARSE = 3  # of the maps' pixels: features of different people lie that far apart
_FRONTAL_DEG = 15.0  # of yaw and pitch; further off, places are no longer the same
_CLEAR = 0.008  # of the range: a habit that counts fully


class PaintersHabits(nn.Module):
    """Running means of painted less photographed, as far as they can be told at each place.

    Near features only what is smooth counts, because features of different people do not lie in
    the same places while painted ones do; on bare skin everything does.
    """

    smooth: Tensor
    sharp: Tensor

    def __init__(self, memory: float = 0.99) -> None:
        super().__init__()
        self.memory = memory
        for name in ("smooth", "sharp"):
            self.register_buffer(name, torch.zeros(3, MAP_SIZE, MAP_SIZE))

    def forward(
        self, painted01: Tensor, images01: Tensor, weight: Tensor, heat: Tensor, pose_deg: Tensor
    ) -> Tensor:
        """Remember a batch, and return a loss whose gradient pulls it off the habits, a scalar.

        Args:
            painted01: [n, 3, 128, 128].
            images01: [n, 3, 128, 128] the faces that they replace.
            weight: [n, 1, 128, 128] 1 where both show the face.
            heat: [n, groups, 64, 64] of `HeatMaps`.
            pose_deg: [n, 3] roll, pitch, yaw.
        """
        frontal = (pose_deg[:, 1:].abs() < _FRONTAL_DEG).all(1)
        if not bool(frontal.any()):
            return painted01.new_zeros(())
        weight = weight[frontal]
        apart = functional.avg_pool2d((painted01 - images01)[frontal] * weight, _CELL_PX)
        share = functional.avg_pool2d(weight, _CELL_PX)
        even = functional.avg_pool2d(apart, _COARSE, 1, _COARSE // 2)
        bare = apart * bare_skin(heat[frontal])
        return self._pull("smooth", even, share) + self._pull("sharp", bare, share)

    def _pull(self, name: str, apart: Tensor, share: Tensor) -> Tensor:
        mean = apart.sum(0) / (share.sum(0) + 1.0)
        habit: Tensor = getattr(self, name)
        habit.mul_(self.memory).add_(mean.detach(), alpha=1.0 - self.memory)
        return (torch.tanh(habit / _CLEAR) * mean).mean()

    def strength(self) -> float:
        """Return how strong the habits are, as a share of the range."""
        return float(self.smooth.abs().mean() + self.sharp.abs().mean())
