"""Evaluation on clips: the published file against its source, frame by frame.

Independent of the run that made the output: faces are detected again in the *source*, five points
and all, matched with the boxes of the sidecar (`OUTPUT.json`, written by `deid run`), and judged
where the output shows them to the same detector. Subjects: `source`, `output`, and of the output
the `replaced` and the `redacted` faces apart where it has both; `in_place` is the output judged at
the source's points, which nobody has who has only the output: they lie off a tilted head, and where
an encoder sees both faces equally askew, it finds them alike whoever they are; no threshold was
calibrated for that. `surroundings` is the source with grey faces: what hair, clothes and light tell
of who somebody is among the people of the recording, whatever is painted; `source_moved` is the
noise of the reader of pose, gaze and expression itself. Faces of one track are alike, so intervals
allow for tracks (`clustered_rate`; a track is one cluster in all releases), and beside every rate
stands the rate between different people. Two or three people in view say little about ranks;
`above_chance` takes those of several clips together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from deid_ops.detect.base import Detector
from deid_ops.judge.protocol import Judge
from deid_ops.metrics.figures import Figure
from deid_ops.metrics.stats import clustered_rate, mean_estimate, rate
from deid_ops.metrics.temporal import temporal_consistency
from deid_ops.metrics.utility import (
    READER_SIZE_PX,
    AttributeReader,
    attribute_figures,
    reader_noise_figures,
)
from deid_ops.swap.crop import CROP_SIZE_PX, EYE_DISTANCE_PX
from jobs.clip_faces import Sampled, sample_clip
from jobs.compared_faces import ComparedFaces, RankedPeople

LARGE_EYE_DISTANCE_PX = 24.0


def evaluate_clip(
    source: Path,
    outputs: Sequence[Path],
    judges: Sequence[Judge],
    detector: Detector,
    reader: AttributeReader | None,
    fars: Sequence[float],
    n_frames: int,
) -> tuple[list[Figure], list[RankedPeople]]:
    """Return every figure of one clip, and whom its people are taken for.

    Args:
        source: the original.
        outputs: what was published, with `OUTPUT.json` beside it. Several releases of one source
            are pooled: with a few people in view, a single key says little about the method.
        judges: encoders that took no part in training.
        detector: finds faces in the source, and again in the output.
        reader: pose, gaze, landmarks, expression; None leaves them out.
        fars: calibrated operating points.
        n_frames: frames sampled over the clip.

    Raises:
        SetupError: no sidecar, or no face in the sampled frames.
    """
    sampled = sample_clip(source, outputs, judges, detector, n_frames)
    name = source.stem
    figures = [*_coverage(sampled, name), *_utility(sampled, name, detector, reader)]
    people: list[RankedPeople] = []
    for judge in judges:
        identity, ranked = _identity(sampled, judge, name, fars)
        figures += [*identity, *_temporal(sampled, judge, name)]
        people += ranked
    return figures, people


def _identity(
    sampled: Sampled, judge: Judge, name: str, fars: Sequence[float]
) -> tuple[list[Figure], list[RankedPeople]]:
    """Return how often faces are recognized: all of them, the replaced and the redacted ones."""
    compared = ComparedFaces(sampled, judge)
    swapped = np.array(sampled.swapped)
    everyone = np.ones(len(swapped), dtype=np.bool_)
    figures: list[Figure] = []
    people: list[RankedPeople] = []
    for subject, rows in (("output", everyone), ("replaced", swapped), ("redacted", ~swapped)):
        if not rows.any():
            continue
        ranks = compared.ranked(rows)
        people += [ranks.of_people(subject)] if ranks else []
        if subject != "output" and rows.all():
            continue  # of one treatment only: `output` says it
        for far in fars:
            figures += compared.verification(subject, name, far, rows)
            figures += compared.averaged(subject, name, far, rows)
        figures += ranks.figures(subject, name) if ranks else []
    if swapped.any():
        in_place = ComparedFaces(sampled, judge, sampled.after_in_place)
        for far in fars:
            held = in_place.verification("in_place", name, far, everyone)
            figures += (replace(figure, bar=None) for figure in held)
        faceless = ComparedFaces(sampled, judge, sampled.faceless)
        ranks = faceless.ranked(swapped)
        figures += ranks.figures("surroundings", name) if ranks else []
        people += [ranks.of_people("surroundings")] if ranks else []
    return figures, people


def _temporal(sampled: Sampled, judge: Judge, name: str) -> Iterator[Figure]:
    tracks = np.stack([sampled.release, sampled.track], axis=1)
    rows: dict[str, list[tuple[float, float]]] = {}
    for number in np.unique(tracks, axis=0):
        here = np.flatnonzero((tracks == number).all(axis=1))
        pair = [
            temporal_consistency(np.stack([vectors[judge.name][i] for i in here]))
            for vectors in (sampled.before, sampled.after)
        ]
        if pair[0] is None or pair[1] is None:
            continue
        for variant in ("all_pairs_mean", "consecutive_mean", "to_centroid_mean"):
            both = (getattr(pair[0], variant), getattr(pair[1], variant))
            rows.setdefault(variant.removesuffix("_mean"), []).append(both)
    for variant, values in rows.items():
        source, output = (mean_estimate([v[i] for v in values]) for i in range(2))
        metric = f"m_tc_{variant}"
        yield Figure("temporal", "source", name, judge.name, metric, source)
        yield Figure(
            "temporal", "output", name, judge.name, metric, output, "lower", None, source.value
        )


def _coverage(sampled: Sampled, name: str) -> Iterator[Figure]:
    covered = rate(sum(sampled.covered), len(sampled.covered))
    yield Figure("utility", "output", name, None, "faces_covered", covered, "higher", None, 1.0)
    track, swapped = np.array(sampled.track), np.array(sampled.swapped)
    large = np.array(sampled.eye_distance_px) >= LARGE_EYE_DISTANCE_PX
    redacted = clustered_rate(~swapped, track)
    yield Figure("utility", "output", name, None, "redacted_share", redacted, "lower")
    if large.any():
        share = clustered_rate(~swapped[large], track[large])
        yield Figure(
            "utility", "output", name, None, "redacted_share_24px", share, "lower", None, 0.15
        )


def _utility(
    sampled: Sampled, name: str, detector: Detector, reader: AttributeReader | None
) -> Iterator[Figure]:
    swapped = np.array(sampled.swapped)
    outside = mean_estimate(sampled.psnr_outside_db)
    yield Figure("utility", "output", name, None, "psnr_outside_db", outside, "higher")
    if not swapped.any():
        return
    found = clustered_rate(np.array(sampled.found)[swapped], np.array(sampled.track)[swapped])
    params: dict[str, float | str] = {"detector": detector.name}
    yield Figure(
        "utility", "output", name, None, "found_again", found, "higher", None, 0.99, params
    )
    if reader is not None:
        before, after = (
            reader.read(np.stack(crops)[swapped])
            for crops in (sampled.crops_before, sampled.crops_after)
        )
        yield from attribute_figures(before, after, EYE_DISTANCE_PX, "output", name, reader.name)
        yield from reader_noise_figures(
            reader,
            np.stack(sampled.crops_before)[swapped],
            CROP_SIZE_PX / READER_SIZE_PX,
            EYE_DISTANCE_PX,
            name,
        )
