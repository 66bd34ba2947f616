"""The books of one segment's ladder: which faces to generate next, which replacement stands.

run = LadderRun(tracks.track, gate_faces(tracks, params), params)
for attempt in params.attempts():
    rows = run.open_rows(attempt)                     # rows of the segment's FaceTracks
    if len(rows) == 0:
        continue
    crops = generate(rows, run.anchor_number[rows], attempt.noise_strength)
    keep = run.record(attempt, rows, slack, found_again)
    store(rows[keep], crops[keep])                    # replaces what stood there before
outcome = run.outcome()                               # (Treatment, Reason) per row
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.judge.ladder import Attempt, LadderParams, judge_faces
from deid_ops.types import F32, I32, I64, Bool, Reason, Treatment


class LadderRun:
    """State of the ladder over the `n` faces of a segment.

    A face never changes identity within a track: another anchor is tried for all replaceable faces
    of a track, and kept only when more of them are accepted than before.

    Args:
        track: `[n]` track of each face.
        gate_reasons: per face, why it must be redacted, or None (`gate_faces`).
        params: limits and tries.

    Attributes:
        anchor_number: `[n]` which anchor each face has at present, 0 the first choice. Between
            `open_rows` and `record` of a try with `new_anchor` it holds the anchor under test.
    """

    def __init__(
        self, track: I32, gate_reasons: Sequence[Reason | None], params: LadderParams
    ) -> None:
        if len(track) != len(gate_reasons):
            raise InvariantError(f"LadderRun: {len(track)} faces, {len(gate_reasons)} reasons")
        n = len(track)
        self._params = params
        self._track = np.asarray(track, dtype=np.int32)
        self._gate = tuple(gate_reasons)
        self._replaceable = np.array([reason is None for reason in gate_reasons], dtype=np.bool_)
        self._stands_since = np.full(n, -1, dtype=np.int32)
        self._failure: list[Reason | None] = [None] * n
        self._kept_anchor = np.zeros(n, dtype=np.int32)
        self.anchor_number = np.zeros(n, dtype=np.int32)

    @property
    def accepted(self) -> Bool:
        """Faces `[n]` whose present replacement stands."""
        return np.asarray(self._stands_since >= 0)

    def open_rows(self, attempt: Attempt) -> I64:
        """Return the faces that this try generates; may be none."""
        failing = self._replaceable & ~self.accepted
        if attempt.number == 0 or not attempt.new_anchor:
            return np.flatnonzero(failing).astype(np.int64)
        n_tracks = int(self._track.max(initial=-1)) + 1
        n_faces = np.bincount(self._track[self._replaceable], minlength=n_tracks)
        n_failing = np.bincount(self._track[failing], minlength=n_tracks)
        share = n_failing / np.maximum(n_faces, 1)
        whole = (n_failing > 0) & (share >= self._params.track_share_for_other_anchor)
        rows = np.flatnonzero(self._replaceable & whole[self._track]).astype(np.int64)
        self.anchor_number[rows] = attempt.number
        return rows

    def record(self, attempt: Attempt, rows: I64, slack: F32, found_again: Bool) -> Bool:
        """Enter the judgement of one try.

        Args:
            attempt: the try.
            rows: what `open_rows` returned.
            slack: `[k]` or `[k, judges]`, see `judge_faces`.
            found_again: `[k]`.

        Returns:
            `[k]` which of the generated crops replace what stood before (accepted faces only).
        """
        verdict = judge_faces(slack, found_again, self._params)
        if len(verdict.accepted) != len(rows):
            raise InvariantError(f"LadderRun: {len(rows)} faces open, {len(slack)} judged")
        if attempt.new_anchor:
            taken = self._better_tracks(rows, verdict.accepted)
        else:
            taken = np.ones(len(rows), dtype=np.bool_)
        self._kept_anchor[rows[taken]] = self.anchor_number[rows[taken]]
        self.anchor_number[rows] = self._kept_anchor[rows]
        for row, take, accept, why in zip(
            rows, taken, verdict.accepted, verdict.failure, strict=True
        ):
            if take:
                self._stands_since[row] = attempt.number if accept else -1
                self._failure[row] = why
        return np.asarray(taken & verdict.accepted)

    def outcome(self) -> list[tuple[Treatment, Reason]]:
        """Return the final treatment and reason of all `n` faces."""
        attempts = self._params.attempts()
        result: list[tuple[Treatment, Reason]] = []
        for gate, since, failure in zip(self._gate, self._stands_since, self._failure, strict=True):
            if gate is not None:
                result.append((Treatment.REDACTED, gate))
            elif since >= 0:
                result.append((Treatment.SWAPPED, attempts[since].reason))
            else:
                # a face that no try ever reached was not shown to be safe
                result.append((Treatment.REDACTED, failure or Reason.TOO_CLOSE))
        return result

    def _better_tracks(self, rows: I64, accepted: Bool) -> Bool:
        """Return `[k]`: does the new anchor do better than the old one on this face's track?"""
        tracks = self._track[rows]
        n_tracks = int(self._track.max(initial=-1)) + 1
        before = np.bincount(tracks, weights=self.accepted[rows], minlength=n_tracks)
        after = np.bincount(tracks, weights=accepted, minlength=n_tracks)
        return np.asarray((after > before)[tracks])
