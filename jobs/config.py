"""The job's configuration: one frozen tree, every default in one place, unknown keys refused.

A file (`configs/*.yaml`) overrides defaults, `--set section.key=value` overrides the file. The
resolved text and its hash go into the lineage, and the parts that can change a pixel go into the
fingerprint (`jobs/fingerprint.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deid_ops.errors import SetupError


class Section(BaseModel):
    """Base of every section: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VideoSection(Section):
    """Segments, decoding limits and encoding."""

    max_segment_s: float = Field(30.0, gt=0, description="longest segment, cut at closed GOPs")
    decode_memory_mb: int = Field(4096, ge=256, description="address space of the decoder child")
    decode_timeout_s: float = Field(900.0, gt=0, description="wall clock of one decoding pass")
    decode_in_child: bool = Field(True, description="a crash of the decoder costs one segment")
    crf: int = Field(18, ge=0, le=51, description="encoder quality, lower is better")
    preset: str = Field("veryfast", description="x264/x265 preset")
    strip_audio: bool = Field(False, description="drop audio streams (voices identify people)")
    strip_data: bool = Field(False, description="drop subtitle and data streams (GPS tracks)")
    strip_metadata: bool = Field(False, description="drop container tags")


class DetectSection(Section):
    """The detector of the find pass."""

    detector: Literal["centerface", "yunet", "scrfd", "mtcnn"] = "centerface"
    weights: str = Field("centerface", description="name in weights.lock.yaml, or a path")
    score_min: float | None = Field(None, gt=0, lt=1, description="null: the detector's default")
    min_face_px: float = Field(6.0, ge=0, description="longer box side; smaller hits are noise")
    embed_every_n_frames: int = Field(5, ge=1, description="identity embedding stride in a track")
    tile_px: int = Field(2560, ge=256, description="larger frames are tiled, never shrunk")
    batch_frames: int = Field(1, ge=1, description="on a CPU more is slower")


class TrackSection(Section):
    """Tracking, gap filling and the identity scope."""

    max_gap_frames: int = Field(30, ge=0)
    extend_frames: int = Field(5, ge=0)
    scope: Literal["segment", "recording", "drive"] = "recording"


class AnchorSection(Section):
    """Synthetic identities."""

    bank: str | None = Field("anchors", description="weights name or path; null: density model")
    window_min: float = Field(0.8, ge=0, le=2, description="cosine distance to the person")
    window_max: float = Field(1.3, ge=0, le=2)
    apart_min: float = Field(0.5, ge=0, le=2, description="distance between live persons' anchors")
    appearance_min: float = Field(
        1.05, ge=0, le=2, description="distance to the faces painted with an anchor, by a judge"
    )
    appearance_max: float = Field(1.35, ge=0, le=2)
    own_appearance_min: float = Field(
        1.0, ge=0, le=2, description="the same by replace.encoder, which painters learn to avoid"
    )
    own_appearance_max: float = Field(1.35, ge=0, le=2)
    hidden_min: float = Field(
        1.1, ge=0, description="the judge's distance, of the mean one to others in view; 0: any"
    )
    hidden_max: float = Field(1.25, ge=1)
    own_hidden_min: float = Field(1.15, ge=0, description="the same by replace.encoder; 0: any")
    own_hidden_max: float = Field(1.35, ge=1)


class ReplaceSection(Section):
    """Generator, denoiser and the ladder."""

    generator: str | None = Field(
        "generator", description="weights name or path; null: redact every face"
    )
    attributes: str | None = Field("attributes", description="landmark network of the generator")
    encoder: str | None = Field(
        "conditioning_encoder", description="of tracking and anchors, where faces are replaced"
    )
    denoiser: str | None = Field("denoiser", description="null: no diffusion step")
    noise_strengths: tuple[float, ...] = Field((1.0, 1.5), description="tried in this order")
    other_anchors: int = Field(7, ge=0, description="further anchors tried for who fails")
    trial_faces: int = Field(16, ge=1, description="of a person, on which they are tried")
    other_anchor_share: float = Field(0.1, gt=0, le=1, description="of a person's faces that fail")
    person_distance_min: float = Field(
        1.0, ge=0, le=2, description="of the new face to the person by the judge, else another"
    )
    own_person_distance_min: float = Field(
        0.7, ge=0, le=2, description="the same by replace.encoder, which painters learn to avoid"
    )
    person_apart_min: float = Field(
        0.72, ge=0, le=1, description="share of these distances below which a person is redacted"
    )
    steady_share: float = Field(
        0.5, gt=0, description="variation of the new face, of the original's, else another"
    )
    hidden_min: float = Field(
        1.0, ge=0, le=1, description="distance to the person, of the mean one to others in view"
    )
    hidden_max: float = Field(
        1.15, ge=1, description="the largest; who always lies farthest is found by that"
    )
    min_eye_distance_px: float = Field(14.0, ge=0, description="smaller faces are redacted")
    max_turn: float = Field(0.55, gt=0, le=1, description="0 frontal, 1 profile")
    max_blur: float = Field(0.9, gt=0, le=1)
    judge_far: float = Field(1e-2, gt=0, lt=1, description="of the first judge, in the ladder")
    own_far: float = Field(1e-3, gt=0, lt=1, description="of replace.encoder, in the ladder")
    together_min: float = Field(
        1.2, ge=1, description="mean distance of both, of these thresholds, that a face keeps"
    )
    shown_frames_min: int = Field(
        5, ge=1, description="shorter runs of replaced faces between redacted ones are redacted"
    )

    @model_validator(mode="after")
    def _needs_landmarks(self) -> ReplaceSection:
        if self.generator and not (self.attributes and self.encoder):
            raise ValueError("replace.generator needs replace.attributes and replace.encoder")
        return self


