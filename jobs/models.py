"""From names in the configuration to loaded models, with the configured providers.

The only place that knows which class reads which weights. A name is one of `weights.lock.yaml`,
or `kind:path` (a bare path where the setting has one kind only).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import yaml

from deid_ops.anchors.bank import AnchorBank, density_bank, load_bank
from deid_ops.compose.blend import ComposeParams
from deid_ops.compose.mask import HeadMaskParams
from deid_ops.detect.base import Detector
from deid_ops.detect.build import build_detector
from deid_ops.detect.faces import DetectParams
from deid_ops.errors import SetupError
from deid_ops.identity.encoders import Encoder
from deid_ops.inference.session import Runtime
from deid_ops.judge.audit import AuditParams
from deid_ops.judge.calibration import Calibration
from deid_ops.judge.ladder import LadderParams
from deid_ops.metrics.utility import AttributeReader
from deid_ops.pipeline.guards import Guard
from deid_ops.redact.fill import RedactParams
from deid_ops.track.params import TrackParams
from deid_ops.types import U8, Bool
from deid_ops.video.child import DecodeLimits
from deid_ops.video.policy import MediaPolicy
from jobs.config import JobConfig
from jobs.weights import resolve, sha256_of

OWN_ENCODER = "own"  # the conditioning encoder's kind, and its name in the calibration
#: Kind of encoder behind a locked weight.
ENCODER_KINDS = {
    "dlib_resnet": "dlib",
    "retail0095": "retail0095",
    "conditioning_encoder": OWN_ENCODER,
}
#: Identities in the density bank that stands in until a trained bank is configured.
_DENSITY_BANK_SIZE = 1024
_DENSITY_BANK_DIM = 128
_CROPS_AT_ONCE = 32


def decode_limits(config: JobConfig) -> DecodeLimits | None:
    """Return the decoder child's limits, or None to decode in this process."""
    video = config.video
    if not video.decode_in_child:
        return None
    return DecodeLimits(
        memory_bytes=video.decode_memory_mb * 2**20,
        cpu_s=int(video.decode_timeout_s),
        wait_s=min(120.0, video.decode_timeout_s),
    )


def media_policy(config: JobConfig) -> MediaPolicy:
    """Return what the encoder and the muxer are told."""
    video = config.video
    return MediaPolicy(
        crf=video.crf,
        preset=video.preset,
        strip_audio=video.strip_audio,
        strip_data=video.strip_data,
        strip_metadata=video.strip_metadata,
    )


def runtime_of(config: JobConfig) -> Runtime:
    """Return how the networks of a worker run."""
    section = config.inference
    return Runtime(
        section.providers,
        section.threads,
        section.gpu_mem_limit_mb * 2**20,
        section.spinning,
    )


def detect_params(config: JobConfig) -> DetectParams:
    """Return the find pass's detection settings."""
    section = config.detect
    return DetectParams(
        score_min=section.score_min,
        min_face_px=section.min_face_px,
        embed_every_n_frames=section.embed_every_n_frames,
        batch=section.batch_frames,
        tile_px=section.tile_px,
        guard_eyes_min_px=config.replace.min_eye_distance_px,
    )


def track_params(config: JobConfig) -> TrackParams:
    """Return gaps and margins of the tracker."""
    section = config.track
    return TrackParams(max_gap_frames=section.max_gap_frames, extend_frames=section.extend_frames)


def first_detector(config: JobConfig, runtime: Runtime | None = None) -> Detector:
    """Return the detector of the find pass; `runtime` instead of the configured one."""
    return _detector(
        runtime or runtime_of(config),
        config.detect.detector,
        (config.detect.weights,),
        detect_params(config),
    )


