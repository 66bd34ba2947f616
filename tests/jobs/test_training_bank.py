"""`deid train anchors`: balanced groups, what suits, and anchors chosen by it."""

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
from deid_ops.anchors.density import DensityConfig
from deid_ops.anchors.suiting import Suiting
from jobs import training_bank
from jobs.anchoring import Anchors, PersonViews
from jobs.cli_train import app
from jobs.config import JobConfig, load_config
from jobs.training_bank import run_anchors

KEY = b"k" * 32
BANK = density_bank(600, 128, seed=3)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Return a folder with a pack whose names say what the vectors do."""
    pack = write_pack(tmp_path / "pack", 2000)
    vectors = np.asarray(pack.columns["identity_unit"])
    sex = (vectors[:, 0] > 0).astype(int)
    age = np.clip(np.rint(40 + 250 * vectors[:, 1]), 1, 99).astype(int)
    names = [f"faces.tar:{a}_{s}_0_x.jpg\n" for a, s in zip(age, sex, strict=True)]
    (tmp_path / "pack" / "names.txt").write_text("".join([*names[:-5], *["made/face.png\n"] * 5]))
    return tmp_path


def test_the_bank_is_balanced_and_learns_what_suits(labelled: Path) -> None:
    arguments = ["--n", "60", "--min-to-training", "0.2", "--min-apart", "0.2"]
    command = ["anchors", "--data", str(labelled / "pack"), "--out", str(labelled), *arguments]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    said = json.loads(done.output)
    read = said["suiting"]
    assert read["held_out"]["faces"] + read["faces"] == 1995
    assert read["held_out"]["sex_right"] > 0.85
    assert read["held_out"]["age_correlation"] > 0.8
    assert read["anchors"]["women"] == 0.5
    assert {g["anchors"] for g in said["groups"]} == {10}
    bank = load_bank(labelled / "anchors.npz")
    assert len(bank) == 60
    assert bank.suiting is not None
    assert bank.suiting.read(np.eye(128)[:1])[0, 0] > bank.suiting.read(-np.eye(128)[:1])[0, 0]
    sex, age = bank.suiting.read(bank.vectors_unit).T
    years = np.square(np.maximum(age, 0.0))
    for women in (True, False):
        counts, _ = np.histogram(years[(sex > 0) == women], (0, 30, 50, 1e9))
        assert counts.tolist() == [10, 10, 10]


def test_without_names_of_age_and_sex_there_is_one_group(tmp_path: Path) -> None:
    write_pack(tmp_path / "plain", 300)
    config = DensityConfig(n_anchors=20, components=2, dims=32, min_to_training=0.3, min_apart=0.3)
    meta = run_anchors(tmp_path / "plain", tmp_path, config, "drawn by a test")
    bank = load_bank(tmp_path / "anchors.npz")
    assert len(bank) == 20
    assert bank.suiting is None
    assert [group["name"] for group in meta["groups"]] == ["all"]
    assert meta["min_distance_to_training"] >= 0.3
    assert json.loads(bank.meta)["data_licence"] == "drawn by a test"


def test_where_it_is_asked_for_a_person_gets_an_anchor_that_suits(tmp_path: Path) -> None:
    weights = np.zeros((1, 129), np.float32)
    weights[0, 5] = 1.0  # the reading is the vector's sixth number
    suiting = Suiting(weights, (0.03,), ("sixth",))
    save_bank(replace(BANK, suiting=suiting), tmp_path / "bank.npz")
    save_bank(BANK, tmp_path / "plain.npz")
    person = PersonViews(BANK.vectors_unit[7])

    def with_bank(bank: str, suit: str) -> JobConfig:
        return load_config(None, (f"anchors.bank={tmp_path / bank}", f"anchors.suit={suit}"))

    def sixths(bank: str, suit: str, *, suiting: bool = True) -> np.ndarray:
        chosen = Anchors(with_bank(bank, suit), KEY)
        ids = [
            chosen.choose(person, "scope", f"p{i}", suiting=suiting).anchor_ids for i in range(20)
        ]
        return np.abs(BANK.vectors_unit[np.array(ids), 5] - BANK.vectors_unit[7, 5])

    for suit in ("auto", "always"):
        assert sixths("bank.npz", suit).max() <= 0.03  # the first anchor and the further ones
        assert sixths("plain.npz", suit).max() > 0.1
    conspicuous = sixths("bank.npz", "auto", suiting=False)
    assert np.array_equal(sixths("bank.npz", "never"), conspicuous)
    assert np.array_equal(conspicuous, sixths("plain.npz", "never"))
    nobody = PersonViews(None)
    chosen = Anchors(with_bank("bank.npz", "always"), KEY).choose(nobody, "scope", "p")
    assert chosen.anchor_ids[0] >= 0


def test_a_suiting_face_does_not_tell_the_people_of_a_scope_apart(tmp_path: Path) -> None:
    weights = np.zeros((1, 129), np.float32)
    weights[0, 0] = 1.0
    save_bank(replace(BANK, suiting=Suiting(weights, (0.8,), ("sex",))), tmp_path / "bank.npz")

    def who(readings: dict[str, float], *settings: str) -> set[str]:
        people = {name: np.float32([value, *np.zeros(127)]) for name, value in readings.items()}
        config = load_config(None, (f"anchors.bank={tmp_path / 'bank.npz'}", *settings))
        return Anchors(config, KEY).inconspicuous(people)

    women, men = {f"w{i}": 1.0 - 0.1 * i for i in range(5)}, {f"m{i}": -1.0 for i in range(3)}
    assert who({}) == set()
    assert who({"w0": 1.0}) == {"w0"}  # alone: nobody of the scope to be told from
    assert who({"w0": 1.0, "m0": -1.0}) == set()  # the new face would say who is who
    assert who({"w0": 1.0, "w1": 0.9}) == {"w0", "w1"}
    assert who(women | men) == set(women)  # three men are fewer than four
    assert who(women | men, "anchors.suit_alike_min=3") == set(women | men)
    assert who(women | men, "anchors.suit=always") == set(women | men)
    assert who(women | men, "anchors.suit=never") == set()


def test_doc_examples_hold() -> None:
    result = doctest.testmod(training_bank)
    assert (result.attempted > 0, result.failed) == (True, 0)
