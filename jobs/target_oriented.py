"""The target-oriented swap as a subject of `deid evaluate` and a defence of `deid attack`.

A baseline: the face itself goes through one network, without diffusion and without a judge. It
shows the anchors that the project's own replacement would show, so the two differ in the painting
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from deid_ops.attacks.defences import Defence, Treated, apply_defence
from deid_ops.errors import SetupError
from deid_ops.metrics.faceset import FaceSet
from deid_ops.swap.crop import blend_mask
from deid_ops.types import F32, U8
from jobs.config import JobConfig
from jobs.evaluate_ours import OwnReplacement
from jobs.models import runtime_of
from jobs.weights import resolve, sha256_of

#: (crops [n, 128, 128, 3] BGR uint8, anchors [n, 128] unit) -> crops
PaintAnchors = Callable[[U8, F32], U8]
TARGET_ORIENTED = "target_oriented"
_BATCH = 32


def open_target_oriented(
    config: JobConfig, name: str | None, asked: Collection[str]
) -> PaintAnchors | None:
    """Open the network of `--target-oriented`; None where the option is not given.

    Args:
        config: providers and threads.
        name: what the option says: a locked weight or a file.
        asked: subjects or defences that are named.

    Raises:
        SetupError: the file is missing or of another kind, or the treatment is asked for without
            it.
    """
    if name is None:
        if TARGET_ORIENTED in asked:
            raise SetupError(
                f"{TARGET_ORIENTED} needs its network: --target-oriented {TARGET_ORIENTED} (the "
                "shipped one) or FILE.onnx, which `deid train export --facedancer FOLDER` writes"
            )
        return None
    from deid_ops.swap.target import TargetOrientedSwap

    return TargetOrientedSwap(str(resolve(name)), runtime_of(config))


def target_oriented_sha(name: str | None) -> dict[str, str]:
    """Return the file's sha256 for the provenance of a report; nothing without a file."""
    return {} if name is None else {TARGET_ORIENTED: sha256_of(name)}


class TargetOriented:
    """The swap with the anchors of the project's own replacement.

    Args:
        paint: the network.
        own: chooses the anchors; None where no replacement is configured.

    Raises:
        SetupError: there is nothing to choose anchors with.
    """

    def __init__(self, paint: PaintAnchors, own: OwnReplacement | None) -> None:
        if own is None:
            raise SetupError(
                f"{TARGET_ORIENTED} shows the anchors of the replacement it is compared with: set "
                "replace.generator, replace.attributes and replace.encoder"
            )
        self._paint, self._own = paint, own

    def treated(self, faces: FaceSet) -> Treated:
        """Return the set after the swap, each picture with the anchor that `ours` shows first."""
        anchors = self._own.anchors_of_pictures(faces)
        whole_set = Defence(
            TARGET_ORIENTED, lambda crops, _points, _rng: self._in_batches(crops, anchors)
        )
        return apply_defence(faces, whole_set, seed=0, weights=blend_mask())

    def defence(self) -> Defence:
        """Return the swap as a defence; anchors are drawn anew, as for `swap_diffusion`."""

        def treat(crops: U8, points: F32, rng: np.random.Generator) -> U8:
            return self._in_batches(crops, self._own.anchors_of_crops(crops, points, rng))

        return Defence(TARGET_ORIENTED, treat)

    def _in_batches(self, crops: U8, anchors: F32) -> U8:
        parts = [
            self._paint(crops[i : i + _BATCH], anchors[i : i + _BATCH])
            for i in range(0, len(crops), _BATCH)
        ]
        return np.concatenate(parts) if parts else crops
