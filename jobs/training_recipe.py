"""`deid train all`: every step of the training in order, each skipped where its result exists."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deid_ops.anchors.density import DensityConfig
from deid_ops.errors import SetupError
from jobs.training import (
    ATTRIBUTES_AVERAGE,
    ENCODER_AVERAGE,
    GENERATOR_AVERAGE,
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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepsSection(_Section):
    """Length of one training."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)


class GeneratorSection(StepsSection):
    """Length of the generator's training."""

    identity_from: float = Field(0.3, ge=0, le=1)


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


def run_recipe(
    recipe: Recipe, pack: Path, teachers: Path, work: Path, out: Path, threads: int, licence: str
) -> dict[str, Any]:
    """Train, fit and export everything from a finished pack; returns what was exported.

    A training whose checkpoint exists is resumed, one whose average exists is skipped.
    """
    attributes, encoder, generator = (work / n for n in ("attributes", "encoder", "generator"))

    def options(folder: Path, section: StepsSection) -> RunOptions:
        resume = (folder / f"{folder.name}.pt").is_file()
        return RunOptions(
            pack, folder, section.steps, resume=resume, threads=threads, batch=section.batch
        )

    steps: list[tuple[Path, Callable[[], object]]] = [
        (
            attributes / ATTRIBUTES_AVERAGE,
            lambda: run_attributes(options(attributes, recipe.attributes), teachers),
        ),
        (
            encoder / ENCODER_AVERAGE,
            lambda: run_encoder(options(encoder, recipe.encoder), teachers),
        ),
        (
            out / "anchors.npz",
            lambda: run_anchors(
                pack, out, _density(recipe.anchors), licence, recipe.anchors.source
            ),
        ),
        (
            generator / GENERATOR_AVERAGE,
            lambda: run_generator(
                options(generator, recipe.generator),
                attributes,
                teachers,
                encoder,
                recipe.generator.identity_from,
                out / "anchors.npz",
            ),
        ),
    ]
    for result, run in steps:
        if result.is_file():
            log.info("%s exists: skipped", result)
        else:
            run()
    exported = run_export(out, attributes, encoder, generator, recipe.denoiser.noise_ratios)
    bank = out / "anchors.npz"
    run_appearance(out, pack, bank, bank, recipe.anchors.faces, recipe.anchors.audition)
    return exported


def _density(section: AnchorsSection) -> DensityConfig:
    return DensityConfig(
        n_anchors=section.n,
        spread=section.spread,
        min_to_training=section.min_to_training,
        min_apart=section.min_apart,
    )
