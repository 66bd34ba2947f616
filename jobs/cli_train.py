"""`deid train`: prepare data, train the project's networks, export them."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from deid_ops.errors import SetupError
from deid_ops.train.data import PackConfig, pack
from deid_ops.train.sources import SourceImage, iter_source, landmark_file_of, read_landmarks
from deid_ops.train.teachers import Teachers

app = typer.Typer(no_args_is_help=True)
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


def open_source(path: Path, landmarks: Path | None) -> Iterator[SourceImage]:
    """Open a folder, tar or Parquet source with its five points, where a CSV has them."""
    if path.suffix == ".parquet":
        return iter_parquet(path)
    points = landmarks or landmark_file_of(path)
    return iter_source(path, read_landmarks(points) if points else None)


@app.command("data")
def data_command(
    sources: Annotated[list[Path], typer.Argument(help="Folders, tars or Parquet of images.")],
    out: Annotated[Path, typer.Option(help="Folder to write the pack to.")],
    teachers: Annotated[Path, typer.Option(help="Folder of the labelling networks (ONNX).")],
    limit: Annotated[int | None, typer.Option(help="Stop after this many images.")] = None,
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

    images = [(path.name, open_source(path, None)) for path in sources]
    meta = pack(images, out, Teachers(teachers, threads), PackConfig(), limit=limit, report=report)
    typer.echo(json.dumps({k: meta[k] for k in ("n", "n_validation", "dropped")}))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    app()
