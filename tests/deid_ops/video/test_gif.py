"""GIFs keep their delays, their loop count and every colour that was not edited."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_ops.errors import InputError
from deid_ops.video.child import DecodeLimits, open_frames
from deid_ops.video.decode import iter_frames
from deid_ops.video.encode import ClipWriter
from deid_ops.video.gif import loop_option, palette_image
from deid_ops.video.index import read_index
from deid_ops.video.policy import MediaPolicy
from deid_ops.video.remux import copy_span
from deid_ops.video.segments import plan_spans
from deid_ops.video.verify import compare_media, psnr_outside_db

DELAYS = [8, 3, 20, 8, 100, 5]


def write_gif(path: Path, loop: int = 0, n_colors: int = 200) -> str:
    """Write a GIF with uneven delays and a palette of its own for each frame."""
    options = {"loop": str(loop), "final_delay": str(DELAYS[-1])}
    with av.open(str(path), "w", container_options=options) as out:
        stream: Any = out.add_stream("gif", rate=100)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 100)
        pts = 0
        for k, delay in enumerate(DELAYS):
            rng = np.random.default_rng(k)
            palette = np.full((256, 4), 255, np.uint8)
            palette[:, 1:] = rng.integers(0, 256, (256, 3))
            pixels = rng.integers(0, n_colors, (48, 64)).astype(np.uint8)
            image: Any = (pixels, palette)
            frame = av.VideoFrame.from_ndarray(image, format="pal8")
            frame.pts, frame.time_base = pts, stream.time_base
            pts += delay
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return str(path)


def rewrite(path: str, out: str, edit: bool) -> Any:
    index = read_index(path)
    (span,) = plan_spans(index, 1.0)
    masks = {}
    with ClipWriter(out, path, index, span, MediaPolicy()) as clip:
        for decoded in iter_frames(path, span, "native"):
            assert decoded.frame is not None
            image = decoded.frame.planes[0].copy()
            if edit:
                gradient = np.linspace(0, 255, 10 * 20 * 3).reshape(10, 20, 3)
                image[5:15, 10:30] = gradient.astype(np.uint8)
                masks[decoded.index] = np.zeros(image.shape[:2], np.bool_)
                masks[decoded.index][5:15, 10:30] = True
            clip.write(replace(decoded.frame, planes=(image,)))
    return index, span, masks


@pytest.mark.parametrize("edit", [False, True])
@pytest.mark.parametrize("loop", [-1, 0, 3])
def test_delays_loop_and_unedited_colours(tmp_path: Path, loop: int, edit: bool) -> None:
    path, out = write_gif(tmp_path / "a.gif", loop), str(tmp_path / "b.gif")
    index, span, masks = rewrite(path, out, edit)
    assert np.diff(index.pts).tolist() == DELAYS[:-1]
    assert index.facts.last_duration == DELAYS[-1]
    assert compare_media(path, index, span, out).problems() == []
    assert read_index(out).facts.last_duration == DELAYS[-1]
    assert loop_option(out) == loop_option(path) == str(loop)
    for before, after in zip(
        iter_frames(path, span, "bgr"), iter_frames(out, span, "bgr"), strict=True
    ):
        assert before.bgr is not None
        assert after.bgr is not None
        same = (before.bgr == after.bgr).all(axis=-1)
        if edit:
            assert same[~masks[before.index]].all()
            assert not same[masks[before.index]].all()
        else:
            assert same.all()


def test_edited_pixels_are_close_to_what_was_asked(tmp_path: Path) -> None:
    path, out = write_gif(tmp_path / "a.gif", n_colors=100), str(tmp_path / "b.gif")
    _, span, _ = rewrite(path, out, edit=True)
    gradient = np.linspace(0, 255, 10 * 20 * 3).reshape(10, 20, 3).astype(np.uint8)
    for decoded in iter_frames(out, span, "bgr"):
        assert decoded.bgr is not None
        error = np.abs(decoded.bgr[5:15, 10:30].astype(int) - gradient)
        assert error.mean() < 4


def test_a_copied_gif_is_the_same_file(tmp_path: Path) -> None:
    path, out = write_gif(tmp_path / "a.gif"), tmp_path / "b.gif"
    index = read_index(path)
    (span,) = plan_spans(index, 0.1)
    assert copy_span(path, index, span, str(out), MediaPolicy()) == "file"
    assert out.read_bytes() == Path(path).read_bytes()


def test_transparent_pixels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    # One pixel image whose only colour is transparent (GIF89a, sections 20, 23 and 25).
    path.write_bytes(
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00"
        b"!\xf9\x04\x01\x05\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    )
    (span,) = plan_spans(read_index(str(path)))
    with pytest.raises(InputError) as caught:
        list(iter_frames(str(path), span, "bgr"))
    assert caught.value.reason == "unsupported_alpha"
    assert caught.value.subject == str(path)


def test_gifs_come_out_of_the_decoder_process(tmp_path: Path) -> None:
    path = write_gif(tmp_path / "a.gif")
    (span,) = plan_spans(read_index(path))
    here = list(iter_frames(path, span, "both"))
    for expected, got in zip(here, open_frames(path, span, "both", DecodeLimits()), strict=True):
        np.testing.assert_array_equal(expected.bgr, got.bgr)
        assert got.frame is not None
        np.testing.assert_array_equal(got.frame.planes[0], got.bgr)


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(0, 100))
def test_palettes_keep_what_was_not_edited(seed: int, n_colors: int, percent: int) -> None:
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (n_colors, 3)).astype(np.uint8)
    original = colors[rng.integers(0, n_colors, (24, 30))]
    edited = original.copy()
    changed = rng.uniform(0, 100, (24, 30)) < percent
    edited[changed] = rng.integers(0, 256, (int(changed.sum()), 3))
    indices, palette = palette_image(edited, original)
    assert indices.dtype == np.uint8
    assert palette.shape == (256, 3)
    shown = palette[indices]
    same = (edited == original).all(-1)
    if len(np.unique(original[same].reshape(-1, 3), axis=0)) <= 256:
        np.testing.assert_array_equal(shown[same], original[same])
    if len(np.unique(edited.reshape(-1, 3), axis=0)) <= 256:
        np.testing.assert_array_equal(shown, edited)


def test_colours_that_the_palette_lacks_are_mixed() -> None:
    """No entry is left over: an even orange comes out as red and yellow, in equal parts."""
    wall = np.stack(np.meshgrid(np.arange(128, 255), [0, 1], [0]), -1).reshape(-1, 3)  # blue
    red, yellow = [0, 0, 200], [0, 200, 200]
    original = np.concatenate([wall, [red, yellow]]).astype(np.uint8)[None].repeat(9, axis=0)
    edited = original.copy()
    edited[1:, :64] = [0, 100, 200]
    indices, palette = palette_image(edited, original)
    shown = palette[indices]
    np.testing.assert_array_equal(shown[0], original[0])
    mixed = shown[1:, :64].reshape(-1, 3)
    assert {tuple(c) for c in mixed.tolist()} <= {(0, 0, 200), (0, 200, 200)}
    assert mixed.mean(axis=0) == pytest.approx([0, 100, 200], abs=1)


@pytest.mark.shared
def test_real_gifs(shared_media: Path, tmp_path: Path) -> None:
    path, out = str(shared_media / "intel_headpose_fm.gif"), str(tmp_path / "out.gif")
    index, span, _ = rewrite(path, out, edit=False)
    assert compare_media(path, index, span, out).problems() == []
    assert psnr_outside_db(path, index, span, out, {}) == float("inf")
