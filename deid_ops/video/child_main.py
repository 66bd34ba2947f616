"""The decoder process: limits itself, decodes one span, writes frames into the parent's ring.

Started by `child.py` and by nothing else. It imports numpy and av only, which keeps its start
short. Events go to a pipe as one JSON list a line: `["hello"]`, `["layout", ...]`,
`["frame", slot, index, pts, is_key]`, then `["end"]` or `["error", reason, subject, detail,
remedy]`.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from collections import deque
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from deid_ops.errors import InputError
from deid_ops.types import Span
from deid_ops.video import formats
from deid_ops.video.decode import BgrConverter, SpanReader
from deid_ops.video.index import read_index
from deid_ops.video.index_json import index_to_json
from deid_ops.video.ring import RingWriter


def main(request: dict[str, Any]) -> None:
    """Serve one request; ends the process with status 0 whenever an event tells the outcome."""
    events = os.fdopen(request["event_fd"], "w", buffering=1)
    _limit(request["memory_bytes"], request["cpu_s"])
    _send(events, "hello")
    try:
        if request["kind"] == "index":
            _send(events, "index", index_to_json(read_index(request["path"])))
        else:
            _decode(request, events)
        _send(events, "end")
    except InputError as error:
        _send(events, "error", error.reason, error.subject, error.detail, error.remedy)
    except FileNotFoundError:
        _send(events, "missing")
    except BrokenPipeError:
        sys.exit(1)  # the parent is gone
    except (MemoryError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.ENOMEM, errno.EAGAIN):
            raise
        detail = f"more than {request['memory_bytes']} bytes were needed ({error})"
        remedy = "raise the memory limit of the decoder"
        _send(events, "error", "decoder_memory", request["path"], detail, remedy)


def _send(events: Any, *event: Any) -> None:
    events.write(json.dumps(event) + "\n")
    events.flush()


def _limit(memory_bytes: int, cpu_s: int) -> None:
    """Allow `memory_bytes` of address space on top of what the interpreter has mapped."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        mapped = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _decode(request: dict[str, Any], events: Any) -> None:
    stream_index, start, end, n_frames, time_base = request["span"]
    span = Span(stream_index, start, end, n_frames, Fraction(time_base))
    path, pixels = request["path"], request["pixels"]
    reader = SpanReader(path, span, request["n_threads"])
    layout, planes = reader.layout, reader.layout.planes
    ring = RingWriter(request["ring_fd"], layout, pixels, request["n_slots"])
    _send(events, "layout", asdict(layout))
    convert = BgrConverter(layout, path)
    packed = layout.pix_fmt == "bgr24"
    free = deque(range(request["n_slots"]))
    for index, pts, is_key, raw in reader:
        bgr = convert(raw) if pixels != "native" or packed else None
        native: tuple[Any, ...] = ()
        if pixels != "bgr":
            native = (bgr,) if packed else formats.planes_of(raw, planes)
        if not free:
            returned = os.read(request["credit_fd"], request["n_slots"])
            if not returned:
                sys.exit(1)  # the parent is gone
            free.extend(returned)
        slot = free.popleft()
        ring.put(slot, native, bgr)
        _send(events, "frame", slot, index, pts, is_key)
