"""`deid bench --models`: size, work and time of every network the configuration names.

The job's own wrappers are run, and the sessions inside them watched: what is counted and timed is
what the job would feed them, cropping, decoding of boxes and other Python left out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from deid_ops.diffuse.bare import BarePainter
from deid_ops.errors import SetupError
from deid_ops.identity.encoders import Encoder
from deid_ops.inference.watch import Call, WatchedRuntime, busy_s, gflop_of
from deid_ops.swap.attributes import AttributeReader
from deid_ops.swap.conditions import to_planes
from deid_ops.swap.crop import CROP_SIZE_PX
from deid_ops.types import U8
from jobs.config import JobConfig
from jobs.media import open_media
from jobs.models import (
    anchor_bank,
    conditioning_encoder,
    first_detector,
    judge_encoders,
    judge_name,
    runtime_of,
    second_detector,
    weight_of,
)
from jobs.weights import resolve

BATCHES = (1, 16)
_ENOUGH_S = 15.0  # a slow network is run fewer times, but at least thrice
_MIN_REPEATS = 3


@dataclass(frozen=True)
class ModelFigures:
    """One network, or the networks of one detector together.

    Attributes:
        role: `detector`, `encoder`, ...
        files: its weights.
        mb: of the files, 1e6 bytes.
        gflop: for one item; 2 for a multiplication and its addition. The generator works thrice on
            a face: twice to aim, and for good. The attribute network looks at a face twice, as it
            is and mirrored; the job lets it read four pictures of each: the face to place its crop,
            the crop, and the paintings before the one that counts.
        ms: batch to milliseconds for one item, median.
        item: `frame` or `face`.
        provider: what it really runs on.
    """

    role: str
    files: tuple[str, ...]
    mb: float
    gflop: float
    ms: dict[int, float]
    item: str
    provider: str


@dataclass(frozen=True)
class ModelBench:
    """Figures of all networks on one machine."""

    clip: str
    size_wh_px: tuple[int, int]
    threads: int
    rows: tuple[ModelFigures, ...]

    def text(self) -> str:
        """Return the table that the command prints."""
        width, height = self.size_wh_px
        threads = f"{self.threads} threads" if self.threads else "all cores"
        batches = "".join(f"{f'ms at {n}':>11}" for n in BATCHES)
        lines = [
            f"frames of {self.clip}, {width}x{height}, {threads}; ms for one item of a batch",
            f"{'model':15}{'MB':>8}{'GFLOP':>9}{batches}  for a  on    file",
        ]
        for row in self.rows:
            times = "".join(f"{row.ms[n]:11.2f}" for n in BATCHES)
            lines.append(
                f"{row.role:15}{row.mb:8.2f}{row.gflop:9.3f}{times}  {row.item:5}  "
                f"{row.provider:5} {', '.join(row.files)}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class _Role:
    """A network with a way to run it on `n` items."""

    name: str
    item: str
    weights: tuple[str, ...]
    run: Callable[[int], object]


def bench_models(clip: Path, config: JobConfig, repeats: int = 7) -> ModelBench:
    """Measure every configured network on its own.

    Detectors see the clip's middle frame (the later networks of `mtcnn` work as much as it shows
    faces), `n` times over, in the batches the configuration allows. The others see faces.

    Args:
        clip: a video or a photograph.
        config: names the networks, providers and threads.
        repeats: of each timing.

    Raises:
        SetupError: a network is missing or does not fit.
    """
    frame = _middle_frame(clip)
    plain = runtime_of(config.with_spinning())
    watched = WatchedRuntime(
        plain.providers,
        plain.threads,
        plain.gpu_mem_limit_bytes,
        plain.spinning,
        clock=time.perf_counter,
    )
    rows = [
        _measured(role, runtime.calls, repeats)
        for make in _MAKERS
        for runtime in [replace(watched, calls=[])]
        for role in make(config, runtime, frame)
    ]
    size = (frame.shape[1], frame.shape[0])
    return ModelBench(clip.name, size, config.inference.threads, tuple(rows))


def _middle_frame(clip: Path) -> U8:
    media = open_media(str(clip), None)
    (span,) = media.spans(float("inf"))
    with media.images(span) as images:
        for index, image in images:
            if index >= span.n_frames // 2:
                return image
    raise SetupError(f"{clip}: has no frame to measure on")


def _detectors(config: JobConfig, runtime: WatchedRuntime, frame: U8) -> Iterator[_Role]:
    first = first_detector(config, runtime)
    yield _Role("detector", "frame", (config.detect.weights,), lambda n: first.detect([frame] * n))


def _second(config: JobConfig, runtime: WatchedRuntime, frame: U8) -> Iterator[_Role]:
    second = second_detector(config, runtime)
    weights = config.audit.second_weights
    yield _Role("second detector", "frame", weights, lambda n: second.detect([frame] * n))


def _painters(config: JobConfig, runtime: WatchedRuntime, frame: U8) -> Iterator[_Role]:
    section = config.replace
    if section.generator is None or section.attributes is None:
        return
    attributes, generator = section.attributes, section.generator
    crop, anchor = _resized(frame, CROP_SIZE_PX), anchor_bank(config).vectors_unit[:1]
    reader = AttributeReader(str(resolve(attributes)), runtime)
    yield _Role(
        "attributes", "face", (attributes,), lambda n: reader.read(to_planes(_many(crop, n)))
    )
    denoiser = section.denoiser
    paint = BarePainter(
        str(resolve(generator)),
        str(resolve(attributes)),
        str(resolve(denoiser)) if denoiser else None,
        runtime,
    )

    def run(n: int) -> object:
        return paint(_many(crop, n), anchor.repeat(n, axis=0))

    yield _Role("generator", "face", (generator,), run)
    if denoiser:
        yield _Role("denoiser", "face", (denoiser,), run)


def _encoder(config: JobConfig, runtime: WatchedRuntime, frame: U8) -> Iterator[_Role]:
    encoder, name = conditioning_encoder(config, runtime), config.replace.encoder
    if encoder is not None and name is not None:
        yield _embedding("encoder", name, encoder, frame)


def _judges(config: JobConfig, runtime: WatchedRuntime, frame: U8) -> Iterator[_Role]:
    encoders = judge_encoders(config, runtime)
    for name in config.audit.judges:
        short = judge_name(name)
        yield _embedding(f"judge {short}", name, encoders[short], frame)


_MAKERS = (_detectors, _second, _encoder, _painters, _judges)


def _embedding(role: str, name: str, encoder: Encoder, frame: U8) -> _Role:
    crop = _resized(frame, encoder.crop_size_px)
    return _Role(role, "face", (weight_of(name),), lambda n: encoder.embed_crops(_many(crop, n)))


def _resized(frame: U8, size_px: int) -> U8:
    return np.asarray(cv2.resize(frame, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)


def _many(crop: U8, n: int) -> U8:
    return np.repeat(crop[None], n, axis=0)


def _measured(role: _Role, calls: list[Call], repeats: int) -> ModelFigures:
    """Run a role and read its figures off the calls of its own sessions."""
    paths = [resolve(name) for name in role.weights]
    sources = {str(path) for path in paths}

    def run(n: int) -> list[Call]:
        calls.clear()
        role.run(n)
        return [c for c in calls if c.model.source in sources]

    ms: dict[int, float] = {}
    for n in BATCHES:
        run(n)  # warms up
        seconds: list[float] = []
        while len(seconds) < repeats and (len(seconds) < _MIN_REPEATS or sum(seconds) < _ENOUGH_S):
            seconds.append(busy_s(run(n)))
        ms[n] = 1000.0 * statistics.median(seconds) / n
    one = run(1)
    return ModelFigures(
        role=role.name,
        files=tuple(path.name for path in paths),
        mb=sum(path.stat().st_size for path in paths) / 1e6,
        gflop=gflop_of(one),
        ms=ms,
        item=role.item,
        provider=one[0].model.provider,
    )
