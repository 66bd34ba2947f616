"""What costs how much more than what, for the parts whose price decides how a fleet is run."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_fleet import FAST, KEY, NO_REPLACEMENT, TINY_FLEET

from deid_ops.anchors.bank import density_bank
from jobs.config import load_config
from jobs.deidentify import Request, deidentify
from jobs.fleet.build import build_fleet, write_recording
from jobs.loose import run_timed
from jobs.models import generator

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1200)]
REPLACING = load_config(None, ("inference.threads=1",))
REDACTING = load_config(None, ("inference.threads=1", NO_REPLACEMENT))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A clip with a face in every frame, and one of the same size without any."""
    folder = tmp_path_factory.mktemp("clips")
    for recording in TINY_FLEET[:2]:
        longer = replace(recording, n_frames=24)
        write_recording(folder / f"{recording.camera}.mp4", longer, seed=0)
    return {path.stem: path for path in folder.iterdir()}


def test_replacing_beside_redacting(compare, clips, tmp_path) -> None:
    def treat(config, out: str) -> list[str]:
        return run_timed(clips["front"], tmp_path / out, config, KEY).row["box_treatment"]

    replaced, redacted = treat(REPLACING, "a"), treat(REDACTING, "b")
    assert len(replaced) == len(redacted) >= 24
    assert "swapped" in replaced
    assert set(redacted) == {"redacted"}
    compare(
        "replacing one small face a frame over redacting it",
        lambda: treat(REPLACING, "a"),
        lambda: treat(REDACTING, "b"),
    )


def test_a_face_beside_none(compare, clips, tmp_path) -> None:
    def treat(camera: str) -> int:
        row = run_timed(clips[camera], tmp_path / camera, REDACTING, KEY).row
        return len(row["box_treatment"])

    assert (treat("front") >= 24, treat("rear")) == (True, 0)
    compare(
        "a clip with a redacted face over one without, which is copied",
        lambda: treat("front"),
        lambda: treat("rear"),
    )


def test_one_face_at_a_time_beside_a_batch(compare) -> None:
    painter = generator(REPLACING)
    assert painter is not None
    crops = np.random.default_rng(0).integers(0, 255, (16, 128, 128, 3)).astype(np.uint8)
    anchors = density_bank(16, 128, seed=1).vectors_unit
    told = painter.read(crops)

    def at_once() -> np.ndarray:
        return painter(crops, told, anchors)

    def one_by_one() -> np.ndarray:
        rows = np.arange(16)[:, None]
        return np.concatenate([painter(crops[r], told.take(r), anchors[r]) for r in rows])

    assert np.abs(at_once().astype(int) - one_by_one()).max() <= 1
    compare("painting 16 faces one by one over at once", one_by_one, at_once)


def test_a_first_night_beside_one_that_finds_all_done(compare, tmp_path) -> None:
    manifest = build_fleet(str(tmp_path / "fleet"), recordings=TINY_FLEET)
    config, number = load_config(None, FAST), itertools.count()

    def night(lake: Path) -> int:
        request = Request(manifest, str(lake), config, KEY, tmp_path / "scratch", inline=True)
        return deidentify(request).n_published

    assert (night(tmp_path / "kept"), night(tmp_path / "kept")) == (4, 0)
    compare(
        "a first night of five segments over one that finds all done",
        lambda: night(tmp_path / f"new-{next(number)}"),
        lambda: night(tmp_path / "kept"),
    )
