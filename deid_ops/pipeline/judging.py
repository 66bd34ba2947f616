"""How near the faces of an output are to their originals, per track, for judges apart.

Vectors of faces live here alone, from the frame they were read in to the figures of their track.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deid_ops.judge.calibration import FARS, Calibration
from deid_ops.judge.distances import face_distances, person_centroid
from deid_ops.judge.verification import cosine_distances
from deid_ops.metrics.temporal import temporal_consistency
from deid_ops.pipeline.swap import EmbedFaces
from deid_ops.types import F32, I32, U8, Bool, FaceTracks

FAR_OF_OTHERS = 1e-3
_ROWS_AT_ONCE = 512  # a crowd of 1,000 people has 8,000 looked-at faces


@dataclass(frozen=True)
class TrackAudit:
    """One judge on one track; distances are cosine distances of centred vectors."""

    track: int
    encoder: str
    n_faces: int
    n_faces_judged: int
    n_swapped_judged: int  # of these: faces that show a replacement, the others are redacted
    to_original: F32  # [n_faces_judged]
    to_negation: F32  # [n_faces_judged]
    matched: Mapping[float, int]  # FAR -> faces matched to the original
    matched_negation: Mapping[float, int]
    matched_others: float | None  # at `FAR_OF_OTHERS`, see `matches_of_others`; None: alone
    thresholds: Mapping[float, float]  # FAR -> median threshold of the judged faces
    n_rank1: int
    gallery_size: int
    consistency_original: float | None
    consistency_output: float | None
    eye_distance_px_p50: float


class JudgedFaces:
    """Judges' vectors of sampled faces before and after.

    Args:
        tracks: every treated box.
        swapped: [n] boxes that show a replacement.
        judges: name -> (frame, landmarks) to vectors.
    """

    def __init__(self, tracks: FaceTracks, swapped: Bool, judges: Mapping[str, EmbedFaces]) -> None:
        self._tracks, self._swapped, self._judges = tracks, swapped, judges
        self._rows: list[int] = []
        self._before: dict[str, list[F32]] = {name: [] for name in judges}
        self._after: dict[str, list[F32]] = {name: [] for name in judges}

    def add(self, before: U8, after: U8, rows: I32) -> None:
        """Look at the faces of a frame before and after; `rows` are those of the tracks."""
        points = self._tracks.landmarks_xy_px[rows]
        self._rows.extend(int(r) for r in rows)
        for name, embed in self._judges.items():
            self._before[name].append(embed(before, points))
            self._after[name].append(embed(after, points))

    def by_track(
        self, person_of_track: Sequence[str], calibration: Calibration
    ) -> tuple[TrackAudit, ...]:
        """Return what every judge says of every track of which a face was looked at."""
        if not self._rows:
            return ()
        rows = np.array(self._rows)
        track_of = self._tracks.track[rows]
        person_of = np.array([person_of_track[t] for t in track_of])
        audits = []
        for name in self._judges:
            before = calibration.centred(name, np.concatenate(self._before[name]))
            after = calibration.centred(name, np.concatenate(self._after[name]))
            limits = {
                far: calibration.thresholds(name, self._tracks.eye_distance_px[rows], far)
                for far in FARS
            }
            compared = _Compared(name, before, after, limits, person_of)
            audits += [
                self._track_audit(int(t), rows, np.flatnonzero(track_of == t), compared)
                for t in np.unique(track_of)
            ]
        return tuple(audits)

    def _track_audit(
        self, track: int, rows: I32, here: npt.NDArray[np.intp], compared: _Compared
    ) -> TrackAudit:
        before, after = compared.before[here], compared.after[here]
        at = {far: face_distances(before, after, v[here]) for far, v in compared.limits.items()}
        distances = at[FARS[0]]  # the same for every FAR, only the thresholds differ
        consistency = [temporal_consistency(v) for v in (before, after)]
        others = compared.matches_of_others[here]
        return TrackAudit(
            track=track,
            encoder=compared.encoder,
            n_faces=int((self._tracks.track == track).sum()),
            n_faces_judged=len(here),
            n_swapped_judged=int(self._swapped[rows[here]].sum()),
            to_original=distances.to_original,
            to_negation=distances.to_negation,
            matched={far: int(d.matches_original.sum()) for far, d in at.items()},
            matched_negation={far: int(d.matches_negation.sum()) for far, d in at.items()},
            matched_others=None if np.isnan(others).any() else float(others.sum()),
            thresholds={far: float(np.median(v[here])) for far, v in compared.limits.items()},
            n_rank1=int(compared.rank1_is_right[here].sum()),
            gallery_size=compared.gallery_size,
            consistency_original=None if consistency[0] is None else consistency[0].all_pairs_mean,
            consistency_output=None if consistency[1] is None else consistency[1].all_pairs_mean,
            eye_distance_px_p50=float(np.median(self._tracks.eye_distance_px[rows[here]])),
        )


class _Compared:
    """One judge's vectors of all looked-at faces, beside each other.

    Args:
        encoder: name of the judge.
        before: [n, d] of the originals, centred.
        after: [n, d] of the same faces in the output.
        limits: FAR -> [n] thresholds.
        person_of: [n] whose face it is.
    """

    def __init__(
        self,
        encoder: str,
        before: F32,
        after: F32,
        limits: Mapping[float, F32],
        person_of: npt.NDArray[np.str_],
    ) -> None:
        self.encoder, self.before, self.after, self.limits = encoder, before, after, limits
        people = sorted(set(person_of.tolist()))
        gallery = np.stack([person_centroid(before[person_of == p]) for p in people])
        nearest = cosine_distances(after, gallery).argmin(axis=1)
        self.gallery_size = len(people)
        self.rank1_is_right = np.array(people)[nearest] == person_of
        self.matches_of_others = matches_of_others(before, after, limits[FAR_OF_OTHERS], person_of)


def matches_of_others(
    before: F32, after: F32, threshold: F32, person_of: npt.NDArray[np.str_]
) -> F32:
    """Return for each face of the output the share of *other* people's originals it matches.

    A threshold comes from portraits; on small or mosaicked faces an encoder matches different
    people of one recording as well. Only what exceeds this share says anything about the person.

    Args:
        before: [n, d] originals.
        after: [n, d] the same faces in the output.
        threshold: [n].
        person_of: [n].

    Returns:
        [n] in [0, 1]; NaN where nobody else was looked at.

    Example:
        >>> e = np.eye(2, dtype=np.float32)
        >>> matches_of_others(e, e[[0, 0]], np.float32([0.1, 0.1]), np.array(["a", "b"])).tolist()
        [0.0, 1.0]
    """
    shares = np.full(len(after), np.nan, dtype=np.float32)
    for start in range(0, len(after), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        strangers = person_of[rows, None] != person_of[None]
        matched = cosine_distances(after[rows], before) < threshold[rows, None]
        count = strangers.sum(axis=1)
        found = (matched & strangers).sum(axis=1)
        np.divide(found, count, out=shares[rows], where=count > 0, casting="unsafe")
    return shares
