"""The ladder: every face ends replaced or redacted, and the reason is kept.

Before any model runs, `gate_faces` sorts out the faces that cannot be replaced well. The rest is
generated, judged, and tried again: another anchor for a person who fails as a whole, stronger
noise for what still fails, and redaction at the end. Nothing passes through.

The decisions are functions of numbers alone; the caller generates and judges:

    reasons = gate_faces(tracks, params)                     # None: may be replaced
    ... generate the faces with their first anchor ...
    verdict = judge_faces(slack, found, params)
    moving = persons_to_move(accepted, person_of_face, seen, params)       # `persons.py`
    for attempt in params.with_other_anchors():
        ... try the anchor on a few of each one's faces, keep the one of most `person_merit`
    for attempt in params.with_stronger_noise():
        ... diffuse again what is still refused, judge it ...
    treatments = settle(reasons, accepted_in, failures)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.types import F32, Bool, BoxOrigin, FaceTracks, Reason, Treatment


@dataclass(frozen=True, slots=True)
class LadderParams:
    """Limits and the number of tries.

    Attributes:
        min_eye_distance_px: smaller faces are redacted: little remains to be replaced, and the
            judges cannot tell people apart there. In a street (two keys) dlib matched three of
            fourteen replaced faces of 12 to 13 px to their originals, and none of 358 larger ones.
        max_turn: 0 frontal, 1 profile. Beyond 0.55 (half profiles) the
            painter, who learned from portraits, puts a frontal face on a cheek.
        max_blur: 0 sharp, 1 no detail left.
        min_score: detector score; less certain faces are redacted, and so are all of a track that
            is mostly less certain: it is no face, or one that would come and go.
        usual_score_share: of the score that a track usually has; below, something is in front of
            the face, and a painted one would lie on it. In a street with crowds (476 faces) these
            were eight, seven behind an arm or another head and one bowed; in five others, none.
        replace_filled: whether boxes that were interpolated, extended or repaired may be replaced
            when they have landmarks.
        other_anchors: further anchors tried for a person who fails as a whole.
        trial_faces: of a person, on which a further anchor is tried; the best one gets all of them.
        noise_strengths: relative noise levels, tried in this order.
        other_anchor_share: a person gets another anchor when at least this share of the faces
            failed. Below it a new face for all of them costs more than it gains, and only the
            failing faces go on.
        person_apart_min: a person is redacted whom no anchor brings so far; see `apart` in
            `PersonsSeen`. Each face is beyond the thresholds, but an attacker may average.
        steady_share: how much a person's faces may vary, of what the originals do, as the guards
            see it; above, another anchor is tried. Less than 1, because painters learn what guards
            look at: on 14 tracks of five clips an encoder outside the ladder saw 0.9 to 1.9 times
            as large a share.
        hidden_window: how far a person's new face must be from that person, at least and at most,
            of how far it is from the others in view (`guards.person_hidden`); outside, another
            anchor is tried. A least of 0 asks for nothing.
        slack_min: distance a face must keep beyond the judge's threshold.
        together_min: distance of a single face by its threshold, on average over the judges where
            there are several. Of 1,041 published faces an encoder outside the ladder matched nine,
            looked at where the originals' points lay: all at 0.94 to 1.15, where 3 % of all were.
            As the ladder sees its crops, 8 of 1,872 faces are refused for it.
        shown_frames_min: of a run of replaced faces between redacted ones; shorter ones are
            redacted, too (`flashes.py`).
        require_found_again: a replacement in which no face is detected is not a replacement.
    """

    min_eye_distance_px: float = 14.0
    max_turn: float = 0.55
    max_blur: float = 0.9
    min_score: float = 0.3
    usual_score_share: float = 0.7
    replace_filled: bool = True
    other_anchors: int = 7
    trial_faces: int = 16
    noise_strengths: tuple[float, ...] = (1.0, 1.5)
    other_anchor_share: float = 0.1
    person_apart_min: float = 0.72
    steady_share: float = 0.5
    hidden_window: tuple[float, float] = (1.0, 1.15)
    slack_min: float = 0.0
    together_min: float = 1.2
    shown_frames_min: int = 5
    require_found_again: bool = True

    def __post_init__(self) -> None:
        """Refuse limits that cannot be meant."""
        if self.other_anchors < 0 or self.trial_faces < 1 or not self.noise_strengths:
            raise InvariantError(
                "LadderParams: other_anchors below 0, trial_faces below 1, or no noise strength"
            )
        if not 0.0 < self.other_anchor_share <= 1.0:
            raise InvariantError("LadderParams: other_anchor_share is not in (0, 1]")

    def first(self) -> Attempt:
        """Return the first try: every face, its person's first anchor."""
        return Attempt(0, 0, self.noise_strengths[0])

    def with_other_anchors(self) -> tuple[Attempt, ...]:
        """Return the tries that give a person another anchor, in order.

        Example:
            >>> params = LadderParams(other_anchors=2)
            >>> [(a.number, a.anchor_number) for a in params.with_other_anchors()]
            [(1, 1), (2, 2)]
        """
        numbers = range(1, self.other_anchors + 1)
        return tuple(Attempt(n, n, self.noise_strengths[0]) for n in numbers)

    def with_stronger_noise(self) -> tuple[Attempt, ...]:
        """Return the tries that leave a face its anchor, in order.

        Example:
            >>> [(a.number, a.noise_strength) for a in LadderParams().with_stronger_noise()]
            [(8, 1.5)]
        """
        stronger = enumerate(self.noise_strengths[1:], self.other_anchors + 1)
        return tuple(Attempt(number, None, strength) for number, strength in stronger)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of the ladder."""

    number: int
    anchor_number: int | None  # 0 is the first choice; None: the one that the person has
    noise_strength: float

    @property
    def reason(self) -> Reason:
        """How a face accepted in this try is recorded."""
        return Reason.REPLACED if self.number == 0 else Reason.REPLACED_STRONGER


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of one try; arrays are `[k]` over the faces judged."""

    accepted: Bool
    failure: tuple[Reason | None, ...]


