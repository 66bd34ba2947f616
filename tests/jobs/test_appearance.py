"""`deid train appearance`, and anchors chosen by it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_pack import write_pack
from random_networks import export_random

from deid_ops.anchors.bank import Appearance, density_bank, load_bank, save_bank
from deid_ops.anchors.choose import outside_windows
from deid_ops.anchors.density import DensityConfig
from deid_ops.errors import SetupError
from deid_ops.identity.vectors import unit_rows
from deid_ops.types import F32
from jobs import anchoring
from jobs.anchoring import Anchors, PersonViews
from jobs.config import JobConfig, load_config
from jobs.models import calibration_file
from jobs.training_appearance import run_appearance
from jobs.training_bank import run_anchors
from jobs.weights import sha256_of

KEY = b"k" * 32
BANK = density_bank(400, 128, seed=3)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with random networks and a bank of twelve anchors, measured."""
    folder = tmp_path_factory.mktemp("appearance")
    export_random(folder)
    write_pack(folder / "pack", 40)
    save_bank(replace(BANK, vectors_unit=BANK.vectors_unit[:12]), folder / "anchors.npz")
    done = run_appearance(folder, folder / "pack", folder / "anchors.npz", folder / "new.npz", 3)
    assert (done["anchors"], done["encoder"], done["faces"]) == (12, "dlib", 3)
    return folder


def test_the_bank_gets_its_appearance_and_keeps_the_rest(measured: Path) -> None:
    before, after = load_bank(measured / "anchors.npz"), load_bank(measured / "new.npz")
    assert after.sha256 == before.sha256
    assert json.loads(after.meta)["seed"] == 3
    assert after.appearance is not None
    assert after.appearance.painter_sha256 == sha256_of(str(measured / "generator.onnx"))
    for seen in (after.appearance.judged, after.appearance.own):
        assert seen.shape == (12, 128)
        assert np.ptp(seen, axis=0).max() > 0  # anchors look different


def test_those_who_pass_the_audition_are_kept_with_their_distances(
    measured: Path, tmp_path: Path
) -> None:
    pack, drawn, new = measured / "pack", tmp_path / "anchors.npz", tmp_path / "kept.npz"
    config = DensityConfig(n_anchors=30, dims=8, min_to_training=0.05, min_apart=0.01)
    run_anchors(pack, tmp_path, config, "drawn")
    done = run_appearance(measured, pack, drawn, new, 3, share=0.8)
    every, kept = load_bank(drawn), load_bank(new)
    assert kept.appearance is not None
    assert 0 < len(kept) == done["anchors"] < 30
    rows = [int(np.abs(every.vectors_unit - v).sum(axis=1).argmin()) for v in kept.vectors_unit]
    np.testing.assert_array_equal(every.vectors_unit[rows], kept.vectors_unit)
    meta = json.loads(kept.meta)
    assert meta["audition"]["of"] == 30
    assert meta["audition"]["passed"] == len(kept)
    assert meta["audition"]["share"] == 0.8
    assert min(meta["audition"]["likely"], meta["audition"]["without_glare"]) >= 24  # or ties
    pairs = (kept.vectors_unit @ kept.vectors_unit.T)[np.triu_indices(len(kept), 1)]
    assert meta["pairwise_distance_min"] == pytest.approx(1 - pairs.max(), abs=1e-3)


def test_a_bank_of_no_density_has_no_audition(measured: Path, tmp_path: Path) -> None:
    bank, new = measured / "anchors.npz", tmp_path / "never.npz"
    with pytest.raises(SetupError, match="draw it with `deid train anchors`"):
        run_appearance(measured, measured / "pack", bank, new, 3, share=0.5)
    assert not new.exists()


def test_too_few_faces_are_named(measured: Path) -> None:
    pack, bank = measured / "pack", measured / "anchors.npz"
    with pytest.raises(SetupError, match="8 held-out faces that fill their crop, not 99"):
        run_appearance(measured, pack, bank, measured / "never.npz", 99)
    assert not (measured / "never.npz").exists()


def config_with(bank: Path) -> JobConfig:
    return load_config(None, (f"anchors.bank={bank}",))


