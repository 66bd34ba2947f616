"""`deid bench --models`: a row for every network, with figures that follow from its graph."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from random_networks import Files, export_random
from tiny_fleet import FAST, TINY_FLEET

from deid_ops.inference.graphs import graph_macs
from deid_ops.swap.aim import ROUNDS
from jobs.bench_models import BATCHES, bench_models
from jobs.cli.app import main
from jobs.config import load_config
from jobs.fleet.build import write_recording


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return export_random(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "front.mp4"
    write_recording(path, TINY_FLEET[0], seed=0)
    return path


def test_every_configured_network_has_its_row(clip: Path, files: Files) -> None:
    own = [f"replace.{n}={getattr(files, n)}" for n in ("generator", "attributes", "denoiser")]
    encoder = f"replace.encoder=own:{files.encoder}"
    config = load_config(None, ("inference.threads=1", encoder, *own))
    bench = bench_models(clip, config, repeats=3)
    rows = {row.role: row for row in bench.rows}
    painters = ["encoder", "attributes", "generator", "denoiser"]
    assert list(rows) == ["detector", "second detector", *painters, "judge dlib"]
    assert bench.size_wh_px == (320, 180)
    for name in painters:
        row, path = rows[name], Path(getattr(files, name))
        model = onnx.load(path)
        feeds = {
            i.name: np.zeros([d.dim_value or 1 for d in i.type.tensor_type.shape.dim], np.float32)
            for i in model.graph.input
        }
        assert row.files == (path.name,)
        assert row.mb == pytest.approx(path.stat().st_size / 1e6)
        # a face is painted to aim, and for good; it is read as it is, and mirrored
        runs = {"generator": ROUNDS + 1, "attributes": 2}.get(name, 1)
        assert row.gflop == pytest.approx(runs * 2 * graph_macs(model, feeds) / 1e3)
        assert (row.item, row.provider) == ("face", "cpu")
    assert rows["second detector"].files == ("pnet.pt", "rnet.pt", "onet.pt")
    assert rows["detector"].item == "frame"
    # dlib's network: 0.27 GMAC on a 150 px chip; CenterFace on a padded 320x192 frame
    assert rows["judge dlib"].gflop == pytest.approx(0.54, rel=0.05)
    assert rows["detector"].gflop == pytest.approx(0.736, rel=0.02)
    assert all(row.ms[n] > 0 for row in bench.rows for n in BATCHES)
    text = bench.text()
    assert "frames of front.mp4, 320x180, 1 threads" in text
    assert len(text.splitlines()) == 2 + len(rows)
    for row in bench.rows:
        assert f"{row.ms[16]:.2f}" in text


def test_command_leaves_out_what_is_not_configured(clip: Path, monkeypatch, capsys) -> None:
    words = ["deid", "bench", str(clip), "--models"]
    settings = [word for setting in FAST for word in ("--set", setting)]
    monkeypatch.setattr(sys, "argv", [*words, *settings])
    with pytest.raises(SystemExit, match="0"):
        main()
    roles = [line[:15].strip() for line in capsys.readouterr().out.splitlines()[2:]]
    assert roles == ["detector", "second detector", "judge dlib"]
