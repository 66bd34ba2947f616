"""Which tracks of an identity scope (a segment, a recording, a drive) are one person.

Two steps:

1. Over the borders of the segments of one stream the tracks continue as if there were no
   border: position and identity, by the tracker's own rules. This links faces that have no
   embedding, and makes the result independent of where a recording was cut.
2. Agglomerative clustering of the quality-weighted mean embeddings: the two closest clusters are
   merged while their cosine distance is below a bound. Tracks that are seen in the same frame of
   the same stream are never merged, nor are clusters that hold such a pair.

Person ids are hashes of stream, frame and rank of the person's first appearance. They depend
neither on the order of the input nor on other people, nor on the cut into segments.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from deid_ops.track.assign import Candidates, assign
from deid_ops.track.params import TrackParams
from deid_ops.track.summary import TrackSummary

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

PERSON_ID_HEX_DIGITS = 16


@dataclass(frozen=True, slots=True)
class LinkParams:
    """When two tracks are one person.

    Attributes:
        link_distance: cosine distance of mean embeddings below which clusters are merged. Smaller
            than the tracker's bound for single faces, because means are less noisy and nothing
            but the embedding speaks for the link.
        quality_min: a cluster whose best face is worse is not linked by its embedding: vectors of
            tiny or blurred faces, and of hits that are none, resemble each other.
        track: the tracker's settings, for continuation over segment borders.
    """

    link_distance: float = 0.5
    quality_min: float = 0.1
    track: TrackParams = field(default_factory=TrackParams)


def link_tracks(summaries: Sequence[TrackSummary], params: LinkParams) -> list[str]:
    """Return the person id of each track of one identity scope.

    Args:
        summaries: all tracks of the scope, in any order.
        params: thresholds.

    Returns:
        One id per summary, in the order given.
    """
    order = sorted(range(len(summaries)), key=lambda i: _canonical(summaries[i]))
    tracks = [summaries[i] for i in order]
    cluster = _over_borders(tracks, params)
    cluster = _by_embedding(tracks, cluster, params)
    names = _person_ids(tracks, cluster)
    result = [""] * len(summaries)
    for position, i in enumerate(order):
        result[i] = names[cluster[position]]
    return result


def person_vectors(
    summaries: Sequence[TrackSummary], person_ids: Sequence[str]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return each person's quality-weighted mean embedding, unit length.

    Persons without any embedding are left out. The sum runs in canonical order, so the result
    does not depend on the order of the input.
    """
    return _unit_sums(summaries, person_ids, [s.embedding for s in summaries])