class RedactSection(Section):
    """The treatment at the end of the ladder; it cannot be inverted."""

    method: Literal["mosaic", "solid"] = "mosaic"
    margin: float = Field(0.35, ge=0.1, description="growth of the box on each side, of its size")


class AuditSection(Section):
    """The gate before publishing."""

    second_detector: Literal["centerface", "yunet", "scrfd", "mtcnn"] = "mtcnn"
    second_weights: tuple[str, ...] = ("mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet")
    score_min: float | None = Field(None, gt=0, lt=1)
    min_face_px: float = Field(20.0, ge=0)
    judges: tuple[str, ...] = Field(("dlib_resnet",), description="weights names, never trained")
    judge_faces_per_track: int = Field(8, ge=1)
    batch_frames: int = Field(4, ge=1, description="on a CPU mtcnn takes one a thread")
    repair: bool = Field(True, description="a missed face goes back to compose once")


class InferenceSection(Section):
    """ONNX Runtime."""

    providers: tuple[Literal["cpu", "cuda", "tensorrt"], ...] = ("cpu",)
    threads: int = Field(0, ge=0, description="0: all cores of the actor")
    gpu_mem_limit_mb: int = Field(0, ge=0, description="0: no limit")
    spinning: bool = Field(False, description="waiting threads keep their core; inline: always")


class PoolSection(Section):
    """One Ray actor pool."""

    actors: int = Field(1, ge=1)
    cpus: float = Field(0.5, ge=0)
    gpus: float = Field(0.0, ge=0)


class RaySection(Section):
    """Ray: pools and waves."""

    wave_segments: int = Field(256, ge=1, description="the bounded unit of work")
    no_progress_timeout_s: int = Field(4 * 3600, ge=60)
    detect: PoolSection = PoolSection()
    track: PoolSection = PoolSection()
    swap: PoolSection = PoolSection()
    trial: PoolSection = PoolSection()
    diffuse: PoolSection = PoolSection()
    compose: PoolSection = PoolSection()
    audit: PoolSection = PoolSection()
    publish: PoolSection = PoolSection()


class JobConfig(Section):
    """Everything a run depends on, except the manifest, the lake and the secret key."""

    dataset: str = Field("fleet", pattern=r"^[a-z0-9][a-z0-9_-]*$")
    max_attempts: int = Field(3, ge=2, description="the last one is a quarantine row")
    video: VideoSection = VideoSection()
    detect: DetectSection = DetectSection()
    track: TrackSection = TrackSection()
    anchors: AnchorSection = AnchorSection()
    replace: ReplaceSection = ReplaceSection()
    redact: RedactSection = RedactSection()
    audit: AuditSection = AuditSection()
    inference: InferenceSection = InferenceSection()
    ray: RaySection = RaySection()

    def with_spinning(self) -> JobConfig:
        """Return the settings of a process that has the machine's cores to itself."""
        inference = self.inference.model_copy(update={"spinning": True})
        return self.model_copy(update={"inference": inference})


def load_config(path: Path | None, overrides: tuple[str, ...] = ()) -> JobConfig:
    """Read a YAML file (defaults where None) and apply `section.key=value` overrides.

    Raises:
        SetupError: the file, a key or a value is wrong; the message names it.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise SetupError(f"{path}: cannot read the configuration: {error}") from error
        tree = {} if loaded is None else loaded
        if not isinstance(tree, dict):
            raise SetupError(f"{path}: the configuration must be a mapping of sections")
    for override in overrides:
        _apply(tree, override)
    try:
        return JobConfig.model_validate(tree)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SetupError(
            f"{path or 'configuration'}: {len(lines)} wrong setting(s):\n" + "\n".join(lines)
        ) from error


def _apply(tree: dict[str, Any], override: str) -> None:
    dotted, sep, text = override.partition("=")
    if not sep:
        raise SetupError(f"--set {override}: write section.key=value")
    *sections, key = dotted.split(".")
    node = tree
    for section in sections:
        node = node.setdefault(section, {})
    node[key] = yaml.safe_load(text)