def gate_faces(
    tracks: FaceTracks,
    params: LadderParams,
    *,
    has_generator: bool = True,
    redact_all: bool = False,
) -> tuple[Reason | None, ...]:
    """Return for each row of `tracks` why it must be redacted, or None where it may be replaced.

    Causes are tested in a fixed order, the first one counts: policy, no generator, box without a
    detection (or filled and on another's head), no landmarks, low score, too small, too turned,
    too blurred.

    Args:
        tracks: all boxes of a segment.
        params: limits.
        has_generator: whether any generator is configured.
        redact_all: the policy redacts everything.
    """
    if redact_all or not has_generator:
        cause = Reason.POLICY if redact_all else Reason.NO_GENERATOR
        return tuple(cause for _ in range(len(tracks)))
    detected = tracks.origin == BoxOrigin.DETECTED
    usual = usual_score(tracks)
    score_min = np.maximum(params.min_score, params.usual_score_share * usual)
    filled_allowed = params.replace_filled & (tracks.origin != BoxOrigin.REPAIRED)
    causes = (
        (~detected & ~(filled_allowed & tracks.has_landmarks), Reason.NOT_DETECTED),
        (hidden_behind_others(tracks), Reason.NOT_DETECTED),
        (~tracks.has_landmarks, Reason.NO_LANDMARKS),
        ((tracks.score < score_min) | (usual < params.min_score), Reason.LOW_SCORE),
        (tracks.eye_distance_px < params.min_eye_distance_px, Reason.TOO_SMALL),
        (tracks.turn > params.max_turn, Reason.TOO_TURNED),
        (tracks.blur > params.max_blur, Reason.TOO_BLURRED),
    )
    reasons: list[Reason | None] = [None] * len(tracks)
    for applies, cause in causes:
        for row in np.flatnonzero(applies):
            if reasons[row] is None:
                reasons[row] = cause
    return tuple(reasons)


