"""Decoding in a process of its own, so that a crash or a bomb costs one span and no more.

The decoder runs ahead of the consumer by the size of a ring in shared memory; pixels are never
pickled. It dies with its parent (its pipes break) and leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from deid_ops.errors import InputError, SetupError
from deid_ops.types import Span
from deid_ops.video.decode import DecodedFrame, Pixels, StreamLayout, iter_frames
from deid_ops.video.frame import ColorTags
from deid_ops.video.index import VideoIndex
from deid_ops.video.index_json import index_from_json
from deid_ops.video.ring import RingReader, anonymous_file

_BOOT = (
    "import json, sys; request = json.loads(sys.argv[1]); sys.path[:] = request['sys_path'];"
    "from deid_ops.video.child_main import main; main(request)"
)
_REPLACE = "replace the file, or accept that it is quarantined"


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What one decoder process may use.

    Attributes:
        memory_bytes: address space on top of the bare interpreter.
        cpu_s: processor time in seconds, all threads together.
        wait_s: longest wait for the next frame (or the index) before the process is killed.
        n_slots: frames in the ring, 3..64; the decoder runs ahead by as many.
        n_threads: decoder threads, 0 for one a core.
    """

    memory_bytes: int = 4 << 30
    cpu_s: int = 3600
    wait_s: float = 120.0
    n_slots: int = 8
    n_threads: int = 0

    def __post_init__(self) -> None:
        """Refuse limits that cannot work."""
        if not 3 <= self.n_slots <= 64:
            raise ValueError(f"n_slots is {self.n_slots}, must lie in 3..64")
        if min(self.memory_bytes, self.cpu_s, self.wait_s) <= 0:
            raise ValueError(f"limits must be above 0: {self}")


class FrameSource(Protocol):
    """Frames of one span: a context manager and an iterator, to be used up once."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __iter__(self) -> Iterator[DecodedFrame]: ...

    def close(self) -> None:
        """Stop decoding and free everything; frames handed out stay valid."""


def open_frames(
    path: str, span: Span, pixels: Pixels = "both", limits: DecodeLimits | None = None
) -> FrameSource:
    """Decode a span, in a limited process where limits are given, else in this one.

    Frames are read-only and may be kept as long as the caller likes.

    Args:
        path: local file.
        span: as planned from its index.
        pixels: which of `DecodedFrame.frame` and `.bgr` to fill.
        limits: of the decoder process; None decodes in this process.

    Raises (while iterating):
        InputError: `decode_error`, `short_decode`, `decoder_signal_<n>`, `decoder_timeout`,
            `decoder_memory`, `unsupported_*`.
        SetupError: the decoder process cannot be started on this machine.

    Example:
        >>> with open_frames("drive.mp4", span, "bgr", DecodeLimits()) as frames:  # doctest: +SKIP
        ...     for decoded in frames:
        ...         print(decoded.pts, decoded.bgr.shape)
    """
    if limits is None:
        return _LocalFrames(path, span, pixels)
    return ChildFrames(path, span, pixels, limits)


def read_index_guarded(path: str, limits: DecodeLimits) -> VideoIndex:
    """`index.read_index` in a limited process.

    Raises:
        InputError: as `read_index`, or `decoder_signal_<n>`, `decoder_timeout`,
            `decoder_memory`.
        FileNotFoundError: there is no such file.
    """
    with _Child({"kind": "index", "path": path}, path, limits, ()) as child:
        while True:
            event = child.next_event()
            if event[0] == "index":
                return index_from_json(event[1])


class _LocalFrames:
    """`FrameSource` without a process."""

    def __init__(self, path: str, span: Span, pixels: Pixels) -> None:
        self._frames = iter_frames(path, span, pixels)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[DecodedFrame]:
        return self._frames

    def close(self) -> None:
        close = getattr(self._frames, "close", None)
        if close is not None:
            close()


class ChildFrames:
    """`FrameSource` over a decoder process."""

    def __init__(self, path: str, span: Span, pixels: Pixels, limits: DecodeLimits) -> None:
        self._path, self._span, self._pixels, self._limits = path, span, pixels, limits
        self._ring_fd: int | None = anonymous_file()
        credit_read, self._credit_write = os.pipe()
        request = {
            "kind": "frames",
            "path": path,
            "span": (
                span.stream_index,
                span.pts_start,
                span.pts_end,
                span.n_frames,
                str(span.time_base),
            ),
            "pixels": pixels,
            "n_slots": limits.n_slots,
            "n_threads": limits.n_threads,
            "ring_fd": self._ring_fd,
            "credit_fd": credit_read,
        }
        self._ring: RingReader | None = None
        self._child: _Child | None = None
        try:
            self._child = _Child(request, path, limits, (self._ring_fd, credit_read))
        finally:
            os.close(credit_read)
            if self._child is None:
                self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the decoder, None once it has ended."""
        return None if self._child is None else self._child.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __iter__(self) -> Iterator[DecodedFrame]:
        n_out = 0
        try:
            while self._child is not None:
                event = self._child.next_event()
                if event[0] == "layout":
                    self._map(event[1])
                elif event[0] == "frame" and self._ring is not None:
                    n_out += 1
                    yield self._ring.take(*event[1:])
                elif event[0] == "end":
                    break
        finally:
            self.close()
        if n_out != self._span.n_frames:
            detail = f"{n_out} of {self._span.n_frames} frames came out of the decoder"
            raise InputError("short_decode", self._path, detail, _REPLACE)

    def _map(self, tree: dict[str, Any]) -> None:
        layout = StreamLayout(**{**tree, "color": ColorTags(**tree["color"])})
        if self._ring_fd is not None:
            fd, self._ring_fd = self._ring_fd, None
            self._ring = RingReader(
                fd, layout, self._pixels, self._limits.n_slots, self._credit_write
            )
            os.close(fd)

    def close(self) -> None:
        """Kill the process if it still runs; close both pipes and the memory."""
        child, self._child = self._child, None
        if child is not None:
            child.close()
        if self._ring is not None:
            self._ring.close()
        elif self._ring_fd is not None:
            os.close(self._ring_fd)
            os.close(self._credit_write)
            self._ring_fd = None


