"""Decide whether a quantised file may stand in for its float file, on feeds neither was fitted to.

Figures are differences to the float file's outputs, so every limit is a largest value. The limits
are those of use, not of what quantisation happens to reach: a code or two of 8-bit video is not
seen, a third of a pixel is the landmarks' own jitter, and nothing in the project is decided by a
cosine distance of 0.01.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from deid_ops.errors import SetupError
from deid_ops.inference.session import Array, OrtModel, Runtime
from deid_ops.models.quantise import Feeds, Quantiser
from deid_ops.swap.crop import INNER_MASK

_PAINTED = {"mean_codes": 1.5, "worst_face_codes": 3.0}
#: Contract to figure to its largest value; see `differences` for their meaning.
LIMITS: Mapping[str, Mapping[str, float]] = {
    "encoder": {"cosine_distance_mean": 0.01, "cosine_distance_p99": 0.02},
    "attributes": {
        "points_mean_px": 0.3,
        "points_p99_px": 1.0,
        "pose_mean_deg": 0.5,
        "expression_mean": 0.01,
    },
    "generator": _PAINTED,
    "denoiser": _PAINTED,
}
#: Shares of the convolutions, the most sensitive ones, that stay float; tried in this order.
KEPT_FLOAT = (0.0, 0.15, 0.3, 0.5, 0.75)
_MARGIN = 0.9  # of the limits on the calibration feeds; unseen faces differ a little more


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one file.

    Attributes:
        model: the quantised file; None where it is refused.
        figures: on the held-out feeds, see `LIMITS`.
        failures: figures above their limits, in words; empty where the file may be used.
        n_integer: convolutions that are integer in it.
        n_convolutions: convolutions that could be.
    """

    model: onnx.ModelProto | None
    figures: Mapping[str, float]
    failures: tuple[str, ...]
    n_integer: int
    n_convolutions: int


def quantise_within_limits(
    original: onnx.ModelProto,
    contract: str,
    calibration: Sequence[Feeds],
    held_out: Sequence[Feeds],
    runtime: Runtime,
) -> Verdict:
    """Quantise as many convolutions as the limits allow.

    Where all of them are too many on the calibration feeds, each is quantised alone to see how much
    it matters, and growing shares of the most sensitive ones stay float. The held-out feeds are
    looked at once, for the verdict.

    Args:
        original: the exported float file.
        contract: one of `LIMITS`.
        calibration: batches of feeds for the ranges and for the choice.
        held_out: batches of feeds for the verdict.
        runtime: of the comparison.

    Raises:
        SetupError: an unknown contract, no feeds, or no convolution to quantise.
    """
    if contract not in LIMITS:
        raise SetupError(f"no limits for {contract!r}; known are {', '.join(LIMITS)}")
    if not held_out:
        raise SetupError("no held-out feeds: the quantised file cannot be judged")
    quantiser = Quantiser.of(original, calibration)
    names = quantiser.convolutions
    if not names:
        raise SetupError(f"{contract}: there is no inner convolution to quantise")
    wanted = _outputs(original, calibration, runtime)

    def badness(model: onnx.ModelProto) -> float:
        """Return the largest figure beside its limit, on the calibration feeds."""
        figures = differences(contract, wanted, _outputs(model, calibration, runtime))
        return max(_ratio(figures[k], limit) for k, limit in LIMITS[contract].items())

    order, model = list[str](), quantiser.quantised(names)
    chosen: Sequence[str] = names
    for share in KEPT_FLOAT:
        if share:
            order = order or sorted(names, key=lambda n: badness(quantiser.quantised([n])))
            chosen = order[: max(1, round(len(order) * (1.0 - share)))]
            model = quantiser.quantised(chosen)
        if badness(model) <= _MARGIN:
            break
    found = _outputs(model, held_out, runtime)
    figures = differences(contract, _outputs(original, held_out, runtime), found)
    failed = failures(contract, figures)
    return Verdict(None if failed else model, figures, failed, len(chosen), len(names))


def differences(
    contract: str, wanted: Mapping[str, Array], found: Mapping[str, Array]
) -> dict[str, float]:
    """Measure how far outputs are from those of the float file.

    Args:
        contract: `encoder`: cosine distances of the vectors. `attributes`: distances of landmarks
            in pixels, absolute differences of angles and expressions. `generator`, `denoiser`:
            absolute differences inside `INNER_MASK` (outside a face's mask there are none) in codes
            of 8-bit video, mean over all faces and of the worst face.
        wanted: output name to array, `[n, ...]`.
        found: likewise.
    """
    if contract == "encoder":
        cosine = np.sum(wanted["identity_unit"] * found["identity_unit"], axis=1, dtype=np.float64)
        return {
            "cosine_distance_mean": float((1.0 - cosine).mean()),
            "cosine_distance_p99": float(np.quantile(1.0 - cosine, 0.99)),
        }
    if contract == "attributes":
        gap = {k: np.abs(wanted[k].astype(np.float64) - found[k]) for k in wanted}
        points = np.linalg.norm(gap["points_px"], axis=2).mean(axis=1)
        return {
            "points_mean_px": float(points.mean()),
            "points_p99_px": float(np.quantile(points, 0.99)),
            "pose_mean_deg": float(gap["pose_deg"].mean()),
            "expression_mean": float(gap["expression"].mean()),
        }
    inside = np.abs(wanted["crop_rgb"] - found["crop_rgb"])[:, :, INNER_MASK]
    codes = 255.0 * inside.mean(axis=(1, 2), dtype=np.float64)
    return {"mean_codes": float(codes.mean()), "worst_face_codes": float(codes.max())}


def failures(contract: str, figures: Mapping[str, float]) -> tuple[str, ...]:
    """Return the figures above their limits, in words; a figure that is no number fails.

    Example:
        >>> failures("encoder", {"cosine_distance_mean": 0.05, "cosine_distance_p99": 0.01})
        ('cosine_distance_mean is 0.05, at most 0.01',)
    """
    return tuple(
        f"{name} is {figures[name]:.4g}, at most {limit:g}"
        for name, limit in LIMITS[contract].items()
        if _ratio(figures[name], limit) > 1.0
    )


def _ratio(figure: float, limit: float) -> float:
    return figure / limit if np.isfinite(figure) else np.inf


def _outputs(
    model: onnx.ModelProto, batches: Sequence[Feeds], runtime: Runtime
) -> dict[str, Array]:
    opened = OrtModel(model.SerializeToString(), runtime, ())
    parts = [opened.run(feeds) for feeds in batches]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
