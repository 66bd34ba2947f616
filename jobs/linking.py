"""Link the tracks of a wave to persons, give each an anchor, plan every box's treatment.

Embeddings enter here and do not leave: what comes out is the edge `linked`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from deid_ops.track.link import LinkParams, link_tracks, person_guard_vectors, person_vectors
from deid_ops.track.summary import SegmentPlace, TrackSummary, summarize_tracks
from deid_ops.types import FaceTracks
from jobs.anchoring import Anchors, AnchorSet, PersonViews
from jobs.config import JobConfig
from jobs.models import track_params
from jobs.rows import Row, segment_part, tracks_from_row, tracks_to_row
from jobs.stages.replace import planned_treatments


def link_wave(tracked: Sequence[Row], config: JobConfig, secret_key: bytes) -> list[Row]:
    """Return rows of edge `linked`, one for each row of edge `tracked`."""
    anchors = Anchors(config, secret_key)
    ordered = sorted(tracked, key=lambda row: (row["scope_id"], row["recording_id"],
                                               row["segment_index"]))  # fmt: skip
    linked: list[Row] = []
    for scope, rows in groupby(ordered, key=lambda row: str(row["scope_id"])):
        linked += _link_scope(scope, list(rows), config, anchors)
    return linked


def _link_scope(scope: str, rows: Sequence[Row], config: JobConfig, anchors: Anchors) -> list[Row]:
    """Link one identity scope; persons get their anchors in order of their id."""
    tracks = [tracks_from_row(row) for row in rows]
    summaries: list[TrackSummary] = []
    for row, boxes in zip(rows, tracks, strict=True):
        summaries += _summaries(row, boxes)
    params = LinkParams(track=track_params(config))
    persons = link_tracks(summaries, params)
    own, judged = person_vectors(summaries, persons), person_guard_vectors(summaries, persons)
    views = {person: PersonViews(own.get(person), judged.get(person)) for person in set(persons)}
    chosen: dict[str, AnchorSet] = {}
    together = _seen_together(summaries, persons)
    for person in sorted(set(persons)):
        taken = [a for other in chosen.values() for a in other.anchor_ids]
        live = [a for other in together[person] & set(chosen) for a in chosen[other].anchor_ids]
        others = [views[other] for other in sorted(together[person])]
        chosen[person] = anchors.choose(views[person], scope, person, taken, live, others)
    out, position = [], 0
    for row, boxes in zip(rows, tracks, strict=True):
        mine = persons[position : position + boxes.n_tracks]
        position += boxes.n_tracks
        out.append(_linked(row, boxes, mine, chosen, config))
    return out


def _seen_together(
    summaries: Sequence[TrackSummary], persons: Sequence[str]
) -> dict[str, set[str]]:
    """Return for each person the others in view at the same time in the same recording."""
    spans: dict[str, list[tuple[int, int, str]]] = {}
    for summary, person in zip(summaries, persons, strict=True):
        first = summary.first_frame
        last = summary.place.start_frame + int(summary.frames[-1])
        spans.setdefault(summary.place.stream_id, []).append((first, last, person))
    together: dict[str, set[str]] = {person: set() for person in persons}
    for in_stream in spans.values():
        in_stream.sort()
        open_spans: list[tuple[int, str]] = []
        for first, last, person in in_stream:
            open_spans = [(end, other) for end, other in open_spans if end >= first]
            for _, other in open_spans:
                if other != person:
                    together[person].add(other)
                    together[other].add(person)
            open_spans.append((last, person))
    return together


def _summaries(row: Row, boxes: FaceTracks) -> list[TrackSummary]:
    place = SegmentPlace(
        stream_id=f"{row['drive_id']}/{row['camera']}/{row['recording_id']}",
        segment_index=row["segment_index"],
        start_frame=row["start_frame"],
        n_frames=row["n_frames"],
    )
    embedding = np.asarray(row["track_embedding"]).reshape(boxes.n_tracks, row["embedding_dim"])
    seen = np.asarray(row["track_guard_vector"]).reshape(boxes.n_tracks, row["guard_dim"])
    return summarize_tracks(boxes, embedding, row["track_has_embedding"], place, seen)


def _linked(
    row: Row,
    boxes: FaceTracks,
    persons: Sequence[str],
    chosen: dict[str, AnchorSet],
    config: JobConfig,
) -> Row:
    options = [chosen[person] for person in persons]
    first = [o.anchor_ids[0] for o in options]
    further = [a for o in options for a in o.anchor_ids[1:]]
    treatments, reasons = planned_treatments(boxes, [a >= 0 for a in first], config)
    return segment_part(row) | tracks_to_row(boxes) | {
        "track_person_id": list(persons),
        "track_anchor_id": np.array(first, np.int32),
        "track_other_anchor_ids": np.array(further, np.int32),
        "track_anchor_number": np.zeros(len(first), np.int32),
        "track_anchor_distance": np.array([o.distance for o in options], np.float32),
        "box_treatment": treatments,
        "box_reason": reasons,
    }  # fmt: skip
