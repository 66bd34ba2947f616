"""`deid train anchors`: far from training faces, and between the sexes where they are known."""

from __future__ import annotations

import doctest
import json
from pathlib import Path

import numpy as np
import pytest
from drawn_pack import write_pack
from typer.testing import CliRunner

from deid_ops.anchors.bank import load_bank
from deid_ops.anchors.density import DensityConfig
from deid_ops.train.data import Pack
from jobs import training_bank
from jobs.cli_train import app
from jobs.training_bank import between, learn_readings, run_anchors


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Return a folder with a pack whose names say what the vectors do."""
    pack = write_pack(tmp_path / "pack", 2000)
    vectors = np.asarray(pack.columns["identity_unit"])
    sex = (vectors[:, 0] > 0).astype(int)
    age = np.clip(np.rint(30 + 150 * vectors[:, 1]), 1, 99).astype(int)
    names = [f"faces.tar:{a}_{s}_0_x.jpg\n" for a, s in zip(age, sex, strict=True)]
    (tmp_path / "pack" / "names.txt").write_text("".join([*names[:-5], *["made/face.png\n"] * 5]))
    return tmp_path


def test_anchors_lie_between_the_sexes_and_are_of_middling_age(labelled: Path) -> None:
    arguments = ["--n", "60", "--min-to-training", "0.2", "--min-apart", "0.2"]
    command = ["anchors", "--data", str(labelled / "pack"), "--out", str(labelled), *arguments]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert said["readings"]["held_out"] + said["readings"]["faces"] == 1995
    assert said["readings"]["sex_right"] > 0.85
    assert said["readings"]["age_correlation"] > 0.8
    assert said["unwanted"] > 0
    bank = load_bank(labelled / "anchors.npz")
    assert len(bank) == 60
    pack = Pack(labelled / "pack")
    vectors = np.asarray(pack.columns["identity_unit"])
    learnt, _ = learn_readings(pack, vectors)
    assert learnt is not None
    sex, root = learnt.read(bank.vectors_unit).T
    assert np.abs(sex).max() <= 0.35
    assert np.square(root).min() >= 18 - 1e-3
    assert np.square(root).max() <= 45 + 1e-3
    assert 0.0 < between(learnt, vectors).mean() < between(learnt, vectors, 2.0).mean() < 1.0


def test_without_names_of_age_and_sex_everybody_is_wanted(tmp_path: Path) -> None:
    write_pack(tmp_path / "plain", 300)
    config = DensityConfig(n_anchors=20, components=2, dims=32, min_to_training=0.3, min_apart=0.3)
    meta = run_anchors(tmp_path / "plain", tmp_path, config, "drawn by a test")
    bank = load_bank(tmp_path / "anchors.npz")
    assert len(bank) == 20
    assert meta["unwanted"] == 0
    assert meta["min_distance_to_training"] >= 0.3
    assert json.loads(bank.meta)["data_licence"] == "drawn by a test"


def test_doc_examples_hold() -> None:
    result = doctest.testmod(training_bank)
    assert (result.attempted > 0, result.failed) == (True, 0)
