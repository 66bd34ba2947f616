"""Random inputs of the painters, shared by the tests of this folder."""

from __future__ import annotations

import numpy as np
import torch

from deid_ops.swap.crop import INNER_MASK
from deid_ops.swap.face_mask import part_rows
from deid_ops.swap.layout import N_POINTS


def inputs(n: int = 2) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(0)
    return (
        torch.rand((n, 3, 128, 128), generator=g),
        torch.rand((n, 3, 128, 128), generator=g) * 2 - 1,
        torch.rand((n, N_POINTS, 2), generator=g) * 128,
        torch.nn.functional.normalize(torch.randn((n, 128), generator=g)),
    )


def masks_of(n: int) -> torch.Tensor:
    return torch.from_numpy(INNER_MASK.astype(np.float32)).expand(n, 1, -1, -1)


def parts_of(n: int) -> torch.Tensor:
    return masks_of(n) * torch.from_numpy(part_rows())[None, :, :, None]
