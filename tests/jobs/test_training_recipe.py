"""`deid train all`: order, resuming, stopping. Each step itself is tested where it lives."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch")

from deid_ops.errors import SetupError
from jobs import training_recipe
from jobs.training import RunOptions
from jobs.training_recipe import Recipe, load_recipe, run_recipe

RECIPE = Path(__file__).parents[2] / "configs" / "train.yaml"
SHORT = {
    "attributes": {"steps": 3, "batch": 4},
    "encoder": {"steps": 2, "batch": 4},
    "generator": {"steps": 5, "batch": 4},
    "attributes_painted": {"steps": 1, "batch": 4, "rate": 0.0008},
}


class Recorded:
    """Stands for the steps: notes what was asked for, leaves the files that a step leaves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trainings: list[RunOptions] = []
        self.exports: list[list[str]] = []
        self.painters: list[Path | None] = []
        self.stop_in: str | None = None
        for name in ("attributes", "encoder", "generator"):
            monkeypatch.setattr(training_recipe, f"run_{name}", self._training(name))
        monkeypatch.setattr(training_recipe, "run_anchors", self._anchors)
        monkeypatch.setattr(training_recipe, "run_export", self._export)
        monkeypatch.setattr(training_recipe, "run_appearance", lambda *_: None)

    def _training(self, name: str):
        def run(options: RunOptions, *_: object, painters: Path | None = None) -> None:
            self.trainings.append(options)
            self.painters.append(painters)
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{name}.pt").touch()
            if options.out.name == self.stop_in:
                options.asked_to_stop.set()

        return run

    def _anchors(self, _pack: Path, out: Path, *_: object) -> None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "anchors.npz").touch()

    def _export(self, _out: Path, *folders: object) -> dict[str, dict[str, float]]:
        names = [f.name for f in folders if isinstance(f, Path)]
        self.exports.append(names)
        return {name: {} for name in names}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


def run(tmp_path: Path, recipe: dict = SHORT) -> dict:
    work, out = tmp_path / "work", tmp_path / "out"
    parsed = Recipe.model_validate(recipe)
    return run_recipe(parsed, tmp_path / "pack", tmp_path / "teachers", work, out, 1, "")


def names(recorded: Recorded) -> list[str]:
    return [options.out.name for options in recorded.trainings]


def test_attributes_are_taught_again_by_the_painters_that_were_trained(recorded, tmp_path):
    exported = run(tmp_path)
    assert names(recorded) == ["attributes", "encoder", "generator", "attributes_painted"]
    assert recorded.painters == [None, None, None, tmp_path / "out"]
    taught = recorded.trainings[-1]
    assert (taught.init_from, taught.rate) == (tmp_path / "out" / "attributes.onnx", 0.0008)
    assert recorded.exports == [["attributes", "encoder", "generator"], ["attributes_painted"]]
    assert "generator" in exported


def test_a_recipe_without_painted_lessons_exports_once(recorded, tmp_path):
    run(tmp_path, {k: v for k, v in SHORT.items() if k != "attributes_painted"})
    assert names(recorded) == ["attributes", "encoder", "generator"]
    assert len(recorded.exports) == 1


def test_a_stopped_training_stops_the_recipe_and_goes_on_next_time(recorded, tmp_path):
    recorded.stop_in = "encoder"
    with pytest.raises(SetupError, match=r"encoder: stopped and saved"):
        run(tmp_path)
    assert names(recorded) == ["attributes", "encoder"]
    assert recorded.exports == []
    recorded.stop_in = None
    recorded.trainings.clear()
    run(tmp_path)  # what was finished is skipped, what was stopped is resumed
    assert names(recorded) == ["encoder", "generator", "attributes_painted"]
    assert [o.resume for o in recorded.trainings] == [True, False, False]


def test_painted_lessons_that_were_stopped_are_resumed_not_begun_anew(recorded, tmp_path):
    recorded.stop_in = "attributes_painted"
    with pytest.raises(SetupError, match="stopped"):
        run(tmp_path)
    recorded.stop_in = None
    run(tmp_path)
    again = recorded.trainings[-1]
    assert (again.resume, again.init_from) == (True, None)


def test_recipe_in_the_repository_is_valid(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPE)
    assert recipe.generator.steps > 1000
    assert recipe.attributes_painted is not None
    raw = yaml.safe_load(RECIPE.read_text())
    raw["generator"]["stepz"] = 3
    wrong = tmp_path / "train.yaml"
    wrong.write_text(yaml.safe_dump(raw))
    with pytest.raises(SetupError, match="stepz"):
        load_recipe(wrong)
