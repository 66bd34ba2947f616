"""Keyed randomness: a face gets the same in every retry, an outsider cannot compute it."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np

from deid_ops.errors import SetupError

KEY_BYTES_MIN = 16


def pattern_seed(key: bytes, recording_id: str, track: int, frame_index: int | None) -> int:
    """Return a 128-bit seed that depends on the secret key and on the place in the recording.

    Args:
        key: secret run key, at least 16 bytes.
        recording_id: the recording.
        track: the face's track within its segment; add the segment to `recording_id` where
            segments count their tracks separately.
        frame_index: None for a pattern that stays the same through the track.

    Raises:
        SetupError: the key is too short.
    """
    if len(key) < KEY_BYTES_MIN:
        raise SetupError(f"the run key has {len(key)} bytes; use at least {KEY_BYTES_MIN}")
    place = "steady" if frame_index is None else str(frame_index)
    parts = [part.encode() for part in ("redact", recording_id, str(track), place)]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return int.from_bytes(hmac.digest(key, message, hashlib.sha256)[:16], "big")


def seeded_generator(seed: int) -> np.random.Generator:
    """Return the PCG64 stream of a seed."""
    return np.random.Generator(np.random.PCG64(seed))
