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
from deid_ops.errors import SetupError
from deid_ops.train.data import Pack
from jobs import training_bank
from jobs.cli_train import app
from jobs.training_bank import learn_suitable, run_anchors


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
    arguments = ["--n", "60", "--spread", "1.2", "--min-to-training", "0.2", "--min-apart", "0.2"]
    command = ["anchors", "--data", str(labelled / "pack"), "--out", str(labelled), *arguments]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    sex, age = said["readings"]["sex"], said["readings"]["age"]
    assert sex["held_out"] + sex["faces"] == age["held_out"] + age["faces"] == 1995
    assert sex["right"] > 0.85
    assert age["correlation"] > 0.8
    assert (said["unwanted"] > 0, said["density_of"]) == (True, "all sources")
    bank = load_bank(labelled / "anchors.npz")
    assert len(bank) == 60
    suitable, _ = learn_suitable(Pack(labelled / "pack"), np.arange(2000))
    assert suitable.sex is not None
    assert suitable.root_age is not None
    sexes = suitable.sex.read(bank.vectors_unit)
    assert sexes.min() >= -0.35
    assert sexes.max() <= 0.8
    years = np.square(suitable.root_age.read(bank.vectors_unit))
    assert years.min() >= 18 - 1e-3
    assert years.max() <= 45 + 1e-3
    everybody = suitable(np.asarray(Pack(labelled / "pack").columns["identity_unit"]))
    assert 0.0 < everybody.mean() < 1.0


def test_the_density_may_be_of_one_source_and_keeps_off_all(tmp_path: Path) -> None:
    pack = write_pack(tmp_path / "pack", 1200)
    vectors = np.asarray(pack.columns["identity_unit"]).copy()
    ours = np.arange(1200) % 2 == 1
    vectors[:, 0] = np.where(ours, 1.5, -1.5) * np.abs(vectors[:, 0]).mean() * 4
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    np.save(tmp_path / "pack" / "identity_unit.npy", vectors.astype(np.float32))
    np.save(tmp_path / "pack" / "source_index.npy", ours.astype(np.uint8))
    names = [f"made.tar:{'female' if i % 4 == 1 else 'male'}/{i}.png\n" for i in range(1200)]
    (tmp_path / "pack" / "names.txt").write_text("".join(names))
    meta = json.loads((tmp_path / "pack" / "meta.json").read_text()) | {"sources": ["old", "made"]}
    (tmp_path / "pack" / "meta.json").write_text(json.dumps(meta))
    config = DensityConfig(n_anchors=20, components=2, dims=32, min_to_training=0.2, min_apart=0.2)
    said = run_anchors(tmp_path / "pack", tmp_path, config, "", source="made")
    assert (said["density_of"], said["n_density"], said["n_training"]) == ("made", 600, 1200)
    assert said["readings"]["sex"]["faces"] + said["readings"]["sex"]["held_out"] == 600
    assert "age" not in said["readings"]
    anchors = load_bank(tmp_path / "anchors.npz").vectors_unit
    assert (anchors[:, 0] > 0).all()
    assert 1 - (anchors @ vectors.T).max() >= 0.2 - 1e-4
    with pytest.raises(SetupError, match="no source 'film'; it has old, made"):
        run_anchors(tmp_path / "pack", tmp_path, config, "", source="film")


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
