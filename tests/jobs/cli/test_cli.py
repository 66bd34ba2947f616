"""The command line as a user types it."""

import json
import sys
from pathlib import Path

import pytest
from tiny_fleet import FAST

from jobs.cli.app import main

SET = tuple(word for setting in FAST for word in ("--set", setting))


@pytest.fixture
def deid(monkeypatch, capsys):
    """Run `deid ...` in this process; returns exit code, standard output, standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["deid", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings of the tiny fleet in `VEHICLE/DRIVE/CAMERA.mp4`."""
    from tiny_fleet import TINY_FLEET

    from jobs.fleet.build import write_recording

    root = tmp_path_factory.mktemp("archive")
    for recording in TINY_FLEET:
        path = root / "car-01" / "2026-03-02_d001" / f"{recording.camera}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_recording(path, recording, seed=0)
    return root


def test_from_a_folder_to_an_answer(deid, folder, tmp_path, monkeypatch):
    lake, manifest = tmp_path / "lake", tmp_path / "manifest.parquet"
    monkeypatch.setenv("DEID_KEY", "5a" * 32)
    assert deid("manifest", "build", folder, "--out", manifest)[:2] == (
        0,
        f"3 recordings -> {manifest}\n",
    )
    job = ("--manifest", manifest, "--lake", lake, "--inline", *SET)

    code, out, _ = deid("backfill", "plan", "--manifest", manifest, "--lake", lake, *SET)
    assert code == 0
    assert "5 segments of 3 recordings" in out
    code, out, _ = deid("backfill", "status", "--lake", lake)
    assert (code, "0.0 % of 5 units" in out) == (0, True)

    code, out, err = deid("nightly", *job)
    assert code == 3
    assert "5 planned = 0 done before + 4 published + 1 quarantined" in out
    events = [json.loads(line)["event"] for line in err.splitlines() if line.startswith("{")]
    assert events[-1] == "committed"

    code, out, _ = deid("backfill", "run", *job)
    assert (code, "nothing to do" in out) == (0, True)
    code, out, _ = deid("backfill", "status", "--lake", lake)
    assert "100.0 % of 5 units" in out
    assert "1 truncated" in out

    code, out, _ = deid("sql", "SELECT count(*) AS n FROM segments", "--lake", lake,
                        "--format", "json")  # fmt: skip
    assert (code, json.loads(out)) == (0, {"n": 5})
    assert deid("verify", "--lake", lake)[:2] == (0, "0 findings, 4 clips read\n")

    code, out, _ = deid("report", "--lake", lake, "--out", tmp_path / "report")
    assert code == 0
    assert Path(out.strip()).stat().st_size > 10_000

    clip = next(Path(lake / "clips").rglob("*.mp4"))
    clip.write_bytes(clip.read_bytes() + b"tampered")
    code, out, err = deid("verify", "--lake", lake)
    assert (code, "clip_bytes" in err) == (1, True)


def test_a_missing_key_says_how_to_make_one(deid, tmp_path, monkeypatch):
    monkeypatch.delenv("DEID_KEY", raising=False)
    code, _, err = deid("nightly", "--manifest", "m.parquet", "--lake", tmp_path, "--inline")
    assert code == 1
    assert "DEID_KEY is not set" in err
    assert "token_hex" in err


@pytest.mark.parametrize("key", ["short", "zz" * 32])
def test_a_malformed_key_is_not_printed(deid, tmp_path, monkeypatch, key):
    monkeypatch.setenv("DEID_KEY", key)
    code, out, err = deid("nightly", "--manifest", "m.parquet", "--lake", tmp_path, "--inline")
    assert code == 1
    assert key not in out + err


def test_cuda_that_is_not_there_is_an_error(deid, folder, tmp_path):
    clip = folder / "car-01" / "2026-03-02_d001" / "rear.mp4"
    out = tmp_path / "out"
    code, _, err = deid("run", clip, "--out", out, "--set", "inference.providers=[cuda]")
    assert code == 1
    assert "cuda" in err.lower()


def test_a_refused_file_exits_3(deid, folder, tmp_path):
    clip = folder / "car-01" / "2026-03-02_d001" / "broken.mp4"
    code, _, err = deid("run", clip, "--out", tmp_path / "out")
    assert code == 3
    assert "truncated" in err
    assert "Remedy" in err


def test_an_unknown_option_exits_2_with_a_hint(deid):
    code, _, err = deid("run", "--nope")
    assert code == 2
    assert "--nope" in err


def test_version_and_help(deid):
    assert deid("--version")[1].startswith("deid-lake ")
    code, out, _ = deid("--help")
    assert code == 0
    assert "nightly" in out