def test_anchors_follow_the_judges_view_of_the_present_generator(
    tmp_path: Path, monkeypatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(anchoring.log, "warning", said.append)
    rng = np.random.default_rng(0)
    vectors, own = (looks(rng, name) for name in ("dlib", "own"))
    painter = sha256_of(load_config(None).replace.generator)
    for name, encoder, sha in (
        ("good", "dlib", painter), ("other", "retail0095", painter), ("stale", "dlib", "00"),
    ):  # fmt: skip
        bank = replace(BANK, appearance=Appearance(vectors, own, encoder, sha))
        save_bank(bank, tmp_path / f"{name}.npz")
    with np.load(tmp_path / "good.npz") as good:
        older = {name: good[name] for name in good.files if name != "appearance_own"}
    np.savez(tmp_path / "older.npz", **older)
    person = PersonViews(own[5], vectors[3])
    by_judge, by_own = distances("dlib", vectors, 3), distances("own", own, 5)

    def chosen(bank: str, view: PersonViews = person) -> list[int]:
        anchors = Anchors(config_with(tmp_path / f"{bank}.npz"), KEY)
        return [anchors.choose(view, "scope", f"p{i}").anchor_ids[0] for i in range(20)]

    good = chosen("good")
    # of 400 anchors more than 32 lie inside of both windows: the key chooses among those
    assert by_judge[good].min() >= 1.05 - 2e-3
    assert by_judge[good].max() <= 1.35 + 2e-3
    assert by_own[good].min() >= 1.0 - 2e-3
    assert said == []
    unseen = chosen("good", PersonViews(own[5]))
    assert unseen == chosen("other") == chosen("stale") == chosen("older")
    assert by_judge[unseen].min() < 1.05
    assert by_own[unseen].min() < 1.0
    assert len(said) == 2
    assert "of another generator" in said[0]
    assert "of an older version" in said[1]


def test_a_new_face_is_to_be_hidden_among_the_others_in_view(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors, own = (looks(rng, name) for name in ("dlib", "own"))
    painter = sha256_of(load_config(None).replace.generator)
    save_bank(replace(BANK, appearance=Appearance(vectors, own, "dlib", painter)), tmp_path / "b")
    person, *others = (PersonViews(own[i], vectors[i]) for i in (5, 6, 7))

    def relative(others: list[PersonViews], *settings: str) -> tuple[F32, F32]:
        """Return the distances of 20 choices to the person, of those to the other two."""
        config = load_config(None, (f"anchors.bank={tmp_path / 'b'}", *settings))
        anchors = Anchors(config, KEY)
        ids = [anchors.choose(person, "s", f"p{i}", (), (), others).anchor_ids for i in range(20)]
        first = [numbers[0] for numbers in ids]
        return tuple(
            (distances(name, seen, 5) / (distances(name, seen, 6) + distances(name, seen, 7)) * 2)[
                first
            ]
            for name, seen in (("dlib", vectors), ("own", own))
        )

    hidden, alone = relative(others), relative([])
    windows = (1.1, 1.25), (1.15, 1.35)
    assert outside_windows(hidden, windows).max() < 0.1  # of 400 anchors 32 are nearest to them
    assert outside_windows(alone, windows).max() > 0.13
    unasked = relative(others, "anchors.hidden_min=0", "anchors.own_hidden_min=0")
    unseen = relative([PersonViews(None), PersonViews(None)])
    for kind in (unasked, unseen):
        np.testing.assert_array_equal(kind, alone)


def looks(rng: np.random.Generator, encoder: str) -> F32:
    """Draw vectors [400, 128] around an encoder's mean."""
    drawn = unit_rows(rng.normal(size=(len(BANK), 128)).astype(np.float32))
    centre = calibration_file().centres[encoder]
    beside = np.sqrt(1.0 - centre @ centre)  # so that they are of unit length, about
    return unit_rows(np.asarray(centre + beside * drawn, np.float32))


def distances(encoder: str, vectors: F32, person: int) -> F32:
    """Return the distances [400] of one of the vectors to those that a bank keeps of all."""
    centred = calibration_file().centred(encoder, vectors.astype(np.float16).astype(np.float32))
    one, everyone = unit_rows(centred[person : person + 1]), unit_rows(centred)
    return np.asarray(1.0 - everyone @ one[0], dtype=np.float32)
