"""`deid train all`: every step of the training in order, each skipped where it is finished.

A training stopped by SIGTERM or Ctrl-C saves its weights, too; that a training is finished says the
file `finished` in its folder.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deid_ops.anchors.density import DensityConfig
from deid_ops.errors import SetupError
from jobs.training import (
    RunOptions,
    run_attributes,
    run_encoder,
    run_export,
    run_generator,
)
from jobs.training_appearance import run_appearance
from jobs.training_bank import run_anchors

log = logging.getLogger("deid.train")
_DENSITY = DensityConfig()
_FINISHED = "finished"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepsSection(_Section):
    """Length of one training."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)


class GeneratorSection(StepsSection):
    """Length of the generator's training."""

    identity_from: float = Field(0.3, ge=0, le=1)


class PaintedSection(StepsSection):
    """Length of the attribute network's lessons with faces by the trained painters."""

    rate: float = Field(gt=0)


class AnchorsSection(_Section):
    """The bank."""

    source: str | None = None  # of the pack, whose faces the density describes; null: all
    n: int = Field(_DENSITY.n_anchors, ge=1)
    spread: float = Field(_DENSITY.spread, gt=0)
    min_to_training: float = Field(_DENSITY.min_to_training, ge=0, le=2)
    min_apart: float = Field(_DENSITY.min_apart, ge=0, le=2)
    faces: int = Field(6, ge=1)  # that each anchor is painted on for its appearance
    audition: float | None = Field(None, gt=0, le=1)  # share that passes; null: all are kept


class DenoiserSection(_Section):
    """Noise levels of the exported denoiser."""

    noise_ratios: tuple[float, float, float] = (2.0, 1.2, 3.5)


class Recipe(_Section):
    """The whole file."""

    attributes: StepsSection
    encoder: StepsSection
    generator: GeneratorSection
    attributes_painted: PaintedSection | None = None  # null: no such lessons
    anchors: AnchorsSection = AnchorsSection()
    denoiser: DenoiserSection = DenoiserSection()


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        SetupError: the file is missing, or a key is unknown, missing or out of range.
    """
    if not path.is_file():
        raise SetupError(f"{path}: no such training recipe")
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError) as error:
        raise SetupError(f"{path}: {error}") from error


@dataclass
class _Trainings:
    """The trainings of one work folder; all of them stop when one is asked to."""

    pack: Path
    work: Path
    threads: int
    asked_to_stop: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        name: str,
        kind: str,
        section: StepsSection,
        train: Callable[[RunOptions], None],
        init_from: Path | None = None,
        rate: float | None = None,
    ) -> Path:
        """Train in the folder `name` and return it; skipped where finished, resumed where begun.

        Args:
            name: of the folder.
            kind: of the network, after which its trainer names the checkpoint.
            section: length and batch.
            train: the trainer.
            init_from: shipped file whose weights a training begins with that is not resumed.
            rate: learning rate, where it is not the trainer's own.

        Raises:
            SetupError: the training was asked to stop before its end.
        """
        folder = self.work / name
        if (folder / _FINISHED).is_file():
            log.info("%s is finished: skipped", folder)
            return folder
        resume = (folder / f"{kind}.pt").is_file()
        options = RunOptions(
            self.pack,
            folder,
            section.steps,
            resume=resume,
            init_from=None if resume else init_from,
            threads=self.threads,
            batch=section.batch,
            rate=rate,
            asked_to_stop=self.asked_to_stop,
        )
        train(options)
        if self.asked_to_stop.is_set():
            raise SetupError(f"{folder}: stopped and saved; run the same command to go on")
        (folder / _FINISHED).touch()
        return folder


def run_recipe(
    recipe: Recipe, pack: Path, teachers: Path, work: Path, out: Path, threads: int, licence: str
) -> dict[str, Any]:
    """Train, fit and export everything from a finished pack; returns what was exported.

    Args:
        recipe: how long, and in which variant.
        pack: made by `deid train data`.
        teachers: folder of the teacher networks.
        work: gets a folder with checkpoints for each training.
        out: gets the finished files.
        threads: CPU threads of a training.
        licence: of the data, in plain words, for the anchors' metadata.

    Returns:
        Name of each network to its size in MB and its largest and mean difference to PyTorch.

    Raises:
        SetupError: a training was asked to stop; what it had is saved.
    """
    trainings, bank = _Trainings(pack, work, threads), out / "anchors.npz"
    attributes = trainings.run(
        "attributes", "attributes", recipe.attributes, lambda o: run_attributes(o, teachers)
    )
    encoder = trainings.run(
        "encoder", "encoder", recipe.encoder, lambda o: run_encoder(o, teachers)
    )
    if not bank.is_file():
        run_anchors(pack, out, _density(recipe.anchors), licence, recipe.anchors.source)
    identity_from, ratios = recipe.generator.identity_from, recipe.denoiser.noise_ratios
    generator = trainings.run(
        "generator",
        "generator",
        recipe.generator,
        lambda o: run_generator(o, attributes, teachers, encoder, identity_from, bank),
    )
    exported = run_export(out, attributes, encoder, generator, ratios)
    if (painted := recipe.attributes_painted) is not None:
        # the job reads painted faces, too, to aim the painter
        taught = trainings.run(
            "attributes_painted",
            "attributes",
            painted,
            lambda o: run_attributes(o, teachers, painters=out),
            out / "attributes.onnx",
            painted.rate,
        )
        exported |= run_export(out, taught, None, None, ratios)
    run_appearance(out, pack, bank, bank, recipe.anchors.faces, recipe.anchors.audition)
    return exported


def _density(section: AnchorsSection) -> DensityConfig:
    return DensityConfig(
        n_anchors=section.n,
        spread=section.spread,
        min_to_training=section.min_to_training,
        min_apart=section.min_apart,
    )
