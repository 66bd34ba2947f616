from __future__ import annotations

import av
import numpy as np
import pytest

from deid_ops.compose.planes import layout_of, max_over_footprints, planes_from_bgr, yuv_from_bgr
from deid_ops.errors import InvariantError
from deid_ops.video.frame import ColorTags, Frame


def frame_of(pix_fmt: str, shapes: list[tuple[int, ...]], tags: ColorTags, dtype=np.uint8) -> Frame:
    return Frame(0, 0, True, pix_fmt, tuple(np.zeros(s, dtype) for s in shapes), tags)


@pytest.mark.parametrize(
    ("matrix", "bgr", "expected"),
    [
        # 75 % and 100 % colour bars, limited range: published code values
        ("bt601", (0, 0, 255), (81, 90, 240)),
        ("bt601", (255, 0, 0), (41, 240, 110)),
        ("bt709", (0, 0, 255), (63, 102, 240)),
        ("bt709", (0, 255, 0), (173, 42, 26)),
        ("bt2020nc", (255, 255, 255), (235, 128, 128)),
        ("bt2020nc", (0, 0, 0), (16, 128, 128)),
    ],
)
def test_known_codes_of_pure_colours(matrix, bgr, expected):
    patch = np.full((1, 1, 3), bgr, np.uint8)
    codes = yuv_from_bgr(patch, ColorTags(matrix, False), 8, full=False)
    assert codes[0, 0].round().tolist() == pytest.approx(expected, abs=1)


def test_ten_bit_codes_are_four_times_the_eight_bit_codes():
    patch = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    tags = ColorTags("bt709", False)
    eight = yuv_from_bgr(patch, tags, 8, full=False)
    assert yuv_from_bgr(patch, tags, 10, full=False) == pytest.approx(eight * 4, rel=1e-5)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
def test_agrees_with_the_player_on_the_way_back(pix_fmt, matrix):
    """Converting smooth colours to planes and letting FFmpeg show them gives them back."""
    y, x = np.mgrid[0:32, 0:48]
    bgr = np.stack([60 + 3 * x, 200 - 4 * y, 90 + x + y], axis=-1).astype(np.uint8)
    tags = ColorTags(matrix, False)
    sx, sy = {"yuv420p": (2, 2), "yuv422p": (2, 1), "yuv444p": (1, 1)}[pix_fmt]
    frame = frame_of(pix_fmt, [(32, 48), *[(32 // sy, 48 // sx)] * 2], tags)
    planes = planes_from_bgr(bgr, frame, layout_of(frame))
    shown = av.VideoFrame(48, 32, pix_fmt)
    for plane, values in zip(shown.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : values.shape[1]] = values.round().astype(np.uint8)
        plane.update(rows)
    back = shown.reformat(
        format="bgr24", src_colorspace={"bt601": "ITU601", "bt709": "ITU709"}[matrix]
    ).to_ndarray()
    inner = (slice(4, -4), slice(4, -4))
    assert np.abs(back[inner].astype(int) - bgr[inner].astype(int)).max() <= 5


def test_chroma_footprints_at_odd_borders():
    weight = np.zeros((5, 5), np.float32)
    weight[4, 4] = 0.5
    weight[1, 2] = 1.0
    assert max_over_footprints(weight, (2, 2)).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0.5]]


def test_unknown_formats_and_wrong_planes_are_refused():
    tags = ColorTags("bt709", False)
    with pytest.raises(InvariantError, match="nv12"):
        layout_of(frame_of("nv12", [(4, 4), (2, 4)], tags))
    with pytest.raises(InvariantError, match="expected"):
        layout_of(frame_of("yuv420p", [(4, 4), (4, 4), (4, 4)], tags))
    with pytest.raises(InvariantError, match="matrix"):
        yuv_from_bgr(np.zeros((1, 1, 3), np.uint8), ColorTags("ycgco", False), 8, full=False)
