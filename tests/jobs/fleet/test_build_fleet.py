"""The demo fleet: what it promises to hold, and that one seed gives one set of bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from deid_ops.errors import InputError
from deid_ops.video.index import read_index
from jobs.fleet.build import build_fleet, write_recording
from jobs.fleet.drives import FLEET, Recording
from jobs.fleet.people import Person
from jobs.fleet.portraits import ASTRONAUT, Look
from jobs.storage import Storage
from schemas.tables import MANIFEST

BY_ID = {recording.recording_id: recording for recording in FLEET}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fleet")
    assert build_fleet(str(root), seed=3) == str(root / "manifest.parquet")
    return root


def local(fleet: Path, recording_id: str) -> str:
    return str(fleet / BY_ID[recording_id].path)


def test_the_manifest_lists_every_recording_with_its_checksum(fleet: Path) -> None:
    table = pq.read_table(fleet / "manifest.parquet")
    MANIFEST.validate(table)
    rows = table.to_pylist()
    assert {row["recording_id"] for row in rows} == set(BY_ID)
    for row in rows:
        storage = Storage(str(Path(row["uri"]).parent))
        assert storage.digest(Path(row["uri"]).name)[0] == row["sha256"]
    assert len({row["drive_id"] for row in rows}) == 2
    assert len({row["camera"] for row in rows}) >= 4


@pytest.mark.parametrize(
    ("recording_id", "codec", "pix_fmt", "rotation"),
    [
        ("d001-front_wide", "h264", "yuv420p", 0),
        ("d001-left", "hevc", "yuv420p10le", 0),
        ("d002-cabin", "h264", "yuv420p", 90),
    ],
)
def test_codecs(fleet: Path, recording_id: str, codec: str, pix_fmt: str, rotation: int) -> None:
    index = read_index(local(fleet, recording_id))
    facts = index.facts
    assert (facts.codec, facts.pix_fmt, facts.rotation_deg) == (codec, pix_fmt, rotation)
    assert len(index) == BY_ID[recording_id].n_frames


def test_variable_rate_b_frames_and_audio(fleet: Path) -> None:
    assert len(set(np.diff(read_index(local(fleet, "d001-right")).pts).tolist())) > 3
    rear = read_index(local(fleet, "d001-rear")).facts
    assert rear.has_b_frames
    assert [stream.type for stream in rear.other_streams] == ["audio"]


def test_the_cut_off_recording_is_refused_by_name(fleet: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_index(local(fleet, "d002-left"))
    assert caught.value.reason == "truncated"


def test_one_seed_gives_one_set_of_bytes(tmp_path: Path) -> None:
    recording = replace(BY_ID["d001-left"], n_frames=8)
    contents = []
    for seed in (1, 1, 2):
        path = tmp_path / "clip.mp4"
        write_recording(path, recording, seed)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_a_second_build_leaves_the_objects_alone(tmp_path: Path) -> None:
    recording = Recording("car", "d9", BY_ID["d001-rear"].day, "front", n_frames=5)
    build_fleet(str(tmp_path), recordings=(recording,))
    before = (tmp_path / recording.path).stat().st_mtime_ns
    build_fleet(str(tmp_path), recordings=(recording,))
    assert (tmp_path / recording.path).stat().st_mtime_ns == before
    build_fleet(str(tmp_path), seed=1, recordings=(recording,))
    assert (tmp_path / recording.path).stat().st_mtime_ns != before


def test_a_person_is_drawn_where_asked_and_nowhere_else() -> None:
    frame = np.zeros((240, 320, 3), np.uint8)
    Person(ASTRONAUT, Look()).draw(frame, (160.0, 60.0), 40.0, 0.0)
    face = frame[45:80, 145:175].astype(int)
    assert face.mean() > 80
    assert (face[..., 2] > face[..., 0]).mean() > 0.9  # skin: more red than blue
    assert not frame[:, :60].any()
    assert not frame[:, 260:].any()


def test_a_person_beyond_the_edge_changes_nothing() -> None:
    frame = np.full((100, 100, 3), 9, np.uint8)
    Person(ASTRONAUT, Look(mirrored=True)).draw(frame, (900.0, 50.0), 30.0, 0.0)
    assert (frame == 9).all()
