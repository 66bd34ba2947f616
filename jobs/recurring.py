"""Who is seen in several segments shows one face in all of them.

The ladder may give a person another anchor than the first, by the faces of one segment; at the
border to the next, that person would change face. So it is decided before anything is rendered: the
segment that shows most of somebody leads, the anchors are tried on some faces there
(`stages.replace.TRY`), and every segment of the scope gets the outcome, without an alternative. A
face that it does not suit goes on to stronger noise and redaction, as ever.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from deid_ops.metrics.temporal import evenly_spaced_rows
from deid_ops.types import I64, Treatment
from jobs.rows import Row, further_anchors, is_swapped, shown_anchor

#: Of somebody else in view, by whom it is known whether a new face is hidden among the others.
_FACES_OF_OTHERS = 4

#: A row of edge `linked` for each lead -> a row of edge `tried` for each.
TryAnchors = Callable[[Sequence[Row]], Iterable[Row]]


def with_one_face(
    linked: Sequence[Row], shown: Mapping[str, int], trial_faces: int, try_anchors: TryAnchors
) -> list[Row]:
    """Return the rows of edge `linked` of whole scopes, with the anchors of recurring persons.

    Args:
        linked: what is to be rendered.
        shown: anchor by person, of those whom published segments of these scopes show.
        trial_faces: of a person, on which anchors are tried.
        try_anchors: runs the trial; a row that comes back quarantined decides nothing, and its
            persons keep their first anchor.
    """
    leads = _leads(linked, shown.keys())
    asked = [_to_try(row, leads[row["unit_id"]], trial_faces)
             for row in linked if row["unit_id"] in leads]  # fmt: skip
    tried = {row["unit_id"]: row for row in try_anchors(asked)} if asked else {}
    decided = dict(shown)
    for row in asked:
        outcome = tried[row["unit_id"]]
        told = outcome if outcome["status"] == "ok" else row
        for person in leads[row["unit_id"]]:
            decided[person] = shown_anchor(told, row["track_person_id"].index(person))
    return [_decided(row, decided, tried.get(row["unit_id"])) for row in linked]


def _leads(linked: Sequence[Row], known: Iterable[str]) -> dict[str, set[str]]:
    """Return by unit for whom it leads; the first of equals does."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for row in linked:
        for person, boxes in _planned_boxes(row).items():
            counts[person][row["unit_id"]] = len(boxes)
    leads: dict[str, set[str]] = defaultdict(set)
    for person in counts.keys() - set(known):
        in_unit = counts[person]
        if len(in_unit) > 1:
            leads[max(in_unit, key=lambda unit: in_unit[unit])].add(person)
    return dict(leads)


def _planned_boxes(row: Row) -> dict[str, I64]:
    """Return by person which boxes are to be swapped, in the order of their frames."""
    of_person = defaultdict(list)
    for box in np.flatnonzero(is_swapped(row)):
        of_person[row["track_person_id"][row["box_track"][box]]].append(box)
    return {person: np.array(boxes, dtype=np.int64) for person, boxes in of_person.items()}


def _to_try(row: Row, leads: set[str], trial_faces: int) -> Row:
    """Return a lead's row with few faces to swap, where only who is led has further anchors."""
    chosen = np.zeros(len(row["box_track"]), dtype=np.bool_)
    for person, boxes in _planned_boxes(row).items():
        wanted = trial_faces if person in leads else _FACES_OF_OTHERS
        # A face is placed and read with those before and after it.
        for middle in evenly_spaced_rows(len(boxes), wanted):
            chosen[boxes[max(middle - 1, 0) : middle + 2]] = True
    further = further_anchors(row)
    further[[person not in leads for person in row["track_person_id"]]] = -1
    return row | {
        "box_treatment": [
            str(Treatment.SWAPPED if here else Treatment.REDACTED) for here in chosen
        ],
        "track_other_anchor_ids": further.ravel(),
    }


def _decided(row: Row, decided: Mapping[str, int], tried: Row | None) -> Row:
    """Return a row in which who is decided has that anchor and no other; a lead bears the cost."""
    first, distance = np.array(row["track_anchor_id"]), np.array(row["track_anchor_distance"])
    further = further_anchors(row)
    for track, person in enumerate(row["track_person_id"]):
        if person not in decided:
            continue
        if decided[person] != first[track]:
            distance[track] = -1.0  # known of the first choice only
        first[track], further[track] = decided[person], -1
    spent = {} if tried is None else {k: tried[k] for k in ("stage_seconds", "idle_seconds")}
    return row | spent | {
        "track_anchor_id": first,
        "track_anchor_distance": distance,
        "track_other_anchor_ids": further.ravel(),
    }  # fmt: skip
