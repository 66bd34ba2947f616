"""Damaged files end in an `InputError` with a stable name, or pass with every frame there."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deid_ops.errors import InputError
from deid_ops.video.decode import iter_frames
from deid_ops.video.index import read_index
from deid_ops.video.segments import plan_spans

MS = {"time_base": Fraction(1, 1000), "step": 33}
KINDS: dict[str, dict[str, Any]] = {
    "mp4": {"b_frames": 2, "audio_channels": 1},
    "mkv": {"name": "clip.mkv", **MS, "b_frames": 2, "audio_channels": 1},
    "ts": {"name": "clip.ts", "time_base": Fraction(1, 90000), "step": 3003, "start": 126000},
    "webm": {"name": "clip.webm", "encoder": "libvpx-vp9", **MS},
}
NAMED = {
    "truncated", "unreadable", "no_frames", "no_video_stream", "missing_timestamps",
    "decode_error", "short_decode", "unsupported_alpha", "unsupported_codec",
    "unsupported_container", "unsupported_interlaced", "unsupported_multiple_video",
    "unsupported_pix_fmt", "unsupported_side_data",
}  # fmt: skip


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut the file, flip bytes, or overwrite a stretch, mostly near its ends."""
    how = rng.integers(3)
    if how == 0:
        return data[: int(rng.integers(1, len(data)))]
    changed = bytearray(data)
    if how == 1:
        for _ in range(int(rng.integers(1, 8))):
            changed[int(rng.integers(len(data)))] = int(rng.integers(256))
        return bytes(changed)
    reach = min(2000, len(data))
    at = int(rng.integers(reach)) - (reach if rng.integers(2) else 0)
    length = int(rng.integers(1, 64))
    changed[at : at + length if at + length < 0 or at >= 0 else None] = rng.bytes(length)
    return bytes(changed)


@pytest.mark.parametrize("kind", list(KINDS))
def test_damage_is_named_or_harmless(make_clip: Any, tmp_path: Path, kind: str) -> None:
    whole, spec = make_clip(**KINDS[kind])
    data, rng = Path(whole).read_bytes(), np.random.default_rng(2026)
    path = tmp_path / spec.name
    reasons = []
    for _ in range(60):
        path.write_bytes(damaged(data, rng))
        try:
            index = read_index(str(path))
            for span in plan_spans(index, 0.3):
                decoded = list(iter_frames(str(path), span, "bgr"))
                assert len(decoded) == span.n_frames
        except InputError as error:
            reasons.append(error.reason)
            assert error.subject == str(path)  # noqa: PT017 - the outcome may also be a success
    assert set(reasons) <= NAMED
    assert len(reasons) > 10