def hidden_behind_others(tracks: FaceTracks) -> Bool:
    """Return [n] which filled boxes lie on the head of a nearer person, who was detected there.

    The face is out of view; a replacement would be painted on the other's ear. The head reaches
    beyond the face's box by half of its sides.
    """
    hidden = np.zeros(len(tracks), dtype=np.bool_)
    detected = tracks.origin == BoxOrigin.DETECTED
    low, high = tracks.boxes_xyxy_px[:, :2], tracks.boxes_xyxy_px[:, 2:]
    centre, size = (low + high) / 2, high - low
    for row in np.flatnonzero(~detected):
        others = detected & (tracks.frame_index == tracks.frame_index[row])
        larger = others & (size.prod(axis=1) > size[row].prod())
        on_head = (np.abs(centre - centre[row]) < size).all(axis=1)
        hidden[row] = bool((larger & on_head).any())
    return hidden


def usual_score(tracks: FaceTracks) -> F32:
    """Return [n] the median score of the detections in each row's track; 0 where it has none."""
    scores = np.zeros(len(tracks), dtype=np.float32)
    detected = tracks.origin == BoxOrigin.DETECTED
    for track in np.unique(tracks.track[detected]):
        of_track = tracks.track == track
        scores[of_track] = np.median(tracks.score[of_track & detected])
    return scores


def judge_faces(slack: F32, found_again: Bool, params: LadderParams) -> Verdict:
    """Decide which replacements stand.

    Args:
        slack: `[k, judges]` or `[k]`, distance beyond the threshold to the original and to its
            negation, whichever is nearer (`FaceDistances.slack`), of every judge; where there are
            several, of all together, too (`slack_together`).
        found_again: `[k]`, a detector finds a face in the replacement.
        params: limits.

    Example:
        >>> v = judge_faces(np.float32([0.1, -0.1]), np.array([True, True]), LadderParams())
        >>> v.accepted.tolist(), v.failure[1]
        ([True, False], <Reason.TOO_CLOSE: 'judged_too_close'>)
    """
    worst = slack.min(axis=1) if slack.ndim == 2 else slack
    if len(worst) != len(found_again):
        raise InvariantError(f"judge_faces: {len(worst)} distances, {len(found_again)} detections")
    # not (>=) rather than (<): a NaN fails
    too_close = ~(worst >= params.slack_min)
    lost = ~found_again if params.require_found_again else np.zeros(len(worst), dtype=np.bool_)
    failure = tuple(
        Reason.TOO_CLOSE if close else Reason.NOT_FOUND_AGAIN if gone else None
        for close, gone in zip(too_close, lost, strict=True)
    )
    return Verdict(np.asarray(~(too_close | lost)), failure)


def settle(
    gate_reasons: Sequence[Reason | None],
    accepted_in: Sequence[Attempt | None],
    failures: Sequence[Reason | None],
) -> list[tuple[Treatment, Reason]]:
    """Return the final treatment and reason of every face.

    Args:
        gate_reasons: per face, from `gate_faces`.
        accepted_in: the try whose replacement stands, or None.
        failures: the last failure of faces that were tried and never accepted; a face that no try
            reached was not shown to be safe and counts as too close.

    Raises:
        InvariantError: lengths differ, or a gated face was replaced.
    """
    if not len(gate_reasons) == len(accepted_in) == len(failures):
        raise InvariantError(
            f"settle: {len(gate_reasons)} gates, {len(accepted_in)} tries, {len(failures)} failures"
        )
    outcome: list[tuple[Treatment, Reason]] = []
    for gate, attempt, failure in zip(gate_reasons, accepted_in, failures, strict=True):
        if gate is not None:
            if attempt is not None:
                raise InvariantError(f"settle: a face gated as {gate} was replaced")
            outcome.append((Treatment.REDACTED, gate))
        elif attempt is not None:
            outcome.append((Treatment.SWAPPED, attempt.reason))
        else:
            outcome.append((Treatment.REDACTED, failure or Reason.TOO_CLOSE))
    return outcome
