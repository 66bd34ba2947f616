"""`deid train`: prepare data, train the project's networks, export them."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer

from deid_ops.errors import SetupError
from deid_ops.train.data import Pack, PackConfig, pack
from deid_ops.train.sources import (
    SourceImage,
    iter_source,
    landmark_file_of,
    read_landmarks,
    sample,
)
from deid_ops.train.teachers import Teachers

app = typer.Typer(no_args_is_help=True)
DataOption = Annotated[Path, typer.Option(help="A pack made by `deid train data`.")]
OutOption = Annotated[Path, typer.Option(help="Folder for checkpoints and results.")]
StepsOption = Annotated[int, typer.Option(help="Stop after this many steps in all.")]
SecondsOption = Annotated[float, typer.Option(help="Stop this run after this many seconds.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint.")]
InitOption = Annotated[
    Path | None, typer.Option("--init-from", help="Start from a shipped ONNX file's weights.")
]
BatchOption = Annotated[int | None, typer.Option(help="Faces a step.")]
ThreadsOption = Annotated[int, typer.Option(help="CPU threads.")]
log = logging.getLogger("deid.train")


@app.callback()
def main() -> None:
    """Train this project's own networks, from data on."""


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


def _start_from(net: NetT, path: Path | None) -> NetT | None:
    if path is None:
        return None
    import onnx

    from deid_ops.models.export import load_weights

    if not path.is_file():
        raise SetupError(f"{path}: no such file to start from")
    load_weights(net, onnx.load(path))
    return net


def _average_of(net: NetT, path: Path) -> NetT:
    import torch

    if not path.is_file():
        raise SetupError(f"{path}: not trained yet; run the matching `deid train` command first")
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net


def _report(total: int) -> Callable[[int, Mapping[str, float]], None]:
    started = time.monotonic()

    def report(step: int, losses: Mapping[str, float]) -> None:
        text = " ".join(f"{name}={value:.4f}" for name, value in losses.items())
        log.info("step %d/%d %.0fs %s", step, total, time.monotonic() - started, text)

    return report


@app.command("attributes")
def attributes_command(
    data: DataOption,
    out: OutOption,
    steps: StepsOption = 1500,
    seconds: SecondsOption = 1e9,
    resume: ResumeOption = False,
    threads: ThreadsOption = 2,
) -> None:
    """Train the attribute network (landmarks, pose, expression); saves to --out."""
    import torch

    from deid_ops.swap.retarget import FaceShape
    from deid_ops.train.attributes import AttributeTraining, shape_of_pack, train_attributes
    from deid_ops.train.loop import Budget

    torch.set_num_threads(threads)
    pack_, shape_file = Pack(data), out / "face_shape.npz"
    out.mkdir(parents=True, exist_ok=True)
    if not shape_file.exists():
        shape_of_pack(pack_).save(shape_file, {"pack": pack_.meta["sha256"]["mesh_xyz_px"]})
    net = train_attributes(
        pack_,
        FaceShape.load(shape_file),
        AttributeTraining(),
        Budget(steps, seconds),
        out / "attributes.pt",
        time.monotonic,
        _report(steps),
        resume=resume,
    )
    torch.save(net.state_dict(), out / "attributes_average.pt")


@app.command("encoder")
def encoder_command(
    data: DataOption,
    out: OutOption,
    steps: StepsOption = 4000,
    seconds: SecondsOption = 1e9,
    resume: ResumeOption = False,
    threads: ThreadsOption = 2,
) -> None:
    """Distil the conditioning encoder; saves to --out."""
    import torch

    from deid_ops.train.encoder import EncoderTraining, train_encoder
    from deid_ops.train.loop import Budget

    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    net = train_encoder(
        Pack(data),
        EncoderTraining(),
        Budget(steps, seconds),
        out / "encoder.pt",
        time.monotonic,
        _report(steps),
        resume=resume,
    )
    torch.save(net.state_dict(), out / "encoder_average.pt")


@app.command("generator")
def generator_command(
    data: DataOption,
    attributes: Annotated[Path, typer.Option(help="Folder made by `deid train attributes`.")],
    teachers: Annotated[Path, typer.Option(help="Folder with mobilefacenet_foamliu_ms1m.pt.")],
    out: OutOption,
    student: Annotated[
        Path | None, typer.Option(help="Own encoder's weights, second view.")
    ] = None,
    steps: StepsOption = 6000,
    seconds: SecondsOption = 1e9,
    identity_from: Annotated[float, typer.Option(help="Share of steps before identities.")] = 0.45,
    batch: Annotated[int, typer.Option(help="Faces a step.")] = 16,
    resume: ResumeOption = False,
    threads: ThreadsOption = 2,
) -> None:
    """Train the leak-proof generator and denoiser (one network); saves to --out."""
    import torch

    from deid_ops.models.attributes import AttributeNet
    from deid_ops.models.encoder import CompactEncoder, TeacherEncoder, freeze, load_teacher
    from deid_ops.swap.retarget import FaceShape
    from deid_ops.train.generator import GeneratorTraining, train_generator
    from deid_ops.train.loop import Budget

    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    encoders: list[TeacherEncoder | CompactEncoder] = [load_teacher(teachers / "mobilefacenet_foamliu_ms1m.pt")]
    if student is not None:
        own = CompactEncoder()
        own.load_state_dict(torch.load(student, weights_only=True))
        encoders.append(freeze(own))
    measuring = None
    if (attributes / "attributes_average.pt").is_file():
        measuring = AttributeNet(torch.zeros(136, 2))
        measuring.load_state_dict(torch.load(attributes / "attributes_average.pt"))
        measuring.eval().requires_grad_(False)
    elif identity_from < 1.0:
        log.warning("no attribute network: the identity phase keeps landmarks by conditions only")
    net = train_generator(
        Pack(data),
        FaceShape.load(attributes / "face_shape.npz"),
        encoders,
        measuring,
        GeneratorTraining(identity_from=identity_from, batch=batch),
        Budget(steps, seconds),
        out / "generator.pt",
        time.monotonic,
        _report(steps),
        resume=resume,
    )
    torch.save(net.state_dict(), out / "generator_average.pt")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    app()
