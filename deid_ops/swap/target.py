"""The target-oriented swap at run time: a network that sees the very face it changes.

A baseline beside the project's own replacement: one pass of a FaceDancer-like network (Rosberg et
al. 2023) over the untouched crop, no diffusion. What it copies from the face it copies unseen, so
its figures say what a swap alone is worth; nothing that is published comes from it.
"""

from __future__ import annotations

import numpy as np

from deid_ops.errors import SetupError
from deid_ops.identity.vectors import unit_rows
from deid_ops.inference.contracts import ModelContract, TensorSpec, check_contract
from deid_ops.inference.session import CPU, Runtime
from deid_ops.swap.attributes import BUCKETS
from deid_ops.swap.conditions import to_bgr, to_planes
from deid_ops.swap.contract import IDENTITY_DIM, crop_spec
from deid_ops.swap.generator import check_crops
from deid_ops.types import F32, U8

TARGET_ORIENTED = ModelContract(
    "target_oriented",
    inputs=(
        crop_spec("crops_rgb", "RGB, the whole untouched crop"),
        TensorSpec("anchor_unit", "float32", ("n", IDENTITY_DIM), (-1.0, 1.0), "unit length"),
    ),
    outputs=(crop_spec("crop_rgb", "RGB, painted everywhere"),),
)


class TargetOrientedSwap:
    """A network of the contract `TARGET_ORIENTED`.

    Args:
        path: ONNX file, for example of `deid train export --facedancer`.
        runtime: provider and threads.

    Raises:
        SetupError: the file is missing, is no ONNX model, or does not fit the contract.

    Example:
        >>> swap = TargetOrientedSwap("target_oriented.onnx")  # doctest: +SKIP
        >>> swap(crops_bgr, anchors_unit).shape  # doctest: +SKIP
        (7, 128, 128, 3)
    """

    def __init__(self, path: str, runtime: Runtime = CPU) -> None:
        self._model = runtime.open(path, BUCKETS, path)
        check_contract(self._model, TARGET_ORIENTED)

    @property
    def provider(self) -> str:
        """What the network really runs on."""
        return self._model.provider

    def __call__(self, crops_bgr: U8, anchors_unit: F32) -> U8:
        """Paint the anchors' identities onto the faces.

        Args:
            crops_bgr: [n, 128, 128, 3] crops of `deid_ops/swap/crop.py`, uint8.
            anchors_unit: [n, 128], scaled to unit length here.

        Returns:
            [n, 128, 128, 3] BGR uint8. Outside `INNER_MASK` it may differ from the input: paste it
            with a mask.

        Raises:
            InvariantError: a shape or type differs.
            SetupError: the network returned a number that is not finite.
        """
        check_crops(crops_bgr, anchors_unit)
        feeds = {"crops_rgb": to_planes(crops_bgr), "anchor_unit": unit_rows(anchors_unit)}
        painted = self._model.run(feeds)["crop_rgb"]
        if not np.isfinite(painted).all():
            raise SetupError(f"{self._model.source}: its output is not finite; train it again")
        return to_bgr(painted)
