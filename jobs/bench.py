"""`deid bench`: the chain's speed, stage by stage, beside its bare models and a blur-only peer."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from deid_ops.errors import SetupError
from deid_ops.types import U8
from jobs.config import JobConfig
from jobs.loose import Timed, run_timed
from jobs.media import open_media
from jobs.models import first_detector, judge_encoders, second_detector
from jobs.rows import is_swapped, tracks_from_row

_MODEL_SAMPLE_FRAMES = 12
STAGES = ("detect", "track", "swap", "diffuse", "compose", "audit")


@dataclass(frozen=True)
class Bench:
    """Figures of one run on one machine; times in seconds."""

    clip: str
    size_wh_px: tuple[int, int]
    n_frames: int
    n_faces: int
    n_swapped: int
    whole_s: float
    stage_s: dict[str, float]
    idle_s: dict[str, float]
    model_s: dict[str, float]
    peer_s: float | None

    @property
    def frames_per_second(self) -> float:
        """Speed of the whole chain."""
        return self.n_frames / self.whole_s

    @property
    def share_of_models(self) -> float:
        """Time of the bare models over the time of the whole chain."""
        return sum(self.model_s.values()) / self.whole_s

    def text(self) -> str:
        """Return the table that the command prints."""
        width, height = self.size_wh_px
        lines = [
            f"{self.clip}: {width}x{height}, {self.n_frames} frames, "
            f"{self.n_faces / max(1, self.n_frames):.1f} faces a frame "
            f"({self.n_swapped} replaced, {self.n_faces - self.n_swapped} redacted)",
            f"whole chain           {self.frames_per_second:8.2f} frames/s  {self.whole_s:8.1f} s",
        ]
        for stage in STAGES:
            seconds = self.stage_s.get(stage, 0.0)
            rate = self.n_frames / seconds if seconds > 0 else float("inf")
            idle = self.idle_s.get(stage, 0.0)
            lines.append(
                f"  stage {stage:13} {rate:10.2f} frames/s  {seconds:8.1f} s  idle {idle:6.1f} s"
            )
        for name, seconds in self.model_s.items():
            lines.append(
                f"  model {name:13} {self.n_frames / seconds:10.2f} frames/s  {seconds:8.1f} s"
            )
        lines.append(f"bare models / chain   {self.share_of_models:8.2f}")
        if self.peer_s is not None:
            peer_rate = self.n_frames / self.peer_s
            lines.append(f"deface, same clip     {peer_rate:8.2f} frames/s  {self.peer_s:8.1f} s")
            lines.append(f"chain / deface        {self.frames_per_second / peer_rate:8.2f} times")
        return "\n".join(lines)


def bench_clip(clip: Path, config: JobConfig, peer: bool, max_frames: int | None) -> Bench:
    """Run the chain inline on a clip, its models alone, and the peer.

    The models alone are timed on frames spread over the clip and scaled to its length; faces are
    scaled to the number that the chain judged.

    Raises:
        SetupError: the clip was refused, or the peer failed.
    """
    with tempfile.TemporaryDirectory(prefix="deid-bench-") as folder:
        source = clip if max_frames is None else _cut(clip, Path(folder), max_frames)
        started = time.perf_counter()
        timed = run_timed(source, Path(folder) / "out", config, b"bench" * 7)
        whole_s = time.perf_counter() - started - timed.load_s
        row = timed.row
        return Bench(
            clip=clip.name,
            size_wh_px=(row["width_px"], row["height_px"]),
            n_frames=row["n_frames_out"],
            n_faces=len(row["box_treatment"]),
            n_swapped=int(is_swapped(row).sum()),
            whole_s=whole_s,
            stage_s=dict(row["stage_seconds"]),
            idle_s=dict(row["idle_seconds"]),
            model_s=_models_alone(source, timed, config),
            peer_s=_deface(source, Path(folder)) if peer else None,
        )


def _models_alone(source: Path, timed: Timed, config: JobConfig) -> dict[str, float]:
    """Return seconds of each model alone for the whole clip."""
    media = open_media(str(source), None)
    config = config.with_spinning()
    (span,) = media.spans(float("inf"))
    step = max(1, span.n_frames // _MODEL_SAMPLE_FRAMES)
    with media.images(span) as images:
        frames = [image for index, image in images if index % step == 0]
    n_audits = 1 if timed.row["n_repairs"] == 0 else 2
    seconds = {}
    for name, detector, together, runs in (
        ("detector", first_detector(config), config.detect.batch_frames, 1),
        ("second", second_detector(config), config.audit.batch_frames, n_audits),
    ):
        chunks = [frames[i : i + together] for i in range(0, len(frames), together)]
        detector.detect(frames[:1])
        each = _time(lambda d=detector, c=chunks: [d.detect(f) for f in c])  # type: ignore[misc]
        seconds[name] = each / len(frames) * span.n_frames * runs
    tracks = tracks_from_row(timed.row)
    n_judged = 2 * n_audits * sum(r["n_faces_judged"] for r in timed.row["identity_rows"])
    rows = np.flatnonzero(tracks.has_landmarks)[:1]
    if n_judged and len(rows):
        for name, judge in judge_encoders(config).items():
            crop: U8 = judge.crop(frames[0], tracks.landmarks_xy_px[rows])
            judge.embed_crops(crop)
            each = _time(lambda j=judge, c=crop: [j.embed_crops(c) for _ in range(8)])  # type: ignore[misc]
            seconds[name] = each / 8 * n_judged
    return seconds


def _time(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _deface(clip: Path, folder: Path) -> float:
    """Return how long the `deface` command takes, with its defaults, from start to end."""
    command = shutil.which("deface", path=str(Path(sys.executable).parent)) or shutil.which(
        "deface"
    )
    if command is None:
        raise SetupError("the command `deface` is missing; install deface==1.5.0 or use --no-peer")
    out = folder / f"peer{clip.suffix}"
    started = time.perf_counter()
    done = subprocess.run(
        [command, str(clip), "-o", str(out)], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode or not out.exists():
        raise SetupError(f"deface failed on {clip}: {done.stderr[-500:]}")
    return seconds


def _cut(clip: Path, folder: Path, max_frames: int) -> Path:
    """Write the first frames of a clip as a clip of their own."""
    import av

    out = folder / f"cut{clip.suffix}"
    with av.open(str(clip)) as source, av.open(str(out), "w") as target:
        stream_in = source.streams.video[0]
        stream = target.add_stream_from_template(stream_in)
        packets = (p for p in source.demux(stream_in) if p.dts is not None)
        for packet in islice(packets, max_frames):
            packet.stream = stream
            target.mux(packet)
    return out
