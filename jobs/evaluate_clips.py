"""Evaluation on clips: the published file against its source, frame by frame.

Independent of the run that made the output: faces are detected again in the *source*, five points
and all, matched with the boxes of the sidecar (`OUTPUT.json`, written by `deid run`), and judged at
the same place of the output. Subjects: `source`, `output`, and of the output the `replaced` and the
`redacted` faces apart where it has both; `surroundings` is the source with grey faces: what hair,
clothes and light tell of who somebody is among the people of the recording, whatever is painted;
`source_moved` is the noise of the reader of pose, gaze and expression itself. Faces of one track
are alike, so intervals allow for tracks (`clustered_rate`; a track is one cluster in all releases),
and beside every rate stands the rate between different people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from deid_ops.detect.base import Detector
from deid_ops.judge.distances import person_centroid
from deid_ops.judge.protocol import Judge
from deid_ops.judge.verification import distances, paired_distances
from deid_ops.metrics.figures import Figure, far_name
from deid_ops.metrics.stats import clustered_rate, mean_estimate, rate
from deid_ops.metrics.temporal import temporal_consistency
from deid_ops.metrics.utility import (
    READER_SIZE_PX,
    AttributeReader,
    attribute_figures,
    reader_noise_figures,
)
from deid_ops.swap.crop import CROP_SIZE_PX, EYE_DISTANCE_PX
from deid_ops.types import F32, Bool
from jobs.clip_faces import Sampled, sample_clip

LARGE_EYE_DISTANCE_PX = 24.0


def evaluate_clip(
    source: Path,
    outputs: Sequence[Path],
    judges: Sequence[Judge],
    detector: Detector,
    reader: AttributeReader | None,
    fars: Sequence[float],
    n_frames: int,
) -> list[Figure]:
    """Return every figure of one clip.

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
    for judge in judges:
        figures.extend(_identity(sampled, judge, name, fars))
        figures.extend(_temporal(sampled, judge, name))
    return figures


def _identity(sampled: Sampled, judge: Judge, name: str, fars: Sequence[float]) -> Iterator[Figure]:
    """Yield how often faces are recognized: all of them, the replaced and the redacted ones."""
    compared = _Compared(sampled, judge)
    swapped = np.array(sampled.swapped)
    everyone = np.ones(len(swapped), dtype=np.bool_)
    for subject, rows in (("output", everyone), ("replaced", swapped), ("redacted", ~swapped)):
        if not rows.any() or (subject != "output" and rows.all()):
            continue  # of one treatment only: `output` says it
        for far in fars:
            yield from compared.verification(subject, name, far, rows)
            yield from compared.averaged(subject, name, far, rows)
        yield from compared.retrieval(subject, name, rows)
    if swapped.any():
        faceless = _Compared(sampled, judge, sampled.faceless)
        yield from faceless.retrieval("surroundings", name, swapped)


class _Compared:
    """One judge's vectors of the sampled faces, source and output, in the same order.

    Args:
        sampled: the faces.
        judge: whose vectors.
        shown: of what is compared with the source; the output where it is left out.
    """

    def __init__(
        self, sampled: Sampled, judge: Judge, shown: Mapping[str, list[F32]] | None = None
    ) -> None:
        self.judge = judge
        self.before, self.after = (
            judge.calibration.centred(judge.name, np.stack(rows[judge.name]))
            for rows in (sampled.before, sampled.after if shown is None else shown)
        )
        self.release = np.array(sampled.release)
        self.track, self.person = np.array(sampled.track), np.array(sampled.person)
        self.eyes_px = np.array(sampled.eye_distance_px, dtype=np.float32)

    def verification(self, subject: str, name: str, far: float, rows: Bool) -> Iterator[Figure]:
        """Yield matches with the same face of the source and with its negation, for `rows` [n]."""
        limits = self.judge.calibration.thresholds(self.judge.name, self.eyes_px[rows], far)
        others = self.person[rows, None] != self.person[None, :]
        others &= self.release[rows, None] == self.release[None, :]
        track = self.track[rows]
        params: dict[str, float | str] = {"far": far, "tracks": float(len(np.unique(track)))}
        for metric, sign in (("match_original", 1.0), ("match_negated", -1.0)):
            shown = np.asarray(sign * self.after[rows], dtype=np.float32)
            hits = np.asarray(paired_distances(self.before[rows], shown) < limits)
            near = distances(shown, self.before) < limits[:, None]
            chance = float(near[others].mean()) if others.any() else None
            bar = None if not np.isclose(far, 1e-3) else 0.005 + (chance or 0.0)
            yield Figure(
                "verification",
                subject,
                name,
                self.judge.name,
                far_name(metric, far),
                clustered_rate(hits, track),
                "lower",
                chance,
                bar,
                params,
            )

    def averaged(self, subject: str, name: str, far: float, rows: Bool) -> Iterator[Figure]:
        """Yield matches of whole tracks: an attacker may average what all frames have in common."""
        keys = np.stack([self.release, self.track], axis=1)
        groups = [
            np.flatnonzero(rows & (keys == key).all(axis=1))
            for key in np.unique(keys[rows], axis=0)
        ]
        before, after = (
            np.stack([person_centroid(vectors[group]) for group in groups])
            for vectors in (self.before, self.after)
        )
        eyes_px = np.array([np.median(self.eyes_px[group]) for group in groups], np.float32)
        limits = self.judge.calibration.thresholds(self.judge.name, eyes_px, far)
        person, release, track = (
            np.array([labels[group[0]] for group in groups])
            for labels in (self.person, self.release, self.track)
        )
        others = (person[:, None] != person[None, :]) & (release[:, None] == release[None, :])
        near = distances(after, before) < limits[:, None]
        yield Figure(
            "verification",
            subject,
            name,
            self.judge.name,
            far_name("match_track_mean", far),
            clustered_rate(near.diagonal(), track),
            "lower",
            float(near[others].mean()) if others.any() else None,
        )

    def retrieval(self, subject: str, name: str, rows: Bool) -> Iterator[Figure]:
        """Yield how often the nearest person of the recording is the right one, for `rows` [n].

        A person who appears twice as often is not twice as likely a guess: the gallery has one
        vector a person, the mean over all sampled faces of the source.
        """
        right, n_people = [], []
        for release in np.unique(self.release[rows]):
            here = self.release == release
            person = self.person[here]
            people = np.unique(person)
            gallery = np.stack([person_centroid(self.before[here][person == p]) for p in people])
            asked = here & rows
            nearest = people[distances(self.after[asked], gallery).argmin(axis=1)]
            right.append(nearest == self.person[asked])
            n_people.append(len(people))
        if min(n_people) < 2:
            return
        order = np.argsort(self.release[rows], kind="stable")
        yield Figure(
            "retrieval",
            subject,
            name,
            self.judge.name,
            "rank1_in_recording",
            clustered_rate(np.concatenate(right), self.track[rows][order]),
            "lower",
            float(np.mean([1.0 / n for n in n_people])),
        )


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
