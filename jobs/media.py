"""Clips and photographs behind one door, so that the stages need not tell them apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deid_ops.errors import InputError
from deid_ops.pipeline.compose import FrameSink
from deid_ops.types import I64, U8, Span
from deid_ops.video.child import DecodeLimits, open_frames, read_index_guarded
from deid_ops.video.encode import ClipWriter
from deid_ops.video.frame import Frame
from deid_ops.video.index import VideoIndex, read_index
from deid_ops.video.policy import MediaPolicy
from deid_ops.video.remux import can_copy, copy_span
from deid_ops.video.segments import plan_spans
from deid_ops.video.still_copy import copy_still
from deid_ops.video.stills import STILL_SPAN, kind_of, read_still, write_still
from deid_ops.video.verify import compare_media

# SVT-AV1 writes a banner to standard error unless it is told not to.
os.environ.setdefault("SVT_LOG", "1")

#: `segments.container` of a photograph.
STILL = "still"


@dataclass(frozen=True)
class Media:
    """One local file that can be decoded; `index` is None for a photograph."""

    path: str
    index: VideoIndex | None
    limits: DecodeLimits | None

    def spans(self, max_duration_s: float) -> list[Span]:
        """Return the segments of the file."""
        return [STILL_SPAN] if self.index is None else plan_spans(self.index, max_duration_s)

    def pts(self) -> I64:
        """Return the timestamps of every frame, in presentation order."""
        return np.zeros(1, np.int64) if self.index is None else self.index.pts

    @contextmanager
    def images(self, span: Span) -> Iterator[Iterable[tuple[int, U8]]]:
        """Give `(frame index, BGR)` of a span, in coded orientation."""
        if self.index is None:
            yield [(0, read_still(self.path).frame.planes[0])]
            return
        with open_frames(self.path, span, "bgr", self.limits) as frames:
            yield ((f.index, f.bgr) for f in frames if f.bgr is not None)

    def rewrite(
        self, span: Span, out: Path, policy: MediaPolicy, edit: Callable[..., object]
    ) -> None:
        """Decode natively, let `edit(frames, sink)` write every frame, keep all other streams.

        Raises:
            InputError: `media_contract`: the file written differs in more than pixels.
        """
        if self.index is None:
            still = read_still(self.path)
            edit([still.frame], _StillSink(lambda frame: write_still(str(out), still, frame)))
            return
        with (
            open_frames(self.path, span, "native", self.limits) as decoded,
            ClipWriter(str(out), self.path, self.index, span, policy) as writer,
        ):
            edit((d.frame for d in decoded if d.frame is not None), writer)
        self._check(span, out, policy)

    def copy(self, span: Span, out: Path, policy: MediaPolicy) -> bool:
        """Copy a span bit-exact (a photograph: its pixels, without EXIF and the like).

        Returns false where that cannot be done and the span must be rewritten.
        """
        if self.index is None:
            copy_still(read_still(self.path), str(out))
            return True
        if not can_copy(self.index, span):
            return False
        copy_span(self.path, self.index, span, str(out), policy)
        self._check(span, out, policy)
        return True

    def _check(self, span: Span, out: Path, policy: MediaPolicy) -> None:
        if self.index is None:
            return
        problems = compare_media(self.path, self.index, span, str(out), policy).problems()
        if problems:
            raise InputError(
                "media_contract",
                self.path,
                "; ".join(problems),
                "report the file; its original is untouched",
            )


def open_media(path: str, limits: DecodeLimits | None) -> Media:
    """Read a file's index, in a limited process where limits are given.

    Raises:
        InputError: the file cannot be treated; the reason names why.
    """
    if kind_of(path) == "still":
        read_still(path)
        return Media(path, None, limits)
    index = read_index(path) if limits is None else read_index_guarded(path, limits)
    return Media(path, index, limits)


@dataclass(frozen=True)
class _StillSink(FrameSink):
    take: Callable[[Frame], None]

    def write(self, frame: Frame) -> None:
        self.take(frame)
