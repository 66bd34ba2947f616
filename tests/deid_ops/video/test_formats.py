"""Pixel layouts, colour tags and the encoder table agree with FFmpeg."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops.video import formats

ALL = sorted({f for group in formats.PIX_FMTS_OF_CODEC.values() for f in group} - {"bgra"})


@pytest.mark.parametrize("pix_fmt", ALL)
@pytest.mark.parametrize(("width", "height"), [(64, 48), (67, 51)])
def test_layout_is_that_of_ffmpeg(pix_fmt: str, width: int, height: int) -> None:
    layout = formats.pixel_layout(pix_fmt, width, height)
    assert layout is not None
    frame = av.VideoFrame(width, height, pix_fmt)
    sizes = [(p.height, p.width) for p in frame.planes]
    assert list(layout.plane_shapes) == sizes
    assert layout.bit_depth == frame.format.components[0].bits
    assert layout.dtype.itemsize == (1 if layout.bit_depth == 8 else 2)


@given(st.sampled_from(ALL), st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_filled_planes_come_back(pix_fmt: str, width: int, height: int, seed: int) -> None:
    layout = formats.pixel_layout(pix_fmt, width, height)
    assert layout is not None
    rng = np.random.default_rng(seed)
    peak = 2**layout.bit_depth
    planes = tuple(rng.integers(0, peak, s).astype(layout.dtype) for s in layout.plane_shapes)
    frame = av.VideoFrame(width, height, pix_fmt)
    formats.fill_planes(frame, planes, layout)
    for plane, again in zip(planes, formats.planes_of(frame, layout), strict=True):
        np.testing.assert_array_equal(plane, again)
    assert layout.nbytes == sum(p.nbytes for p in planes)


def test_bgr_has_one_packed_plane() -> None:
    layout = formats.pixel_layout("bgr24", 5, 3)
    assert layout is not None
    assert layout.plane_shapes == ((3, 5, 3),)


@pytest.mark.parametrize("pix_fmt", ["nv12", "gbrp", "yuva420p", "yuv420p16le", "pal8", "rgb24"])
def test_other_formats_have_no_layout(pix_fmt: str) -> None:
    assert formats.pixel_layout(pix_fmt, 8, 8) is None


@pytest.mark.parametrize("codec", sorted(set(formats.DEFAULT_ENCODER) - {"gif"}))
def test_the_default_encoder_takes_every_listed_format(codec: str) -> None:
    encoder = av.codec.Codec(formats.DEFAULT_ENCODER[codec], "w")
    taken = {f.name for f in encoder.video_formats or ()}
    assert formats.PIX_FMTS_OF_CODEC[codec] <= taken
    assert encoder.canonical_name == codec


def test_alpha_is_known() -> None:
    assert all(map(formats.has_alpha, ("yuva420p", "bgra", "rgba", "gbrap", "ya8", "pal8")))
    assert not any(map(formats.has_alpha, ("yuv420p", "gray", "gbrp", "bgr24", "yuv422p10le")))


@pytest.mark.parametrize(
    ("space", "color_range", "height", "pix_fmt", "expected"),
    [
        (1, 1, 480, "yuv420p", ("bt709", False)),
        (5, 2, 1080, "yuv420p", ("bt601", True)),
        (6, 0, 1080, "yuv420p", ("bt601", False)),
        (9, 1, 2160, "yuv420p10le", ("bt2020nc", False)),
        (2, 0, 720, "yuv420p", ("bt709", False)),
        (2, 0, 719, "yuv420p", ("bt601", False)),
        (2, 0, 480, "yuvj420p", ("bt601", True)),
    ],
)
def test_colour_tags(
    space: int, color_range: int, height: int, pix_fmt: str, expected: tuple[str, bool]
) -> None:
    tags = formats.color_tags(pix_fmt, space, color_range, height)
    assert (tags.matrix, tags.full_range) == expected
