"""`deid train quantise`: files for the job, refusals that leave nothing behind."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_pack import write_pack
from random_networks import Files, export_random

pytest.importorskip("torch")

from deid_ops.errors import SetupError
from deid_ops.models import int8_check
from deid_ops.train.data import Pack
from jobs.cli.app import main
from jobs.config import load_config
from jobs.models import conditioning_encoder, weights_in_use
from jobs.training_quantise import exported_files

NAMES = ("attributes", "denoiser", "encoder", "generator")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return export_random(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack") / "pack"
    assert len(write_pack(folder, 40)) == len(Pack(folder))
    return folder


@pytest.fixture
def quantise(monkeypatch, capsys, files, pack):
    """Run the command on the random networks; returns exit code, rows, standard error."""
    for name in ("generator", "denoiser"):  # random weights are more sensitive than trained ones
        limits = {k: 10 * v for k, v in int8_check.LIMITS[name].items()}
        monkeypatch.setitem(int8_check.LIMITS, name, limits)

    def call(out: Path, *more: object):
        command = ("deid", "train", "quantise", "--models", Path(files.generator).parent)
        faces = ("--calibration", 16, "--held-out", 8, "--repeats", 2, "--threads", 1)
        arguments = (*command, "--data", pack, "--out", out, *faces, *more)
        monkeypatch.setattr(sys, "argv", [str(a) for a in arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        done = capsys.readouterr()
        return code, json.loads(done.out) if done.out else {}, done.err

    return call


def test_files_are_written_and_the_job_takes_them(quantise, files, tmp_path) -> None:
    code, rows, err = quantise(tmp_path)
    assert (code, err) == (0, "")
    assert sorted(rows) == [f"{n}.onnx" for n in NAMES]
    for row in rows.values():
        assert Path(row["written"]).stat().st_size == pytest.approx(
            1e6 * row["mb"]["int8"], abs=501
        )
        assert row["refused"] == []
        assert set(row["figures"]) == set(int8_check.LIMITS[row["contract"]])
        times, ratios = row["ms_per_face_at_batch"], row["speed_ratio_at_batch"]
        for n in ("1", "16"):
            assert ratios[n] == pytest.approx(times["float"][n] / times["int8"][n], rel=0.2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{n}.int8.onnx" for n in NAMES]

    settings = [f"replace.{n}={tmp_path}/{n}.int8.onnx" for n in NAMES]
    config = load_config(None, tuple(settings))
    encoder = conditioning_encoder(config)
    assert encoder is not None
    assert encoder.embed_crops(np.zeros((2, 112, 112, 3), np.uint8)).shape == (2, 128)
    assert {f"{tmp_path}/{n}.int8.onnx" for n in NAMES} <= set(weights_in_use(config))

    code, _, err = quantise(tmp_path)
    assert code == 1
    assert "is there already" in err


def test_a_refused_file_exits_3_with_its_figures(quantise, tmp_path, monkeypatch) -> None:
    limits = dict.fromkeys(int8_check.LIMITS["attributes"], 1e-12)
    monkeypatch.setitem(int8_check.LIMITS, "attributes", limits)
    monkeypatch.setattr(int8_check, "KEPT_FLOAT", (0.0,))
    code, rows, _ = quantise(tmp_path / "out")
    assert code == 3
    row = rows["attributes.onnx"]
    assert row["written"] is None
    assert "points_mean_px is" in row["refused"][0]
    assert row["figures"]["points_mean_px"] > 1e-12
    assert not (tmp_path / "out" / "attributes.int8.onnx").exists()
    assert (tmp_path / "out" / "generator.int8.onnx").exists()


def test_a_folder_without_exported_files_is_named(tmp_path, files) -> None:
    with pytest.raises(SetupError, match="no file written by `deid train export`"):
        exported_files(tmp_path)
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(Path(files.encoder).read_bytes())
    with pytest.raises(SetupError, match=r"a\.onnx and b\.onnx are both encoder"):
        exported_files(tmp_path)
