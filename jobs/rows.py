"""The only seam between Arrow rows and the frozen types of `deid_ops`.

A row is a dict with one value a column: list columns as flat numpy arrays (or lists of strings),
everything else as plain Python values. `to_table` and `from_table` translate one row to and from
a one-row Arrow table of a declared edge; the other functions translate groups of columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from deid_ops.errors import InputError
from deid_ops.swap.conditions import FaceConditions
from deid_ops.swap.contract import N_STRENGTHS
from deid_ops.swap.layout import N_POINTS
from deid_ops.types import I32, Bool, FaceCrops, Faces, FaceTracks, Span, Treatment
from schemas.columns import Column, Edge
from schemas.edges import SEGMENT

Row = dict[str, Any]


def to_table(edge: Edge, row: Mapping[str, Any]) -> pa.Table:
    """Return one row as a table of the edge; columns that the row lacks get their empty value."""
    arrays = [_to_array(c, row[c.name] if c.name in row else empty_value(c)) for c in edge.columns]
    return edge.validate(pa.Table.from_arrays(arrays, names=list(edge.names)))


def from_table(edge: Edge, table: pa.Table) -> list[Row]:
    """Return the rows of a table of the edge."""
    checked = edge.validate(table).combine_chunks()
    return [
        {c.name: _from_array(c, checked.column(c.name), i) for c in edge.columns}
        for i in range(checked.num_rows)
    ]


def empty_value(column: Column) -> Any:
    """Return the value that says "nothing here" for a column."""
    kind = column.type
    if column.nullable:
        return None
    if pa.types.is_list(kind) or pa.types.is_map(kind):
        return []
    if pa.types.is_string(kind):
        return ""
    if pa.types.is_large_binary(kind):
        return b""
    if pa.types.is_boolean(kind):
        return False
    return 0.0 if pa.types.is_floating(kind) else 0


def segment_part(row: Mapping[str, Any]) -> Row:
    """Return only the columns that every edge repeats."""
    return {c.name: row[c.name] for c in SEGMENT if c.name in row}


def quarantined(row: Mapping[str, Any], stage: str, error: InputError) -> Row:
    """Return the row's segment columns, marked with the stage and the error's reason."""
    return segment_part(row) | {
        "status": "quarantined",
        "refused_by": stage,
        "reason": error.reason,
        "detail": error.detail,
        "remedy": error.remedy,
    }


def span_from_row(row: Mapping[str, Any]) -> Span:
    """Return the span of the row's segment."""
    return Span(
        stream_index=row["stream_index"],
        pts_start=row["pts_start"],
        pts_end=row["pts_end"],
        n_frames=row["n_frames"],
        time_base=Fraction(row["time_base_num"], row["time_base_den"]),
    )


def faces_to_row(faces: Faces) -> Row:
    """Return the `face_*` columns."""
    return {
        "face_frame_index": faces.frame_index,
        "face_boxes_xyxy_px": faces.boxes_xyxy_px,
        "face_landmarks_xy_px": faces.landmarks_xy_px,
        "face_score": faces.score,
        "face_eye_distance_px": faces.eye_distance_px,
        "face_blur": faces.blur,
        "face_turn": faces.turn,
        "face_embedding": faces.embedding,
        "face_has_embedding": faces.has_embedding,
        "embedding_dim": int(faces.embedding.shape[1]),
        "face_guard_vector": faces.guard_vector,
        "guard_dim": int(faces.guard_vector.shape[1]),
    }


def faces_from_row(row: Mapping[str, Any]) -> Faces:
    """Return the detections of a row."""
    n = len(row["face_frame_index"])
    return Faces(
        row["face_frame_index"],
        row["face_boxes_xyxy_px"].reshape(n, 4),
        row["face_landmarks_xy_px"].reshape(n, 5, 2),
        row["face_score"],
        row["face_eye_distance_px"],
        row["face_blur"],
        row["face_turn"],
        row["face_embedding"].reshape(n, row["embedding_dim"]),
        row["face_has_embedding"],
        row["face_guard_vector"].reshape(n, row["guard_dim"]),
    )


def tracks_to_row(tracks: FaceTracks) -> Row:
    """Return the `box_*` columns that describe where the boxes are."""
    return {
        "box_frame_index": tracks.frame_index,
        "box_track": tracks.track,
        "box_boxes_xyxy_px": tracks.boxes_xyxy_px,
        "box_landmarks_xy_px": tracks.landmarks_xy_px,
        "box_has_landmarks": tracks.has_landmarks,
        "box_origin": tracks.origin,
        "box_score": tracks.score,
        "box_eye_distance_px": tracks.eye_distance_px,
        "box_blur": tracks.blur,
        "box_turn": tracks.turn,
    }


