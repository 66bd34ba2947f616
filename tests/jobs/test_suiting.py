"""`deid train suiting`, and anchors chosen by it."""

from __future__ import annotations

import doctest
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_pack import write_pack
from typer.testing import CliRunner

from deid_ops.anchors.bank import density_bank, load_bank, save_bank
from deid_ops.anchors.suiting import Suiting
from deid_ops.errors import SetupError
from jobs import training_suiting
from jobs.anchoring import Anchors, PersonViews
from jobs.cli_train import app
from jobs.config import JobConfig, load_config
from jobs.training_suiting import has_labels, run_suiting

KEY = b"k" * 32
BANK = density_bank(600, 128, seed=3)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Return a folder with a bank and a pack whose names say what the vectors do."""
    pack = write_pack(tmp_path / "pack", 2000)
    vectors = np.asarray(pack.columns["identity_unit"])
    sex = (vectors[:, 0] > 0).astype(int)
    age = np.clip(np.rint(30 + 150 * vectors[:, 1]), 1, 99).astype(int)
    names = [f"faces.tar:{a}_{s}_0_x.jpg\n" for a, s in zip(age, sex, strict=True)]
    (tmp_path / "pack" / "names.txt").write_text("".join([*names[:-5], *["made/face.png\n"] * 5]))
    save_bank(BANK, tmp_path / "anchors.npz")
    return tmp_path


def test_the_bank_learns_what_suits_and_keeps_the_rest(labelled: Path) -> None:
    arguments = ["--data", "pack", "--anchors", "anchors.npz", "--out", "new.npz"]
    paths = [a if a.startswith("--") else str(labelled / a) for a in arguments]
    done = CliRunner().invoke(app, ["suiting", *paths])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    assert said["held_out"]["faces"] + said["faces"] == 1995
    assert said["held_out"]["sex_right"] > 0.85
    assert said["held_out"]["age_correlation"] > 0.8
    assert 0.4 < said["anchors"]["women"] < 0.6
    bank = load_bank(labelled / "new.npz")
    assert bank.sha256 == BANK.sha256
    assert json.loads(bank.meta)["seed"] == 3
    assert bank.suiting is not None
    assert bank.suiting.read(np.eye(128)[:1])[0, 0] > bank.suiting.read(-np.eye(128)[:1])[0, 0]


def test_names_without_age_and_sex_are_refused(labelled: Path) -> None:
    pack = write_pack(labelled / "plain", 300)
    assert not has_labels(pack)
    with pytest.raises(SetupError, match="0 of 300 file names begin with AGE_SEX_"):
        run_suiting(labelled / "plain", labelled / "anchors.npz", labelled / "never.npz")
    assert not (labelled / "never.npz").exists()


def test_where_it_is_asked_for_a_person_gets_an_anchor_that_suits(tmp_path: Path) -> None:
    weights = np.zeros((1, 129), np.float32)
    weights[0, 5] = 1.0  # the reading is the vector's sixth number
    suiting = Suiting(weights, (0.03,), ("sixth",))
    save_bank(replace(BANK, suiting=suiting), tmp_path / "bank.npz")
    save_bank(BANK, tmp_path / "plain.npz")
    person = PersonViews(BANK.vectors_unit[7])

    def with_bank(bank: str, suit: bool) -> JobConfig:
        return load_config(None, (f"anchors.bank={tmp_path / bank}", f"anchors.suit={suit}"))

    def sixths(bank: str, suit: bool) -> np.ndarray:
        config = with_bank(bank, suit)
        chosen = Anchors(config, KEY)
        ids = [chosen.choose(person, "scope", f"p{i}").anchor_ids for i in range(20)]
        return np.abs(BANK.vectors_unit[np.array(ids), 5] - BANK.vectors_unit[7, 5])

    assert sixths("bank.npz", suit=True).max() <= 0.03  # the first anchor and the further ones
    assert sixths("plain.npz", suit=True).max() > 0.1
    assert np.array_equal(sixths("bank.npz", suit=False), sixths("plain.npz", suit=False))
    assert not load_config(None).anchors.suit  # sex and age would tell two people apart
    nobody = PersonViews(None)
    chosen = Anchors(with_bank("bank.npz", suit=True), KEY).choose(nobody, "scope", "p")
    assert chosen.anchor_ids[0] >= 0


def test_doc_examples_hold() -> None:
    result = doctest.testmod(training_suiting)
    assert (result.attempted > 0, result.failed) == (True, 0)
