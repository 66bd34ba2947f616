"""The first half of the replace pass: `swap` and `diffuse`. Here faces get their treatment.

Before it, `swap` and `trial` run on some faces of who is seen in several segments.
"""

from __future__ import annotations

import secrets

import numpy as np

from deid_ops.diffuse.noise import SECRET_BYTES, TrackNoise
from deid_ops.judge.ladder import gate_faces
from deid_ops.pipeline.guards import Guard, embed_for
from deid_ops.pipeline.settle import PaintedSegment, anchors_for, settle_segment
from deid_ops.pipeline.swap import SwappedFaces, swap_segment
from deid_ops.pipeline.trial import ReplaceModels
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.types import F32, FaceCrops, FaceTracks, Reason, Treatment
from jobs.anchoring import Anchors
from jobs.config import JobConfig
from jobs.media import open_media
from jobs.models import (
    FindAgain,
    calibration_file,
    conditioning_encoder,
    decode_limits,
    denoiser,
    generator,
    judge_encoders,
    ladder_guards,
    ladder_params,
)
from jobs.rows import (
    Row,
    as_strings,
    conditions_from_row,
    conditions_to_row,
    crops_from_row,
    crops_to_row,
    is_swapped,
    segment_part,
    span_from_row,
    tracks_from_row,
)
from jobs.sources import SourceCache
from jobs.stages.stage import Stage, StageContext
from schemas.edges import BOXES, DIFFUSED, LINKED, PERSONS, SWAPPED, TRACK_PERSONS, TRIED

_CARRIED = tuple(c.name for c in BOXES + PERSONS)
_OF_TRACKS = tuple(c.name for c in TRACK_PERSONS)


class Swap:
    """Decode, align, generate; take the guards' vectors of the originals."""

    def __init__(self, context: StageContext) -> None:
        config = context.config
        self._sources = SourceCache(context.scratch_dir)
        self._generator = generator(config)
        self._guards = _guards(config) if self._generator else ()
        self._anchors = Anchors(config, context.secret_key)
        self._limits = decode_limits(config)

    def __call__(self, row: Row) -> Row:
        """Add the `crop_*` and `judge_*` columns."""
        tracks = tracks_from_row(row)
        swapped = SwappedFaces.none()
        rows = np.flatnonzero(is_swapped(row)).astype(np.int32)
        if len(rows) and self._generator is not None:
            source = self._sources.local(row["source_uri"], row["source_sha256"])
            with open_media(str(source), self._limits).images(span_from_row(row)) as images:
                swapped = swap_segment(
                    images,
                    tracks,
                    rows,
                    self._anchors.of_tracks(row),
                    self._generator,
                    embed_for(self._guards),
                )
        return (
            segment_part(row)
            | {name: row[name] for name in _CARRIED}
            | crops_to_row(swapped.crops)
            | conditions_to_row(swapped.conditions)
            | {
                "judge_dim": int(swapped.judge_original.shape[1]),
                "judge_original": swapped.judge_original,
            }
        )


class _OnTheLadder:
    """What `trial` and `diffuse` share: generator, denoiser, guards, limits and anchors."""

    def __init__(self, context: StageContext) -> None:
        config = context.config
        self._params = ladder_params(config)
        self._anchors = Anchors(config, context.secret_key)
        generate = generator(config)
        self._models: ReplaceModels | None = None
        self._noise = TrackNoise(secrets.token_bytes(SECRET_BYTES))
        if generate is None:
            return
        denoise = denoiser(config)
        diffuse = None
        if denoise is not None:

            def diffuse(crops, told, anchors, strength, tracks):  # type: ignore[no-untyped-def]
                return denoise(crops, told, anchors, strength, self._noise.source(tracks))

        self._models = ReplaceModels(generate, diffuse, FindAgain(config), _guards(config))

    def _painted(self, row: Row) -> PaintedSegment:
        """Return the painted faces of a row; from here on their noise is a fresh one."""
        self._noise = TrackNoise(secrets.token_bytes(SECRET_BYTES))
        crops = crops_from_row(row)
        persons = np.unique(row["track_person_id"], return_inverse=True)[1].astype(np.int32)
        originals: F32 = row["judge_original"].reshape(len(crops), row["judge_dim"])
        swapped = SwappedFaces(crops, conditions_from_row(row), originals)
        return PaintedSegment(swapped, tracks_from_row(row), persons, self._anchors.chooser(row))


class Trial(_OnTheLadder):
    """Find the anchors of who is seen in several segments, on some faces of one of them."""

    def __call__(self, row: Row) -> Row:
        """Write `track_anchor_number`; faces and treatments are gone."""
        kept = segment_part(row) | {name: row[name] for name in _OF_TRACKS}
        if self._models is None or len(row["crop_row"]) == 0:
            return kept
        numbers = anchors_for(self._painted(row), self._models, self._params)
        return kept | {"track_anchor_number": numbers}


class Diffuse(_OnTheLadder):
    """Fresh noise, one denoising step, the guards, the ladder."""

    def __call__(self, row: Row) -> Row:
        """Replace the planned treatments by final ones; keep accepted crops only."""
        kept = segment_part(row) | {name: row[name] for name in _CARRIED}
        if self._models is None or len(row["crop_row"]) == 0:
            return kept | crops_to_row(FaceCrops.empty(CROP_SIZE_PX))
        settled = settle_segment(self._painted(row), _gates(row), self._models, self._params)
        return (
            kept
            | crops_to_row(settled.crops)
            | {
                "track_anchor_number": settled.anchor_number,
                "box_treatment": as_strings(settled.treatment),
                "box_reason": as_strings(settled.reason),
                "crop_judge_distance": settled.distance_to_original,
            }
        )


def _guards(config: JobConfig) -> tuple[Guard, ...]:
    judge = next(iter(judge_encoders(config).items()))
    return ladder_guards(config, judge, conditioning_encoder(config), calibration_file())


def _gates(row: Row) -> list[Reason | None]:
    """Return the plan as gates: a face planned for redaction stays redacted."""
    return [
        None if treatment == Treatment.SWAPPED else Reason(reason)
        for treatment, reason in zip(row["box_treatment"], row["box_reason"], strict=True)
    ]


def planned_treatments(
    tracks: FaceTracks, has_anchor: list[bool], config: JobConfig
) -> tuple[list[str], list[str]]:
    """Return the treatment and reason that each box is planned to get."""
    gates = gate_faces(
        tracks, ladder_params(config), has_generator=config.replace.generator is not None
    )
    treatments, reasons = [], []
    for gate, track in zip(gates, tracks.track, strict=True):
        cause = gate or (None if has_anchor[track] else Reason.NO_ANCHOR)
        treatments.append(str(Treatment.SWAPPED if cause is None else Treatment.REDACTED))
        reasons.append(str(cause or Reason.REPLACED))
    return treatments, reasons


SWAP = Stage("swap", Swap, LINKED, SWAPPED, can_crash=True)
TRIAL = Stage("trial", Trial, SWAPPED, TRIED, can_crash=True)
DIFFUSE = Stage("diffuse", Diffuse, SWAPPED, DIFFUSED, can_crash=True)
TRY = (SWAP, TRIAL)