def person_guard_vectors(
    summaries: Sequence[TrackSummary], person_ids: Sequence[str]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the guard's vector [g] of each person, as `person_vectors` does the encoder's."""
    return _unit_sums(summaries, person_ids, [s.guard_vector for s in summaries])


def _unit_sums(
    summaries: Sequence[TrackSummary], person_ids: Sequence[str], vectors: Sequence[F64]
) -> dict[str, npt.NDArray[np.float32]]:
    totals: dict[str, F64] = {}
    for i in sorted(range(len(summaries)), key=lambda i: _canonical(summaries[i])):
        weighted = summaries[i].weight * vectors[i]
        totals[person_ids[i]] = totals.get(person_ids[i], np.zeros_like(weighted)) + weighted
    return {
        person: (total / np.linalg.norm(total)).astype(np.float32)
        for person, total in sorted(totals.items())
        if np.linalg.norm(total) > 1e-9
    }


def _canonical(s: TrackSummary) -> tuple[str, int, tuple[float, ...], int]:
    return s.place.stream_id, s.first_frame, tuple(s.first_box_xyxy_px.tolist()), s.track


def _over_borders(tracks: Sequence[TrackSummary], params: LinkParams) -> list[int]:
    """Return cluster numbers after linking over segment borders."""
    segments: dict[tuple[str, int], list[int]] = defaultdict(list)
    for i, s in enumerate(tracks):
        segments[s.place.stream_id, s.place.start_frame].append(i)
    cluster = list(range(len(tracks)))
    waiting: list[int] = []
    for stream_id, start_frame in sorted(segments):
        of_segment = segments[stream_id, start_frame]
        # also from before a segment in which the face was not seen at all
        waiting = [
            i
            for i in waiting
            if tracks[i].place.stream_id == stream_id
            and start_frame - tracks[i].last_frame <= params.track.max_gap_frames + 1
        ]
        coming = [i for i in of_segment if int(tracks[i].frames[0]) <= params.track.max_gap_frames]
        pairs = assign(
            _candidates([tracks[i] for i in waiting], params, at_exit=True),
            _candidates([tracks[i] for i in coming], params, at_exit=False),
            np.array([start_frame - tracks[i].last_frame for i in waiting]),
            params.track,
        )
        for left, came in pairs:
            cluster[coming[came]] = cluster[waiting[left]]
        matched = {left for left, _ in pairs}
        waiting = [i for k, i in enumerate(waiting) if k not in matched] + of_segment
    return cluster


def _candidates(tracks: Sequence[TrackSummary], params: LinkParams, *, at_exit: bool) -> Candidates:
    boxes = [s.exit_box_xyxy_px if at_exit else s.entry_box_xyxy_px for s in tracks]
    return Candidates(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array([s.embedding for s in tracks]),
        np.array([_is_known(s, params) for s in tracks], dtype=np.bool_),
    )


def _is_known(s: TrackSummary, params: LinkParams) -> bool:
    return s.weight > 0 and s.quality >= params.quality_min


def _by_embedding(
    tracks: Sequence[TrackSummary], cluster: list[int], params: LinkParams
) -> list[int]:
    """Merge clusters with embeddings; return the new cluster numbers."""
    members: dict[int, list[int]] = defaultdict(list)
    for i, c in enumerate(cluster):
        members[c].append(i)
    roots = [c for c in members if any(_is_known(tracks[i], params) for i in members[c])]
    if len(roots) < 2:
        return cluster
    sums = np.stack(
        [
            np.sum([tracks[i].weight * tracks[i].embedding for i in members[c]], axis=0)
            for c in roots
        ]
    )
    together = _seen_together(tracks, members, roots)
    merged_into = _agglomerate(sums, together, params.link_distance)
    target = {c: roots[merged_into[k]] for k, c in enumerate(roots)}
    return [target.get(c, c) for c in cluster]


def _seen_together(
    tracks: Sequence[TrackSummary], members: dict[int, list[int]], roots: list[int]
) -> Bool:
    """Pairs of clusters with tracks that are detected in the same frame of the same stream."""
    at_frame: dict[tuple[str, int], set[int]] = defaultdict(set)
    for k, c in enumerate(roots):
        for i in members[c]:
            place = tracks[i].place
            for frame in tracks[i].frames.tolist():
                at_frame[place.stream_id, place.start_frame + frame].add(k)
    together = np.zeros((len(roots), len(roots)), dtype=np.bool_)
    for group in {frozenset(g) for g in at_frame.values() if len(g) > 1}:
        rows = np.array(sorted(group))
        together[np.ix_(rows, rows)] = True
    np.fill_diagonal(together, True)
    return together


def _agglomerate(sums: F64, together: Bool, link_distance: float) -> list[int]:
    """Merge the closest admissible pair until none is closer than the bound.

    Args:
        sums: `[n, d]` weighted sums of embeddings; overwritten.
        together: `[n, n]` pairs that must stay apart; overwritten.
        link_distance: bound.

    Returns:
        For each row the row it ended in.
    """
    n = len(sums)
    into = list(range(n))
    unit = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    distance = np.where(together, np.inf, 1.0 - unit @ unit.T)
    nearest = distance.argmin(axis=1)
    best = distance[np.arange(n), nearest]
    while True:
        a = int(best.argmin())
        if best[a] >= link_distance:
            return [_end_of(into, i) for i in range(n)]
        a, b = sorted((a, int(nearest[a])))
        into[b] = a
        sums[a] += sums[b]
        unit[a] = sums[a] / max(float(np.linalg.norm(sums[a])), 1e-12)
        together[a] |= together[b]
        together[:, a] = together[a]
        together[b] = together[:, b] = True
        row = np.where(together[a], np.inf, 1.0 - unit @ unit[a])
        distance[a] = distance[:, a] = row
        distance[b] = distance[:, b] = np.inf
        stale = np.flatnonzero((nearest == a) | (nearest == b) | (row < best))
        for i in {a, b, *stale.tolist()}:
            nearest[i] = int(distance[i].argmin())
            best[i] = distance[i, nearest[i]]


def _end_of(into: list[int], i: int) -> int:
    while into[i] != i:
        i = into[i]
    return i


def _person_ids(tracks: Sequence[TrackSummary], cluster: list[int]) -> dict[int, str]:
    """Name each cluster after its first appearance; `tracks` are in canonical order."""
    names: dict[int, str] = {}
    rank: dict[tuple[str, int], int] = defaultdict(int)
    for s, c in zip(tracks, cluster, strict=True):
        if c in names:
            continue
        key = (s.place.stream_id, s.first_frame)
        text = f"person\0{s.place.stream_id}\0{s.first_frame}\0{rank[key]}"
        names[c] = hashlib.sha256(text.encode()).hexdigest()[:PERSON_ID_HEX_DIGITS]
        rank[key] += 1
    return names