def second_detector(config: JobConfig, runtime: Runtime | None = None) -> Detector:
    """Return the detector of the audit; it must be another one than the first."""
    if config.audit.second_detector == config.detect.detector:
        raise SetupError(
            f"audit.second_detector is {config.audit.second_detector!r} like detect.detector; "
            "a detector cannot see what it misses itself, choose another one"
        )
    return _detector(
        runtime or runtime_of(config),
        config.audit.second_detector,
        config.audit.second_weights,
        audit_detect_params(config),
    )


def conditioning_encoder(config: JobConfig, runtime: Runtime | None = None) -> Encoder | None:
    """Return the encoder of tracking and anchors, which never judges.

    None where none is set, and where every face is redacted: boxes are tracked by motion then.
    """
    name = config.replace.encoder
    if name is None or config.replace.generator is None:
        return None
    if name in config.audit.judges:
        raise SetupError(f"{name!r} is a judge; an encoder that conditions may not judge")
    return _encoder(runtime or runtime_of(config), name, OWN_ENCODER)


def judge_encoders(config: JobConfig, runtime: Runtime | None = None) -> dict[str, Encoder]:
    """Return the judges by the name that the calibration and the tables know them by."""
    if not config.audit.judges:
        raise SetupError("audit.judges is empty; nothing unjudged may be published")
    runtime = runtime or runtime_of(config)
    return {judge_name(name): _encoder(runtime, name, None) for name in config.audit.judges}


def first_guard(config: JobConfig) -> Encoder | None:
    """Return the judge whose view of a person helps to choose the anchor; None as the encoder."""
    if config.replace.generator is None or config.replace.encoder is None:
        return None
    return next(iter(judge_encoders(config).values()))


def ladder_guards(
    config: JobConfig, judge: tuple[str, Encoder], own: Encoder | None, calibration: Calibration
) -> tuple[Guard, ...]:
    """Return the encoders that may refuse a replacement.

    Args:
        config: operating points.
        judge: the first judge and its name.
        own: the conditioning encoder, left out where `calibration` does not know it.
        calibration: thresholds of both.
    """
    name, encoder = judge
    limits = config.replace
    far, distance = limits.judge_far, limits.person_distance_min
    guards = [Guard(name, encoder.embed, encoder.dim, calibration, far, distance)]
    if own is not None and OWN_ENCODER in calibration.encoders:
        far, distance = limits.own_far, limits.own_person_distance_min
        guards.append(Guard(OWN_ENCODER, own.embed, own.dim, calibration, far, distance))
    return tuple(guards)


def judge_shas(config: JobConfig) -> dict[str, str]:
    """Return the sha256 of every judge's weights."""
    return {judge_name(name): sha256_of(weight_of(name)) for name in config.audit.judges}


def judge_name(name: str) -> str:
    """Return the short name of a judge: of `kind:path` the kind."""
    return ENCODER_KINDS.get(name, name.partition(":")[0])


def generator(config: JobConfig) -> Any:
    """Return the swap generator, or None where every face is redacted."""
    section = config.replace
    if section.generator is None or section.attributes is None:
        return None
    from deid_ops.swap.generator import Generator

    return Generator(
        str(resolve(section.generator)),
        str(resolve(section.attributes)),
        runtime_of(config),
    )


def denoiser(config: JobConfig) -> Any:
    """Return the diffusion step, or None where none is configured."""
    section = config.replace
    if section.generator is None or section.denoiser is None:
        return None
    from deid_ops.diffuse.denoiser import Denoiser

    return Denoiser(str(resolve(section.denoiser)), runtime_of(config))


def own_attribute_reader(config: JobConfig) -> AttributeReader | None:
    """Return the generator's attribute network as a measuring instrument, or None without one."""
    if config.replace.attributes is None:
        return None
    from jobs.attribute_readers import OwnReader

    return OwnReader(str(resolve(config.replace.attributes)), runtime_of(config))


