"""Joins the forward and the backward pass into one labelling.

Each pass is a partition of the detections. The two are first cut into fragments on which both
agree; fragments that follow each other in a track of either pass are then joined again, unless
that would put two detections of one frame into one track or join two faces whose embeddings
contradict each other. So a track that one pass lost (a hard turn, a long gap, a first appearance
too blurred for the encoder) is kept whole by the other.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


def merge_passes(
    forward: I64,
    backward: I64,
    frame_index: npt.NDArray[np.int32],
    weighted_embedding: F64,
    contradict_distance: float,
) -> I64:
    """Return one label per detection, numbered by first appearance.

    Args:
        forward: `[n]` labels of the forward pass.
        backward: `[n]` labels of the backward pass.
        frame_index: `[n]` ascending.
        weighted_embedding: `[n, d]` unit embedding times its weight; zero rows where there is none.
        contradict_distance: mean embeddings further apart than this are two people, whatever one
            of the passes says.

    Returns:
        `[n]` labels `0..k-1`; no two detections of a frame share one.
    """
    if len(forward) == 0:
        return np.zeros(0, dtype=np.int64)
    pairs = np.stack([forward, backward], axis=1)
    _, fragment = np.unique(pairs, axis=0, return_inverse=True)
    fragment = fragment.reshape(-1)
    groups = _Groups(fragment, frame_index, weighted_embedding)
    for a, b in _links(fragment, forward, backward, frame_index):
        groups.join(a, b, contradict_distance)
    return renumber(groups.roots()[fragment])


def renumber(labels: I64) -> I64:
    """Number labels from 0 in the order of their first row.

    Example:
        >>> renumber(np.array([7, 3, 7, 9])).tolist()
        [0, 1, 0, 2]
    """
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[inverse.reshape(-1)]


def _links(
    fragment: I64, forward: I64, backward: I64, frame_index: npt.NDArray[np.int32]
) -> list[tuple[int, int]]:
    """Fragments that follow each other within a track of a pass, the closest in time first."""
    _, first_row = np.unique(fragment, return_index=True)
    n = len(first_row)
    last_row = np.zeros(n, dtype=np.int64)
    last_row[fragment] = np.arange(len(fragment))
    start, end = frame_index[first_row], frame_index[last_row]
    found: list[tuple[int, int, int, int]] = []
    for labels in (forward, backward):
        of_fragment = labels[first_row]
        order = np.lexsort((first_row, start, of_fragment))
        for a, b in pairwise(order.tolist()):
            if of_fragment[a] == of_fragment[b]:
                gap = int(start[b]) - int(end[a])
                found.append((gap, int(first_row[a]), a, b))
    return [(a, b) for _, _, a, b in sorted(found)]


class _Groups:
    """Union-find over fragments that knows each group's frames and summed embedding."""

    def __init__(self, fragment: I64, frame_index: npt.NDArray[np.int32], weighted: F64) -> None:
        n = int(fragment.max()) + 1
        self._parent = list(range(n))
        self._frames: list[set[int]] = [set() for _ in range(n)]
        for label, frame in zip(fragment.tolist(), frame_index.tolist(), strict=True):
            self._frames[label].add(frame)
        self._sum = np.zeros((n, weighted.shape[1]))
        np.add.at(self._sum, fragment, weighted)

    def find(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, a: int, b: int, contradict_distance: float) -> None:
        a, b = self.find(a), self.find(b)
        if a == b or not self._frames[a].isdisjoint(self._frames[b]):
            return
        norms = float(np.linalg.norm(self._sum[a]) * np.linalg.norm(self._sum[b]))
        if norms > 0 and 1.0 - float(self._sum[a] @ self._sum[b]) / norms >= contradict_distance:
            return
        keep, drop = min(a, b), max(a, b)
        self._parent[drop] = keep
        self._frames[keep] |= self._frames[drop]
        self._sum[keep] += self._sum[drop]

    def roots(self) -> I64:
        return np.array([self.find(i) for i in range(len(self._parent))], dtype=np.int64)
