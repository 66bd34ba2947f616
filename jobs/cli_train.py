"""`deid train`: prepare data, train the project's networks, export them."""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from deid_ops.errors import SetupError
from deid_ops.train.data import PackConfig, pack
from deid_ops.train.sources import (
    SourceImage,
    iter_source,
    landmark_file_of,
    read_landmarks,
    sample,
)
from deid_ops.train.teachers import Teachers
from jobs.cli.common import EXIT_QUARANTINED
from jobs.cli_train_bank import DataOption, bank_app

app = typer.Typer(no_args_is_help=True)
app.add_typer(bank_app)
OutOption = Annotated[Path, typer.Option(help="Folder for checkpoints and results.")]
StepsOption = Annotated[int, typer.Option(help="Stop after this many steps in all.")]
SecondsOption = Annotated[float, typer.Option(help="Stop this run after this many seconds.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint.")]
InitOption = Annotated[
    Path | None, typer.Option("--init-from", help="Start from a shipped ONNX file's weights.")
]
BatchOption = Annotated[int | None, typer.Option(help="Faces a step.")]
RateOption = Annotated[
    float | None,
    typer.Option(help="Highest learning rate; less to go on from good weights."),
]
LabellersOption = Annotated[
    Path | None,
    typer.Option(
        "--teachers", help="Folder of the teacher networks: label ever new pictures and morphs."
    ),
]
TeachersOption = Annotated[Path, typer.Option(help="Folder of the teacher networks.")]
ThreadsOption = Annotated[int, typer.Option(help="CPU threads.")]
log = logging.getLogger("deid.train")


@app.callback()
def main() -> None:
    """Train this project's own networks, from data on."""
    log.setLevel(logging.INFO)  # a training takes hours: its losses are its progress
    # Beside other work, threads that spin while they wait for each other cost three times the time.
    # OpenMP reads this once, when PyTorch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def iter_parquet(path: Path) -> Iterator[SourceImage]:
    """Yield the rows of a Parquet file with columns `name` (string) and `image` (bytes)."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    missing = {"name", "image"} - set(file.schema_arrow.names)
    if missing:
        raise SetupError(f"{path}: columns {sorted(missing)} are missing")
    for batch in file.iter_batches(64, columns=["name", "image"]):
        for row in batch.to_pylist():
            yield SourceImage(row["name"], row["image"], None)


def open_source(text: str) -> tuple[str, Iterator[SourceImage]]:
    """Open `PATH` or `PATH@PER_MILLE` (a fixed sample of it), with its five points if known."""
    name, _, share = text.partition("@")
    path = Path(name)
    if share and not (share.isdigit() and 0 < int(share) <= 1000):
        raise SetupError(f"{text}: after @ give a share in per mille, 1 to 1000")
    if path.suffix == ".parquet":
        images = iter_parquet(path)
    else:
        points = landmark_file_of(path)
        images = iter_source(path, read_landmarks(points) if points else None)
    return path.name, sample(images, int(share)) if share else images


@app.command("data")
def data_command(
    sources: Annotated[
        list[str], typer.Argument(help="Folders, tars or Parquet of images; PATH@300 takes 300 ‰.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the pack to.")],
    teachers: Annotated[Path, typer.Option(help="Folder of the labelling networks (ONNX).")],
    limit: Annotated[int | None, typer.Option(help="Stop after this many images.")] = None,
    identity_only: Annotated[
        bool, typer.Option(help="Label identity only: enough for `train encoder`.")
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Align, filter and label faces; writes crops and labels to --out.

    Reads images with one face each; five points come from NAME_landmarks.csv beside the source.
    Exits 0, or 2 where an argument is wrong.
    """
    started = time.monotonic()

    def report(done: int, dropped: Counter[str]) -> None:
        if done % 50 < 32:
            rate = done / (time.monotonic() - started)
            log.info("faces %d, %.1f/s, dropped %s", done, rate, dict(dropped))

    images = [open_source(text) for text in sources]
    labellers = Teachers(teachers, threads, identity_only=identity_only)
    meta = pack(images, out, labellers, PackConfig(), limit=limit, report=report)
    typer.echo(json.dumps({k: meta[k] for k in ("n", "n_validation", "dropped")}))


@app.command("attributes")
def attributes_command(
    data: DataOption,
    out: OutOption,
    teachers: LabellersOption = None,
    painters: Annotated[
        Path | None,
        typer.Option(help="Folder of exported networks and anchors: read painted faces, too."),
    ] = None,
    steps: StepsOption = 4000,
    seconds: SecondsOption = 1e9,
    batch: BatchOption = None,
    rate: RateOption = None,
    resume: ResumeOption = False,
    init_from: InitOption = None,
    threads: ThreadsOption = 2,
) -> None:
    """Train the attribute network (landmarks, pose, expression) into --out."""
    from jobs.training import RunOptions, run_attributes

    options = RunOptions(data, out, steps, seconds, resume, init_from, threads, batch, rate)
    run_attributes(options, teachers, painters)


@app.command("encoder")
def encoder_command(
    data: DataOption,
    out: OutOption,
    teachers: LabellersOption = None,
    steps: StepsOption = 20_000,
    seconds: SecondsOption = 1e9,
    batch: BatchOption = None,
    resume: ResumeOption = False,
    init_from: InitOption = None,
    threads: ThreadsOption = 2,
) -> None:
    """Distil the conditioning encoder into --out; a pack labelled with identity alone will do.

    With --teachers the teacher looks at every picture itself, so pictures and people can be varied
    without end. Without it the pack's labels are fitted: few faces, and always the same.
    """
    from jobs.training import RunOptions, run_encoder

    options = RunOptions(data, out, steps, seconds, resume, init_from, threads, batch)
    run_encoder(options, teachers)


