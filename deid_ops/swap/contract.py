"""Contracts of the swap: the attribute network and the generator, as ONNX files.

Anyone's network with these names and shapes can take the place of the shipped ones.
"""

from __future__ import annotations

from deid_ops.inference.contracts import ModelContract, TensorSpec
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.swap.layout import N_EXPRESSION, N_POINTS

IDENTITY_DIM = 128
LIGHT_CELLS = 8
FINE_CELLS = 32  # what is finer than these cells is the second band of detail
N_STRENGTHS = 6  # of detail: two bands in three parts of the face
#: Key of the attribute file's metadata that holds the mean face (`face_shape.npz`, base64).
FACE_SHAPE_KEY = "face_shape_npz_base64"


def crop_spec(name: str, meaning: str, channels: int = 3) -> TensorSpec:
    """Describe a tensor of whole crops, [n, channels, 128, 128] float32 in [0, 1]."""
    shape = ("n", channels, CROP_SIZE_PX, CROP_SIZE_PX)
    return TensorSpec(name, "float32", shape, (0.0, 1.0), meaning)


ATTRIBUTES = ModelContract(
    "attributes",
    inputs=(crop_spec("crops_rgb", "RGB crops of deid_ops/swap/crop.py"),),
    outputs=(
        TensorSpec("points_px", "float32", ("n", N_POINTS, 2), None, "landmarks in crop pixels"),
        TensorSpec("pose_deg", "float32", ("n", 3), (-180.0, 180.0), "roll, pitch, yaw"),
        TensorSpec("expression", "float32", ("n", N_EXPRESSION), (0.0, 1.0), "coefficients"),
    ),
)

SURROUNDINGS = crop_spec(
    "surroundings_rgb", "RGB; zero inside the mask, the crop's own pixels outside"
)
MASK = crop_spec("mask", "1 where the face is replaced, see deid_ops/swap/face_mask.py", 1)
POINTS = TensorSpec(
    "points_px", "float32", ("n", N_POINTS, 2), None, "retargeted landmarks in crop pixels"
)
DETAIL = TensorSpec(
    "detail_rms",
    "float32",
    ("n", N_STRENGTHS),
    (0.0, 1.0),
    "strength of the original's detail, RMS of its brightness inside the mask: between cells of "
    "16 and 4 px on forehead, eyes and nose, mouth and chin; finer than 4 px on the same",
)
ANCHOR = TensorSpec(
    "anchor_unit", "float32", ("n", IDENTITY_DIM), (-1.0, 1.0), "identity to paint, unit length"
)
CROP = crop_spec("crop_rgb", "RGB; outside the mask equal to surroundings_rgb")

GENERATOR = ModelContract(
    "generator",
    inputs=(
        SURROUNDINGS,
        MASK,
        TensorSpec(
            "light_rgb",
            "float32",
            ("n", 3, LIGHT_CELLS, LIGHT_CELLS),
            (0.0, 1.0),
            "RGB for cells of 16x16 px: the face's light as `swap/light.py` tells it; beside six "
            "strengths, all that is known of the face's pixels",
        ),
        POINTS,
        DETAIL,
        ANCHOR,
    ),
    outputs=(CROP,),
)