class FindAgain:
    """Tells whether the first detector finds a face in each crop."""

    def __init__(self, config: JobConfig) -> None:
        self._detector = first_detector(config)
        self._score_min = 0.3

    def __call__(self, crops_bgr: U8) -> Bool:
        """Return [n] whether a face is found."""
        found: list[bool] = []
        for start in range(0, len(crops_bgr), _CROPS_AT_ONCE):  # a track of minutes needs no 10 GB
            batch = list(crops_bgr[start : start + _CROPS_AT_ONCE])
            hits = self._detector.detect(batch)
            found += [bool((d.score >= self._score_min).any()) for d in hits]
        return np.array(found, dtype=np.bool_)


def ladder_params(config: JobConfig) -> LadderParams:
    """Return the limits and tries of the ladder."""
    section = config.replace
    return LadderParams(
        min_eye_distance_px=section.min_eye_distance_px,
        max_turn=section.max_turn,
        max_blur=section.max_blur,
        other_anchors=section.other_anchors,
        trial_faces=section.trial_faces,
        noise_strengths=section.noise_strengths,
        other_anchor_share=section.other_anchor_share,
        person_apart_min=section.person_apart_min,
        together_min=section.together_min,
        shown_frames_min=section.shown_frames_min,
        steady_share=section.steady_share,
        hidden_window=(section.hidden_min, section.hidden_max),
    )


def compose_params(config: JobConfig) -> ComposeParams:
    """Return redaction and its mask."""
    return ComposeParams(
        head=HeadMaskParams(margin=config.redact.margin),
        redact=RedactParams(method=config.redact.method),
    )


def audit_detect_params(config: JobConfig) -> DetectParams:
    """Return the second detector's settings."""
    section = config.audit
    return DetectParams(
        score_min=section.score_min,
        min_face_px=section.min_face_px,
        batch=section.batch_frames,
        tile_px=config.detect.tile_px,
    )


def audit_params(config: JobConfig) -> AuditParams:
    """Return when a detection in the output counts as a missed face."""
    return AuditParams(min_side_px=config.audit.min_face_px, mask_margin=config.redact.margin)


@cache
def calibration_file() -> Calibration:
    """Return the thresholds that the project ships."""
    text = (resources.files("configs") / "calibration.yaml").read_text(encoding="utf-8")
    return Calibration.from_mapping(yaml.safe_load(text), "configs/calibration.yaml")


def anchor_bank(config: JobConfig) -> AnchorBank:
    """Return the bank of synthetic identities."""
    if config.anchors.bank is None:
        return density_bank(_DENSITY_BANK_SIZE, _DENSITY_BANK_DIM, seed=1)
    return load_bank(resolve(config.anchors.bank))


def weights_in_use(config: JobConfig) -> Mapping[str, str]:
    """Return the sha256 of every weight the configuration names."""
    names = [config.detect.weights, *config.audit.second_weights, *config.audit.judges]
    section = config.replace
    replacing = (section.generator, section.attributes, section.encoder, section.denoiser)
    optional = (*replacing, config.anchors.bank) if section.generator else (config.anchors.bank,)
    names += [name for name in optional if name is not None]
    return {name: sha256_of(weight_of(name)) for name in sorted(set(names))}


def _detector(
    runtime: Runtime, kind: str, names: tuple[str, ...], params: DetectParams
) -> Detector:
    paths = [str(resolve(name)) for name in names]
    return build_detector(kind, paths, runtime, params)


def _encoder(runtime: Runtime, name: str, default_kind: str | None) -> Encoder:
    kind = ENCODER_KINDS.get(name) or (name.partition(":")[0] if ":" in name else default_kind)
    if kind is None:
        raise SetupError(f"encoder {name!r}: write kind:path, or one of {sorted(ENCODER_KINDS)}")
    return Encoder(kind, str(resolve(weight_of(name))), runtime)


def weight_of(name: str) -> str:
    """Return the weights' name or path in the name of an encoder: of `kind:path` the path."""
    kind, colon, path = name.partition(":")
    return path if colon and kind in {"own", "mobilefacenet", "dlib", "retail0095"} else name
