"""The shared memory between a decoder process and its parent: `n_slots` frames of one layout.

The memory is an anonymous file (`memfd`), so it has no name that could be left behind, whatever
happens to either process.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deid_ops.types import U8
from deid_ops.video.decode import DecodedFrame, Pixels, StreamLayout
from deid_ops.video.frame import Frame

_ALIGN = 64


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """Where the planes of one frame lie within a slot.

    Attributes:
        native: `(offset, shape)` of each native plane, none where only BGR is asked for.
        dtype: of the native planes.
        bgr_offset: of the BGR image, None where only native planes are asked for. Packed `bgr24`
            streams share one image for both.
        nbytes: size of the slot.
    """

    native: tuple[tuple[int, tuple[int, ...]], ...]
    dtype: np.dtype[Any]
    bgr_offset: int | None
    nbytes: int

    @classmethod
    def of(cls, layout: StreamLayout, pixels: Pixels) -> SlotLayout:
        """Lay out a slot for the requested pixels."""
        bgr_bytes = layout.width * layout.height * 3
        if layout.pix_fmt == "bgr24":
            image: tuple[int, tuple[int, ...]] = (0, (layout.height, layout.width, 3))
            native = () if pixels == "bgr" else (image,)
            bgr = None if pixels == "native" else 0
            return cls(native, np.dtype(np.uint8), bgr, _aligned(bgr_bytes))
        planes, offset, entries = layout.planes, 0, []
        for shape in planes.plane_shapes if pixels != "bgr" else ():
            entries.append((offset, shape))
            offset = _aligned(offset + int(np.prod(shape)) * planes.dtype.itemsize)
        if pixels == "native":
            return cls(tuple(entries), planes.dtype, None, offset)
        return cls(tuple(entries), planes.dtype, offset, _aligned(offset + bgr_bytes))


def _aligned(n: int) -> int:
    return -(-n // _ALIGN) * _ALIGN


def anonymous_file() -> int:
    """Create a nameless file in memory and return its descriptor."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("deid-frames")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class RingWriter:
    """The decoder's side: copies frames into slots.

    Args:
        fd: of the anonymous file, sized here.
        layout: of the stream.
        pixels: what to store.
        n_slots: frames that fit.
    """

    def __init__(self, fd: int, layout: StreamLayout, pixels: Pixels, n_slots: int) -> None:
        self.slot = SlotLayout.of(layout, pixels)
        os.ftruncate(fd, self.slot.nbytes * n_slots)
        self._memory = mmap.mmap(fd, self.slot.nbytes * n_slots)

    def put(self, slot: int, planes: tuple[npt.NDArray[Any], ...], bgr: U8 | None) -> None:
        """Copy one frame into a slot."""
        base = slot * self.slot.nbytes
        for (offset, shape), plane in zip(self.slot.native, planes, strict=True):
            count = int(np.prod(shape))
            target = np.frombuffer(self._memory, self.slot.dtype, count, base + offset)
            np.copyto(target.reshape(shape), plane)
        shared = self.slot.native and self.slot.bgr_offset == self.slot.native[0][0]
        if bgr is not None and self.slot.bgr_offset is not None and not shared:
            target = np.frombuffer(self._memory, np.uint8, bgr.size, base + self.slot.bgr_offset)
            np.copyto(target.reshape(bgr.shape), bgr)


class RingReader:
    """The consumer's side: hands out frames without copying and frees a slot with its last array.

    A consumer that keeps more frames than the ring can spare gets copies, so it may keep as many
    as it likes.

    Args:
        fd: of the anonymous file, sized by the writer.
        layout: of the stream.
        pixels: what was stored.
        n_slots: frames that fit.
        credit_fd: pipe to the decoder; the number of each free slot is written to it. The reader
            owns it from here on.
    """

    def __init__(
        self, fd: int, layout: StreamLayout, pixels: Pixels, n_slots: int, credit_fd: int
    ) -> None:
        self._layout, self._slot = layout, SlotLayout.of(layout, pixels)
        self._n_slots = n_slots
        self._memory = mmap.mmap(fd, self._slot.nbytes * n_slots)
        self._credits = _Credits(credit_fd)

    def take(self, slot: int, index: int, pts: int, is_key: bool) -> DecodedFrame:
        """Return the frame in a slot; its arrays are read-only."""
        buffer_type = ctypes.c_uint8 * self._slot.nbytes
        lent = self._credits.n_lent() < self._n_slots - 2
        offset = slot * self._slot.nbytes
        buffer: Any
        if lent:
            buffer = buffer_type.from_buffer(self._memory, offset)
            self._credits.lend(buffer, slot)
        else:
            buffer = self._memory[offset : offset + self._slot.nbytes]
            self._credits.give_back(slot)
        native = tuple(
            self._view(buffer, at, shape, self._slot.dtype) for at, shape in self._slot.native
        )
        layout, bgr = self._layout, None
        if self._slot.bgr_offset is not None:
            shape = (layout.height, layout.width, 3)
            bgr = self._view(buffer, self._slot.bgr_offset, shape, np.dtype(np.uint8))
        frame = None
        if native:
            frame = Frame(index, pts, is_key, layout.pix_fmt, native, layout.color)
        return DecodedFrame(frame, bgr, index, pts, is_key)

    def close(self) -> None:
        """Stop returning slots; arrays handed out stay valid."""
        self._credits.close()

    @staticmethod
    def _view(
        buffer: Any, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> npt.NDArray[Any]:
        array = np.frombuffer(buffer, dtype, int(np.prod(shape)), offset).reshape(shape)
        array.flags.writeable = False
        return array


class _Credits:
    """Which slots are lent out, and the pipe that tells the decoder about free ones."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self._lent: set[int] = set()
        # Reentrant: a finalizer may run while the same thread holds the lock.
        self._lock = threading.RLock()

    def n_lent(self) -> int:
        return len(self._lent)

    def lend(self, owner: Any, slot: int) -> None:
        self._lent.add(slot)
        weakref.finalize(owner, self._end_of_loan, slot).atexit = False

    def give_back(self, slot: int) -> None:
        with self._lock:
            if self._fd is not None:
                try:
                    os.write(self._fd, bytes([slot]))
                except BrokenPipeError:
                    self.close()  # the decoder has ended: nobody needs the slot

    def close(self) -> None:
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _end_of_loan(self, slot: int) -> None:
        self._lent.discard(slot)
        self.give_back(slot)
