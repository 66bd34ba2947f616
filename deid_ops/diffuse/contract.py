"""Contract of the diffusion step as an ONNX file.

Metadata of the file: `noise_ratio_base`, `noise_ratio_min`, `noise_ratio_max` (sigma / alpha; the
range the network was trained on, and the level that strength 1 stands for).
"""

from __future__ import annotations

from deid_ops.inference.contracts import ModelContract, TensorSpec
from deid_ops.swap.contract import ANCHOR, CROP, DETAIL, MASK, POINTS, SURROUNDINGS
from deid_ops.swap.crop import CROP_SIZE_PX

RATIO_BASE_KEY = "noise_ratio_base"
RATIO_MIN_KEY = "noise_ratio_min"
RATIO_MAX_KEY = "noise_ratio_max"

DENOISER = ModelContract(
    "denoiser",
    inputs=(
        SURROUNDINGS,
        MASK,
        TensorSpec(
            "noised",
            "float32",
            ("n", 3, CROP_SIZE_PX, CROP_SIZE_PX),
            None,
            "alpha x + sigma e: x the swapped crop in [-1, 1], alpha^2 + sigma^2 = 1, "
            "e standard normal less its mean over the mask's part of each cell of 16x16 px, "
            "0 outside the mask",
        ),
        POINTS,
        DETAIL,
        ANCHOR,
        TensorSpec("noise_ratio", "float32", ("n", 1), (0.0, 10.0), "sigma / alpha"),
    ),
    outputs=(CROP,),
)
