"""Networks on disk: averaged weights of a training, shipped ONNX files, a blank network."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import onnx
import torch

from deid_ops.errors import SetupError
from deid_ops.models.attributes import AttributeNet
from deid_ops.models.encoder import CompactEncoder
from deid_ops.models.export import load_weights
from deid_ops.models.facedancer import FaceDancer, FaceDancerConfig
from deid_ops.swap.layout import N_POINTS

NetT = TypeVar("NetT", bound=torch.nn.Module)


def use_threads(n: int) -> None:
    """Let PyTorch use `n` processor threads."""
    torch.set_num_threads(n)


def start_from(net: NetT, path: Path | None) -> NetT | None:
    """Return the network with a shipped file's weights; None where no file is given.

    Raises:
        SetupError: the file is missing or of another network.
    """
    if path is None:
        return None
    if not path.is_file():
        raise SetupError(f"{path}: no such file to start from")
    try:
        load_weights(net, onnx.load(path))
    except SetupError as error:
        raise SetupError(
            f"{path}: cannot start from this file, train without it: {error}"
        ) from error
    return net


def trained(net: NetT, path: Path) -> NetT:
    """Return the network with averaged weights from a training's folder.

    Raises:
        SetupError: the training has not been run.
    """
    net.load_state_dict(_averaged(path))
    return net.eval()


def trained_encoder(path: Path) -> CompactEncoder:
    """Return a trained encoder, with the wide reading or, from before there was one, without.

    Raises:
        SetupError: the training has not been run.
    """
    has_wide = any(name.startswith("wide.") for name in _averaged(path))
    return trained(CompactEncoder() if has_wide else CompactEncoder(wide=0), path)


def trained_facedancer(path: Path) -> FaceDancer:
    """Return a trained target-oriented generator, as wide as it was trained.

    Raises:
        SetupError: the training has not been run.
    """
    return trained(FaceDancer(FaceDancerConfig.of_weights(_averaged(path))), path)


def _averaged(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise SetupError(f"{path}: not trained yet; run the matching `deid train` command first")
    state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def save_weights(net: torch.nn.Module, path: Path) -> None:
    """Write a network's weights for `trained`."""
    torch.save(net.state_dict(), path)


def blank_attributes() -> AttributeNet:
    """Return an attribute network that waits for its weights."""
    return AttributeNet(torch.zeros(N_POINTS, 2))