def tracks_from_row(row: Mapping[str, Any]) -> FaceTracks:
    """Return the tracks of a row."""
    n = len(row["box_frame_index"])
    return FaceTracks(
        row["box_frame_index"],
        row["box_track"],
        row["box_boxes_xyxy_px"].reshape(n, 4),
        row["box_landmarks_xy_px"].reshape(n, 5, 2),
        row["box_has_landmarks"],
        row["box_origin"],
        row["box_score"],
        row["box_eye_distance_px"],
        row["box_blur"],
        row["box_turn"],
    )


def crops_to_row(crops: FaceCrops) -> Row:
    """Return the `crop_*` columns."""
    return {
        "crop_row": crops.row,
        "crop_size_px": int(crops.crops_bgr.shape[1]),
        "crop_from_frame": crops.crop_from_frame,
        "crop_pixels": crops.crops_bgr.tobytes(),
        "crop_weight": crops.weight.tobytes(),
    }


def crops_from_row(row: Mapping[str, Any]) -> FaceCrops:
    """Return the crops of a row."""
    k, size = len(row["crop_row"]), row["crop_size_px"]
    pixels = np.frombuffer(row["crop_pixels"], np.uint8).reshape(k, size, size, 3)
    weight = np.frombuffer(row["crop_weight"], np.uint8).reshape(k, size, size)
    return FaceCrops(row["crop_row"], pixels, row["crop_from_frame"].reshape(k, 2, 3), weight)


def conditions_to_row(conditions: FaceConditions) -> Row:
    """Return the `told_*` columns."""
    return {"told_points_px": conditions.points_px, "told_detail_rms": conditions.detail_rms}


def conditions_from_row(row: Mapping[str, Any]) -> FaceConditions:
    """Return what the painters are told of each crop's original."""
    k = len(row["crop_row"])
    points = row["told_points_px"].reshape(k, N_POINTS, 2)
    return FaceConditions(points, row["told_detail_rms"].reshape(k, N_STRENGTHS))


def is_swapped(row: Row) -> Bool:
    """Return which boxes [n] are replaced, or planned to be."""
    return np.array([t == Treatment.SWAPPED for t in row["box_treatment"]], dtype=np.bool_)


def further_anchors(row: Row) -> I32:
    """Return the anchors of each track besides the first, in order of choice, [t, n]; -1: none."""
    ids = np.array(row["track_other_anchor_ids"], dtype=np.int32)
    n_tracks = len(row["track_anchor_id"])
    return ids.reshape(n_tracks, -1) if n_tracks else ids.reshape(0, 0)


def shown_anchor(row: Row, track: int) -> int:
    """Return the row of the anchor bank that a track shows; -1 where it has none.

    The ladder may have given it another than the person's first.
    """
    number = int(row["track_anchor_number"][track])
    return int(
        row["track_anchor_id"][track] if number == 0 else further_anchors(row)[track, number - 1]
    )


def add_seconds(pairs: Iterable[tuple[str, float]], name: str, seconds: float) -> Any:
    """Return a map column's value with `seconds` added under `name`."""
    total = dict(pairs)
    total[name] = total.get(name, 0.0) + seconds
    return list(total.items())


def _to_array(column: Column, value: Any) -> pa.Array:
    if pa.types.is_list(column.type) and isinstance(value, np.ndarray):
        items = pa.array(np.ascontiguousarray(value).reshape(-1), type=column.type.value_type)
        offsets = pa.array([0, len(items)], type=pa.int32())
        return pa.ListArray.from_arrays(offsets, items, type=column.type)
    return pa.array([value], type=column.type)


def _from_array(column: Column, values: pa.ChunkedArray, index: int) -> Any:
    scalar = values[index]
    kind = column.type
    if not pa.types.is_list(kind):
        return scalar.as_py()
    if pa.types.is_string(kind.value_type) or pa.types.is_nested(kind.value_type):
        return scalar.as_py()
    return _numeric(scalar.values)


def _numeric(items: pa.Array) -> npt.NDArray[Any]:
    return np.asarray(items.to_numpy(zero_copy_only=False))


def as_strings(values: Sequence[str] | npt.NDArray[Any]) -> list[str]:
    """Return plain strings (enum members and numpy strings become `str`)."""
    return [str(v) for v in values]