@app.command("generator")
def generator_command(
    data: DataOption,
    attributes: Annotated[Path, typer.Option(help="Folder of `deid train attributes`.")],
    teachers: TeachersOption,
    out: OutOption,
    student: Annotated[
        Path | None, typer.Option(help="Folder of `deid train encoder`: a second encoder.")
    ] = None,
    anchors: Annotated[
        Path | None, typer.Option(help="anchors.npz: identities to train with.")
    ] = None,
    steps: StepsOption = 6000,
    seconds: SecondsOption = 1e9,
    identity_from: Annotated[
        float, typer.Option(help="Share of the steps before other identities are painted.")
    ] = 0.45,
    batch: BatchOption = None,
    rate: RateOption = None,
    resume: ResumeOption = False,
    init_from: InitOption = None,
    threads: ThreadsOption = 2,
) -> None:
    """Train the leak-proof generator and the denoiser (one network) into --out."""
    from jobs.training import RunOptions, run_generator

    options = RunOptions(data, out, steps, seconds, resume, init_from, threads, batch, rate)
    run_generator(options, attributes, teachers, student, identity_from, anchors)


@app.command("denoiser")
def denoiser_command() -> None:
    """Say how the denoiser is trained: it is the generator's network, told that it sees noise."""
    typer.echo("The denoiser shares the generator's network: `deid train generator` trains both.")


@app.command("facedancer")
def facedancer_command(
    data: DataOption,
    teachers: TeachersOption,
    out: OutOption,
    steps: StepsOption = 300_000,
    seconds: SecondsOption = 1e9,
    batch: BatchOption = None,
    width: Annotated[
        int, typer.Option(min=4, help="Channels at 128 px; half of them take a third of the time.")
    ] = 32,
    rate: RateOption = None,
    resume: ResumeOption = False,
    init_from: InitOption = None,
    threads: ThreadsOption = 2,
) -> None:
    """Train the target-oriented reference (FaceDancer kind) into --out; needs large data."""
    from jobs.training import RunOptions, run_facedancer

    options = RunOptions(data, out, steps, seconds, resume, init_from, threads, batch, rate)
    run_facedancer(options, teachers, width)


@app.command("export")
def export_command(
    out: Annotated[Path, typer.Option(help="Folder for the ONNX files.")],
    attributes: Annotated[Path | None, typer.Option(help="Folder of its training.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="Folder of its training.")] = None,
    generator: Annotated[Path | None, typer.Option(help="Folder of its training.")] = None,
    noise_ratios: Annotated[
        tuple[float, float, float],
        typer.Option(help="sigma / alpha of the denoiser: at strength 1, smallest, largest."),
    ] = (2.0, 1.2, 3.5),
    facedancer: Annotated[
        Path | None,
        typer.Option(
            help="Folder of its training; writes target_oriented.onnx for `deid evaluate` and "
            "`deid attack --target-oriented`."
        ),
    ] = None,
) -> None:
    """Write ONNX files (weights in half precision), each compared with PyTorch first."""
    from jobs.training import run_export

    done = run_export(out, attributes, encoder, generator, noise_ratios, facedancer)
    typer.echo(json.dumps(done, indent=1))


@app.command("quantise")
def quantise_command(
    models: Annotated[Path, typer.Option(help="Folder of files by `deid train export`.")],
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for NAME.int8.onnx.")],
    anchors: Annotated[
        Path | None, typer.Option(help="anchors.npz. Default: beside the models, else the pack.")
    ] = None,
    calibration: Annotated[int, typer.Option(min=1, help="Training faces for the ranges.")] = 256,
    held_out: Annotated[int, typer.Option(min=1, help="Validation faces for the check.")] = 256,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each timing.")] = 15,
    threads: ThreadsOption = 2,
) -> None:
    """Write 8-bit files of exported networks, each compared with its float file first.

    A file beyond the limits is refused: its figures are printed, nothing is written. The files take
    the place of the float ones: `--set replace.generator=OUT/generator.int8.onnx`. Exits 0, or 3
    where a file was refused.
    """
    from jobs.training_quantise import QuantiseOptions, run_quantise

    options = QuantiseOptions(models, data, out, anchors, calibration, held_out, repeats, threads)
    done = run_quantise(options)
    typer.echo(json.dumps(done, indent=1))
    if any(row["written"] is None for row in done.values()):
        raise typer.Exit(EXIT_QUARANTINED)


@app.command("all")
def all_command(
    data: DataOption,
    teachers: TeachersOption,
    work: Annotated[Path, typer.Option(help="Folder for checkpoints.")],
    out: Annotated[Path, typer.Option(help="Folder for the finished files.")],
    config: Annotated[Path, typer.Option(help="Recipe; see configs/train.yaml.")],
    licence: Annotated[str, typer.Option(help="Licence of the data, in plain words.")] = "",
    threads: ThreadsOption = 2,
) -> None:
    """Run the whole recipe on a pack: train, fit the anchors, export; resumes where it stopped."""
    from jobs.training_recipe import load_recipe, run_recipe

    recipe = load_recipe(config)
    done = run_recipe(recipe, data, teachers, work, out, threads, licence)
    typer.echo(json.dumps(done, indent=1))
