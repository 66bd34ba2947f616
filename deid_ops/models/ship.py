"""From trained weights to the files that ship, each with its contract, metadata and check."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from deid_ops.diffuse.contract import DENOISER, RATIO_BASE_KEY, RATIO_MAX_KEY, RATIO_MIN_KEY
from deid_ops.inference.contracts import ModelContract, TensorSpec
from deid_ops.models.attributes import AttributeExport, AttributeNet
from deid_ops.models.encoder import CompactEncoder, EncoderExport
from deid_ops.models.export import Parity, check_parity, export_onnx
from deid_ops.models.facedancer import FaceDancer, FaceDancerExport
from deid_ops.models.generator import DenoiserExport, GeneratorExport, LeakProofGenerator
from deid_ops.swap.contract import ATTRIBUTES, FACE_SHAPE_KEY, GENERATOR, IDENTITY_DIM
from deid_ops.swap.crop import CROP_SIZE_PX, ENCODER_SIZE_PX, INNER_MASK
from deid_ops.swap.layout import N_POINTS
from deid_ops.swap.retarget import FaceShape
from deid_ops.swap.target import TARGET_ORIENTED

ENCODER = ModelContract(
    "encoder",
    inputs=(
        TensorSpec(
            "faces_rgb",
            "float32",
            ("n", 3, ENCODER_SIZE_PX, ENCODER_SIZE_PX),
            (-1.0, 1.0),
            "RGB, ArcFace template of 112 px",
        ),
    ),
    outputs=(TensorSpec("identity_unit", "float32", ("n", IDENTITY_DIM), (-1.0, 1.0), "unit"),),
)
#: Largest difference to PyTorch that half-precision weights may cause, by contract.
LIMITS = {
    "attributes": 0.5,
    "generator": 0.02,
    "denoiser": 0.02,
    "encoder": 0.01,
    "target_oriented": 0.02,
}
#: Strengths of detail that an export is traced with.
_DETAIL_RMS = torch.tensor([[0.06, 0.09, 0.08, 0.02, 0.04, 0.03], [0.02] * 6])


@dataclass(frozen=True, slots=True)
class Shipped:
    """A finished file with the result of its check."""

    model: onnx.ModelProto
    parity: Parity


def ship_attributes(net: AttributeNet, shape: FaceShape, about: Mapping[str, str]) -> Shipped:
    """Export the attribute network together with its mean face."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        mean_xyz=shape.mean_xyz.astype(np.float32),
        basis_xyz=shape.basis_xyz.astype(np.float16),
    )
    face = {FACE_SHAPE_KEY: base64.b64encode(buffer.getvalue()).decode()}
    return _ship(AttributeExport(net), [_images(2)], ATTRIBUTES, {**about, **face})


def ship_generator(net: LeakProofGenerator, about: Mapping[str, str]) -> Shipped:
    """Export the swap."""
    images, points, identity = _images(2), _points(2), _unit(2)
    light = images[:, :, ::16, ::16].contiguous()
    inputs = [images, _mask(2), light, points, _DETAIL_RMS, identity]
    return _ship(GeneratorExport(net), inputs, GENERATOR, about)


def ship_denoiser(
    net: LeakProofGenerator, ratios: tuple[float, float, float], about: Mapping[str, str]
) -> Shipped:
    """Export the diffusion step.

    Args:
        net: the same network as the generator, or its own.
        ratios: sigma / alpha at strength 1, smallest, largest.
        about: metadata.
    """
    keys = (RATIO_BASE_KEY, RATIO_MIN_KEY, RATIO_MAX_KEY)
    levels = {key: f"{value:g}" for key, value in zip(keys, ratios, strict=True)}
    generator = torch.Generator().manual_seed(2)
    noised = torch.randn((2, 3, CROP_SIZE_PX, CROP_SIZE_PX), generator=generator)
    ratio = torch.full((2, 1), ratios[0])
    inputs = [_images(2), _mask(2), noised, _points(2), _DETAIL_RMS, _unit(2), ratio]
    return _ship(DenoiserExport(net), inputs, DENOISER, {**about, **levels})


def ship_encoder(net: CompactEncoder, about: Mapping[str, str]) -> Shipped:
    """Export the conditioning encoder."""
    faces = _images(2)[:, :, :ENCODER_SIZE_PX, :ENCODER_SIZE_PX].contiguous() * 2.0 - 1.0
    return _ship(EncoderExport(net), [faces], ENCODER, about)


def ship_target_oriented(net: FaceDancer, about: Mapping[str, str]) -> Shipped:
    """Export the target-oriented swap."""
    return _ship(FaceDancerExport(net), [_images(2), _unit(2)], TARGET_ORIENTED, about)


def _ship(
    net: nn.Module, inputs: Sequence[Tensor], contract: ModelContract, about: Mapping[str, str]
) -> Shipped:
    model = export_onnx(net, inputs, contract, about)
    # Another batch length than the one that was traced.
    three = [torch.cat([value, value[:1]]) for value in inputs]
    feeds = {spec.name: value for spec, value in zip(contract.inputs, three, strict=True)}
    return Shipped(model, check_parity(net, model, feeds, LIMITS[contract.name]))


def _images(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand((n, 3, CROP_SIZE_PX, CROP_SIZE_PX), generator=generator)


def _mask(n: int) -> Tensor:
    return torch.from_numpy(np.asarray(INNER_MASK, dtype=np.float32)).expand(n, 1, -1, -1).clone()


def _points(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand((n, N_POINTS, 2), generator=generator) * CROP_SIZE_PX


def _unit(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.nn.functional.normalize(torch.randn((n, IDENTITY_DIM), generator=generator))
