"""The decoder process: same frames, named deaths, nothing left behind."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deid_ops.errors import InputError
from deid_ops.video.child import ChildFrames, DecodeLimits, open_frames, read_index_guarded
from deid_ops.video.decode import DecodedFrame, Pixels, iter_frames
from deid_ops.video.index import read_index
from deid_ops.video.segments import plan_spans

ROOT = Path(__file__).parents[3]


def whole_span(path: str) -> Any:
    (span,) = plan_spans(read_index(path), float("inf"))
    return span


def children() -> set[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    gc.collect()
    n_open, pids = len(os.listdir("/proc/self/fd")), children()
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == n_open
    assert children() == pids


def assert_same(a: DecodedFrame, b: DecodedFrame) -> None:
    assert (a.index, a.pts, a.is_key) == (b.index, b.pts, b.is_key)
    if a.bgr is None:
        assert b.bgr is None
    else:
        np.testing.assert_array_equal(a.bgr, b.bgr)
    if a.frame is None:
        assert b.frame is None
        return
    assert b.frame is not None
    assert (a.frame.pix_fmt, a.frame.color) == (b.frame.pix_fmt, b.frame.color)
    for plane, other in zip(a.frame.planes, b.frame.planes, strict=True):
        assert plane.dtype == other.dtype
        np.testing.assert_array_equal(plane, other)
        assert not other.flags.writeable


@pytest.mark.parametrize("pixels", ["native", "bgr", "both"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_frames_are_those_of_this_process(make_clip: Any, pixels: Pixels, pix_fmt: str) -> None:
    path, spec = make_clip(pix_fmt=pix_fmt, b_frames=2, width=70)
    span = whole_span(path)
    here = list(iter_frames(path, span, pixels))
    with open_frames(path, span, pixels, DecodeLimits(n_slots=4)) as frames:
        n_seen = 0
        for expected, got in zip(here, frames, strict=True):
            assert_same(expected, got)
            n_seen += 1
    assert n_seen == spec.n_frames


def test_frames_may_all_be_kept(make_clip: Any) -> None:
    """More frames than the ring holds: nothing blocks, nothing is overwritten."""
    path, spec = make_clip(n_frames=40)
    span = whole_span(path)
    with open_frames(path, span, "both", DecodeLimits(n_slots=3)) as frames:
        kept = list(frames)
    assert len(kept) == spec.n_frames
    for expected, got in zip(iter_frames(path, span, "both"), kept, strict=True):
        assert_same(expected, got)


def test_frames_outlive_their_source(make_clip: Any) -> None:
    path, _ = make_clip()
    frames = open_frames(path, whole_span(path), "bgr", DecodeLimits())
    first = next(iter(frames))
    frames.close()
    del frames
    gc.collect()
    assert_same(next(iter(iter_frames(path, whole_span(path), "bgr"))), first)


def test_leaving_early_ends_the_process(make_clip: Any) -> None:
    path, _ = make_clip(n_frames=60)
    with open_frames(path, whole_span(path), "bgr", DecodeLimits(n_slots=3)) as frames:
        for decoded in frames:
            if decoded.index == 2:
                break
    source = ChildFrames(path, whole_span(path), "bgr", DecodeLimits())
    assert source.pid in children()
    del source


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
def test_a_killed_decoder_has_a_name(make_clip: Any, number: signal.Signals) -> None:
    path, _ = make_clip(n_frames=60)
    source = ChildFrames(path, whole_span(path), "bgr", DecodeLimits(n_slots=3))
    seen = []

    def use_up() -> None:
        for decoded in source:
            seen.append(decoded.index)
            if decoded.index == 1:
                assert source.pid is not None
                os.kill(source.pid, number)

    with pytest.raises(InputError) as caught:
        use_up()
    assert caught.value.reason == f"decoder_signal_{int(number)}"
    assert caught.value.subject == path
    assert 2 <= len(seen) < 60


def test_a_decoder_that_hangs_times_out(make_clip: Any) -> None:
    path, _ = make_clip(n_frames=60)
    source = ChildFrames(path, whole_span(path), "bgr", DecodeLimits(n_slots=3, wait_s=5.0))
    frames = iter(source)
    next(frames)
    assert source.pid is not None
    os.kill(source.pid, signal.SIGSTOP)
    with pytest.raises(InputError) as caught:
        list(frames)
    assert caught.value.reason == "decoder_timeout"


def test_processor_time_is_limited(make_clip: Any) -> None:
    path, _ = make_clip(n_frames=60)
    source = ChildFrames(path, whole_span(path), "both", DecodeLimits(cpu_s=77, n_slots=3))
    frames = iter(source)
    next(frames)
    limits = Path(f"/proc/{source.pid}/limits").read_text().splitlines()
    (cpu,) = [line.split() for line in limits if line.startswith("Max cpu time")]
    assert cpu[3:5] == ["77", "78"]
    assert source.pid is not None
    os.kill(source.pid, signal.SIGXCPU)  # what the kernel sends at the limit
    with pytest.raises(InputError) as caught:
        list(frames)
    assert caught.value.reason == "decoder_timeout"


def test_memory_is_limited(make_clip: Any) -> None:
    path, _ = make_clip(width=640, height=480, n_frames=10)
    limits = DecodeLimits(memory_bytes=6 << 20, n_threads=1)
    with pytest.raises(InputError) as caught:
        list(open_frames(path, whole_span(path), "both", limits))
    assert caught.value.reason == "decoder_memory", caught.value


def test_errors_cross_the_border(make_clip: Any, tmp_path: Path) -> None:
    path, spec = make_clip()
    span = replace(whole_span(path), n_frames=spec.n_frames + 3)
    with pytest.raises(InputError) as caught:
        list(open_frames(path, span, "bgr", DecodeLimits()))
    assert caught.value.reason == "short_decode"
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(b"garbage" * 1000)
    with pytest.raises(InputError) as caught:
        list(open_frames(str(garbage), span, "bgr", DecodeLimits()))
    assert caught.value.reason == "unreadable"
    with pytest.raises(FileNotFoundError):
        list(open_frames(str(tmp_path / "absent.mp4"), span, "bgr", DecodeLimits()))


def test_without_limits_it_runs_here(make_clip: Any) -> None:
    path, spec = make_clip()
    before = children()
    with open_frames(path, whole_span(path), "bgr") as frames:
        next(iter(frames))
        assert children() == before
        assert len(list(frames)) == spec.n_frames - 1


def test_the_index_from_a_process(make_clip: Any) -> None:
    path, _ = make_clip(rotation_deg=90, audio_channels=2)
    here, there = read_index(path), read_index_guarded(path, DecodeLimits())
    assert there.facts == here.facts
    np.testing.assert_array_equal(there.pts, here.pts)
    np.testing.assert_array_equal(there.keyframe_pts, here.keyframe_pts)


def test_index_errors_cross_the_border(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    with pytest.raises(InputError) as caught:
        read_index_guarded(str(empty), DecodeLimits())
    assert caught.value.reason == "empty_file"
    with pytest.raises(FileNotFoundError):
        read_index_guarded(str(tmp_path / "absent.mp4"), DecodeLimits())


def test_the_decoder_dies_with_its_parent(make_clip: Any) -> None:
    path, _ = make_clip(n_frames=60)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from deid_ops.video.child import *; from deid_ops.video.index import read_index\n"
        "from deid_ops.video.segments import plan_spans\n"
        "source = ChildFrames(sys.argv[1], plan_spans(read_index(sys.argv[1]))[0], 'bgr',"
        " DecodeLimits(n_slots=3))\n"
        "frames = iter(source); next(frames); print(source.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path, str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        os.sched_yield()
        subprocess.run(["sleep", "0.05"], check=True)
    pytest.fail(f"decoder {pid} still runs")


def test_the_decoder_imports_little() -> None:
    code = (
        "import sys, json; import deid_ops.video.child_main; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    modules = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert {"numpy", "av"} <= modules
    assert not modules & {"cv2", "scipy", "onnxruntime", "torch", "ray", "pyarrow", "pandas"}


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="n_slots"):
        DecodeLimits(n_slots=2)
    with pytest.raises(ValueError, match="above 0"):
        DecodeLimits(wait_s=0)