class _Child:
    """A running decoder process and its pipe of events."""

    def __init__(
        self, request: dict[str, Any], path: str, limits: DecodeLimits, fds: tuple[int, ...]
    ) -> None:
        self._path, self._limits = path, limits
        self._said_hello, self._tail = False, b""
        self._lines: list[bytes] = []
        self._event_fd, event_write = os.pipe()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        request |= {
            # An editable install imports through a finder that the bare child does not have.
            "sys_path": [*sys.path, str(Path(__file__).parents[2])],
            "event_fd": event_write,
            "memory_bytes": limits.memory_bytes,
            "cpu_s": limits.cpu_s,
        }
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, json.dumps(request)],
                pass_fds=(*fds, event_write),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
            )
        finally:
            os.close(event_write)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def next_event(self) -> list[Any]:
        """Wait for the next event; errors and the death of the process are raised."""
        event = json.loads(self._next_line())
        if event[0] == "hello":
            self._said_hello = True
            return self.next_event()
        if event[0] == "error":
            raise InputError(*event[1:])
        if event[0] == "missing":
            raise FileNotFoundError(self._path)
        return list(event)

    def _next_line(self) -> bytes:
        while not self._lines:
            ready, _, _ = select.select([self._event_fd], [], [], self._limits.wait_s)
            if not ready:
                self._process.kill()
                detail = f"no frame within {self._limits.wait_s} s"
                raise InputError("decoder_timeout", self._path, detail, _REPLACE)
            data = os.read(self._event_fd, 1 << 16)
            if not data:
                self._raise_death()
            *lines, self._tail = (self._tail + data).split(b"\n")
            self._lines += lines
        return self._lines.pop(0)

    def _raise_death(self) -> None:
        status = self._process.wait()
        self._stderr.seek(0)
        said = self._stderr.read()[-400:].decode("utf-8", "replace").strip()
        if status < 0:
            name = signal.Signals(-status).name
            reason = "decoder_timeout" if -status == signal.SIGXCPU else f"decoder_signal_{-status}"
            raise InputError(reason, self._path, f"the decoder was killed by {name}", _REPLACE)
        if not self._said_hello:
            raise SetupError(f"the decoder process cannot start: {said}")
        detail = f"the decoder ended with status {status}: {said}"
        raise InputError("decode_error", self._path, detail, _REPLACE)

    def close(self) -> None:
        """Kill the process and close the pipe."""
        if self._event_fd < 0:
            return
        self._process.kill()
        self._process.wait()
        os.close(self._event_fd)
        self._event_fd = -1
        self._stderr.close()
