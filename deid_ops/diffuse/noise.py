"""Noise that is fresh for every track, the same for all frames of one, and never stored.

Noise drawn anew for every frame makes a face flicker (measured: the identity varies three times as
much along a track), and an attacker can average it away over the frames. One draw per track does
neither: the face is steady, and however many frames are published, there is one noise over them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from deid_ops.errors import InvariantError
from deid_ops.types import I32

SECRET_BYTES = 32


class TrackNoise:
    """Expands one secret into independent streams of bytes, one per track (SHAKE-256).

    Args:
        secret: 32 bytes from the operating system, drawn for one segment of one run and dropped
            with this object.

    Raises:
        InvariantError: the secret is shorter.

    Example:
        >>> import numpy as np
        >>> noise = TrackNoise(bytes(32))
        >>> draw = noise.source(np.array([4, 7, 4], np.int32))(12)
        >>> draw[:4] == draw[8:], draw[:4] == draw[4:8]
        (True, False)
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SECRET_BYTES:
            raise InvariantError(f"TrackNoise: the secret has {len(secret)} bytes")
        self._secret = secret

    def source(self, track: I32) -> Callable[[int], bytes]:
        """Return a source of bytes for a batch of faces, as `Denoiser` takes it.

        Args:
            track: `[n]` track of each face, in the order of the batch.
        """
        numbers = [int(t) for t in track]

        def draw(count: int) -> bytes:
            share, rest = divmod(count, max(len(numbers), 1))
            if rest:
                raise InvariantError(f"TrackNoise: {count} bytes for {len(numbers)} faces")
            streams = {
                t: hashlib.shake_256(self._secret + t.to_bytes(8, "big", signed=True)).digest(share)
                for t in set(numbers)
            }
            return b"".join(streams[t] for t in numbers)

        return draw
