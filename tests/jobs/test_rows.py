import numpy as np
import pytest

from deid_ops.errors import InputError
from deid_ops.types import FaceCrops, Faces, FaceTracks
from jobs import rows
from schemas.columns import SchemaError
from schemas.edges import COMPOSED, DETECTED, PLANNED, TRACKED


def example_faces(rng: np.random.Generator, n: int = 3, dim: int = 4) -> Faces:
    return Faces(
        np.arange(n),
        rng.random((n, 4)),
        rng.random((n, 5, 2)),
        *(rng.random(n) for _ in range(4)),
        rng.random((n, dim)),
        np.array([True, False, True])[:n],
    )


def example_tracks(rng: np.random.Generator, n: int = 4) -> FaceTracks:
    return FaceTracks(
        np.arange(n),
        np.arange(n) % 2,
        rng.random((n, 4)),
        rng.random((n, 5, 2)),
        np.array([True, False] * (n // 2)),
        np.arange(n) % 3,
        *(rng.random(n) for _ in range(4)),
    )


def same(left, right) -> bool:
    names = left.__dataclass_fields__
    return all(np.array_equal(getattr(left, k), getattr(right, k)) for k in names)


def through_arrow(edge, row):
    (back,) = rows.from_table(edge, rows.to_table(edge, row))
    return back


def test_faces_survive_the_wire(rng):
    faces = example_faces(rng)
    assert same(faces, rows.faces_from_row(through_arrow(DETECTED, rows.faces_to_row(faces))))


def test_no_faces_survive_the_wire():
    back = rows.faces_from_row(through_arrow(DETECTED, rows.faces_to_row(Faces.empty(128))))
    assert back.embedding.shape == (0, 128)


def test_tracks_survive_the_wire(rng):
    tracks = example_tracks(rng)
    assert same(tracks, rows.tracks_from_row(through_arrow(TRACKED, rows.tracks_to_row(tracks))))


def test_crops_survive_the_wire(rng):
    crops = FaceCrops(
        np.array([5, 9]),
        rng.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8),
        rng.random((2, 2, 3)),
        rng.integers(0, 256, (2, 8, 8)).astype(np.uint8),
    )
    assert same(crops, rows.crops_from_row(through_arrow(COMPOSED, rows.crops_to_row(crops))))


def test_a_quarantined_row_keeps_its_place_and_says_why():
    planned = through_arrow(PLANNED, {"unit_id": "u", "recording_id": "r"})
    refused = rows.quarantined(planned, "detect", InputError("truncated", "a.mp4", "d", "copy"))
    back = through_arrow(DETECTED, refused)
    assert (back["unit_id"], back["status"], back["refused_by"], back["reason"]) == (
        "u",
        "quarantined",
        "detect",
        "truncated",
    )
    assert len(back["face_frame_index"]) == 0


def test_a_wrong_type_is_refused():
    table = rows.to_table(PLANNED, {}).drop_columns(["unit_id"])
    with pytest.raises(SchemaError, match="unit_id"):
        rows.from_table(PLANNED, table)


def test_seconds_add_up():
    assert rows.add_seconds([("a", 1.0)], "a", 2.0) == [("a", 3.0)]
    assert rows.add_seconds([("a", 1.0)], "b", 2.0) == [("a", 1.0), ("b", 2.0)]
