from __future__ import annotations

import dataclasses
import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deid_ops.compose.blend import ComposeParams, RedactEdit, SwapEdit, compose_frame
from deid_ops.compose.mask import (
    HeadMaskParams,
    head_region,
    swap_region,
)
from deid_ops.compose.proof import n_samples_changed_outside, require_untouched_outside
from deid_ops.errors import InvariantError, SetupError
from deid_ops.redact.fill import RedactParams
from deid_ops.swap.crop import blend_mask
from deid_ops.video.frame import ColorTags, Frame

FORMATS = {
    "yuv420p": (2, 2, 8),
    "yuvj420p": (2, 2, 8),
    "yuv422p": (2, 1, 8),
    "yuv444p": (1, 1, 8),
    "yuv440p": (1, 2, 8),
    "yuv411p": (4, 1, 8),
    "yuv420p10le": (2, 2, 10),
    "yuv422p10le": (2, 1, 10),
    "yuv444p12le": (1, 1, 12),
    "gray": (0, 0, 8),
    "gray10le": (0, 0, 10),
    "bgr24": (0, 0, 8),
}
PARAMS = ComposeParams()


def weight_of(size: int) -> np.ndarray:
    soft = cv2.resize(blend_mask(), (size, size), interpolation=cv2.INTER_AREA)
    return np.rint(255 * soft).astype(np.uint8)


WEIGHT = weight_of(64)


def padded_and_read_only(plane: np.ndarray) -> np.ndarray:
    """As the decoder hands planes out: a view of rows with padding."""
    padded = np.zeros((plane.shape[0], plane.shape[1] + 11, *plane.shape[2:]), plane.dtype)
    view = padded[:, : plane.shape[1]]
    view[...] = plane
    view.flags.writeable = False
    return view


def noisy_frame(pix_fmt: str, width: int = 161, height: int = 121, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    sx, sy, bits = FORMATS[pix_fmt]
    shapes: list[tuple[int, ...]] = [(height, width)]
    if pix_fmt == "bgr24":
        shapes = [(height, width, 3)]
    elif sx:
        shapes += [(-(-height // sy), -(-width // sx))] * 2
    dtype = np.uint8 if bits == 8 else np.uint16
    planes = tuple(
        padded_and_read_only(rng.integers(0, 1 << bits, s).astype(dtype)) for s in shapes
    )
    return Frame(7, 700, False, pix_fmt, planes, ColorTags("bt709", False))


def swap(x: float, y: float, face_px: float, track: int = 1, value: int | None = None) -> SwapEdit:
    """A 64 px crop whose upper left corner lies at (x, y), `face_px` wide in the frame."""
    scale = 64 / face_px
    matrix = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]], np.float32)
    crop = np.random.default_rng(track).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    if value is not None:
        crop[:] = value
    return SwapEdit(track, crop, matrix, WEIGHT)


def redact(x0: float, y0: float, x1: float, y1: float, track: int = 1) -> RedactEdit:
    return RedactEdit(track, np.array([x0, y0, x1, y1], np.float32), 1234 + track)


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_only_samples_inside_the_masks_change(pix_fmt):
    before = noisy_frame(pix_fmt)
    copies = [p.copy() for p in before.planes]
    edits = [swap(20, 30, 40), redact(100.3, 60.2, 130.9, 101.4, track=2), redact(-5, -5, 9, 9, 3)]
    done = compose_frame(before, edits, PARAMS)
    sx, sy, _ = FORMATS[pix_fmt]
    for i, (old, new) in enumerate(zip(before.planes, done.frame.planes, strict=True)):
        step_x, step_y = (sx, sy) if i else (1, 1)
        allowed = np.zeros(old.shape[:2], dtype=bool)
        for region in done.regions:
            # every changed pixel written down one by one, independent of the library's pooling
            for y, x in np.argwhere(region.inside):
                allowed[(region.y0_px + y) // step_y, (region.x0_px + x) // step_x] = True
        assert np.array_equal(old[~allowed], new[~allowed])
        assert (old[allowed] != new[allowed]).mean() > 0.5
        assert np.array_equal(old, copies[i])
        assert new.dtype == old.dtype
    assert len(done.regions) == 3
    assert n_samples_changed_outside(before, done.frame, done.regions) == 0


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_a_redacted_head_keeps_no_original_sample_in_its_box(pix_fmt):
    """Frames that are the same outside the masks are the same under them, for both methods."""
    edits = [redact(60, 40, 90, 80), redact(85, 60, 120, 100, track=2), swap(20, 20, 40, track=3)]
    outside, other = noisy_frame(pix_fmt, seed=1), noisy_frame(pix_fmt, seed=2)
    regions = compose_frame(outside, edits, PARAMS).regions
    sx, sy, _ = FORMATS[pix_fmt]
    planes = []
    for i, (kept, new) in enumerate(zip(outside.planes, other.planes, strict=True)):
        step_x, step_y = (sx, sy) if i else (1, 1)
        mixed = kept.copy()
        for region in regions:
            for y, x in np.argwhere(region.inside):
                at = (region.y0_px + y) // step_y, (region.x0_px + x) // step_x
                mixed[at] = new[at]
        planes.append(mixed)
    assert all((a != b).any() for a, b in zip(planes, outside.planes, strict=True))
    inside_differs = dataclasses.replace(outside, planes=tuple(planes))
    for method in ("mosaic", "solid"):
        params = ComposeParams(redact=RedactParams(method=method))
        one = compose_frame(outside, edits, params).frame
        two = compose_frame(inside_differs, edits, params).frame
        for i, (a, b) in enumerate(zip(one.planes, two.planes, strict=True)):
            step_x, step_y = (sx, sy) if i else (1, 1)
            head = np.s_[40 // step_y : -(-80 // step_y), 60 // step_x : -(-90 // step_x)]
            assert np.array_equal(a[head], b[head])


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "bgr24"])
def test_mosaics_take_the_tone_of_what_is_published(pix_fmt):
    """Dark heads in a bright frame and the reverse; two heads of a frame have one tone."""
    shown = []
    for around, head in ((200, 40), (40, 200)):
        frame = noisy_frame(pix_fmt)
        luma = np.full_like(frame.planes[0], around)
        luma[35:85, 25:55] = luma[35:85, 105:135] = head  # less than what is masked
        frame = dataclasses.replace(frame, planes=(luma, *frame.planes[1:]))
        edits = [redact(30, 40, 50, 80), redact(110, 40, 130, 80, track=2)]
        done = compose_frame(frame, edits, PARAMS).frame.planes[0]
        shown.append([float(done[40:80, x : x + 20].mean()) for x in (30, 110)])
    assert min(shown[0]) - max(shown[1]) > 80
    # a head that fills the frame leaves nothing of it: a tone of the key
    full = [redact(-50, -50, 220, 180)]
    a, b = (compose_frame(noisy_frame(pix_fmt, seed=s), full, PARAMS).frame for s in (1, 2))
    assert all(np.array_equal(one, two) for one, two in zip(a.planes, b.planes, strict=True))
    assert a.planes[0].std() > 5


@given(
    x=st.floats(-40, 180),
    y=st.floats(-40, 140),
    w=st.floats(0, 80),
    h=st.floats(0, 80),
    sub=st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 4)]),
)
@settings(max_examples=100, deadline=None)
def test_head_mask_is_opaque_over_the_box_and_zero_at_its_border(x, y, w, h, sub):
    region = head_region(np.array([x, y, x + w, y + h]), (161, 121), sub, HeadMaskParams())
    inside = np.zeros((121, 161), np.float32)
    if region is not None:
        x0, y0, x1, y1 = region.box_xyxy_px
        assert x0 % sub[0] == 0
        assert y0 % sub[1] == 0
        inside[y0:y1, x0:x1] = region.weight
        assert region.weight.min() >= 0
        assert region.weight.max() <= 1
        # not cut off: at a border of the region that is not the frame's, the weight is zero
        assert x0 == 0 or not region.weight[:, 0].any()
        assert y0 == 0 or not region.weight[0].any()
        assert x1 == 161 or not region.weight[:, -1].any()
        assert y1 == 121 or not region.weight[-1].any()
    rows, cols = np.mgrid[0:121, 0:161]
    in_box = (cols >= x) & (cols <= x + w) & (rows >= y) & (rows <= y + h)
    assert (inside[in_box] == 1).all()


def test_swap_is_seen_in_the_middle_and_fades_out():
    before = noisy_frame("yuv444p")
    done = compose_frame(before, [swap(40, 40, 64, value=255)], PARAMS)
    assert done.frame.planes[0][40 + 40, 40 + 32] == 235
    assert done.frame.planes[1][40 + 40, 40 + 32] == 128
    (region,) = done.regions
    assert region.weight[0].max() == region.weight[:, 0].max() == 0


def test_swap_lands_where_the_matrix_says():
    """Draw a rotated, scaled crop of a smooth picture into the picture itself: nothing moves."""
    y, x = np.mgrid[0:120, 0:160].astype(np.float32)
    picture = np.stack([100 + 60 * np.sin(x / 20), 120 + 50 * np.cos(y / 15), 80 + x / 2], -1)
    bgr = picture.round().astype(np.uint8)
    for scale in (0.8, 1.3, 3.0):
        angle = 0.4
        c, s = scale * np.cos(angle), scale * np.sin(angle)
        size = round(60 * scale)
        linear = np.array([[c, s], [-s, c]])
        shift = np.array([size / 2, size / 2]) - linear @ np.array([80.0, 60.0])
        matrix = np.column_stack([linear, shift]).astype(np.float32)
        crop = cv2.warpAffine(bgr, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
        before = Frame(0, 0, True, "bgr24", (bgr,), ColorTags("bt709", True))
        done = compose_frame(before, [SwapEdit(0, crop, matrix, weight_of(size))], PARAMS)
        difference = np.abs(done.frame.planes[0].astype(int) - bgr.astype(int))
        assert difference.max() <= 4, scale
        assert done.regions[0].inside.sum() > 800


def test_a_swap_is_seen_over_a_redaction_and_the_order_of_edits_does_not_matter():
    before = noisy_frame("yuv420p")
    edits = [
        swap(40, 30, 60, track=1),
        redact(50, 40, 80, 80, track=2),
        swap(60, 30, 40, track=3),
        redact(70, 50, 110, 95, track=4),
    ]
    one = compose_frame(before, edits, PARAMS)
    two = compose_frame(before, edits[::-1], PARAMS).frame
    swaps = compose_frame(before, [edits[0], edits[2]], PARAMS)
    for a, b, c in zip(one.frame.planes, two.planes, swaps.frame.planes, strict=True):
        assert np.array_equal(a, b)
        step = 1 if len(a) == 121 else 2
        core = np.s_[54 // step : 66 // step, 58 // step : 72 // step]
        assert np.array_equal(a[core], c[core])


def test_nothing_of_the_original_is_seen_where_a_swap_crosses_a_redaction():
    """The rim of a swap mixes with the redaction below it, not with the original."""
    params = ComposeParams(redact=RedactParams(method="solid"))  # of the key alone
    edits = [swap(40, 30, 60, track=1), redact(50, 40, 80, 80, track=2)]
    first = noisy_frame("yuv420p")
    inverse = tuple(255 - plane for plane in first.planes)
    region = compose_frame(first, edits[1:], params).regions[0]
    x0, y0, x1, y1 = region.box_xyxy_px
    hidden = region.weight >= 1.0
    one, two = (
        compose_frame(f, edits, params).frame.planes[0][y0:y1, x0:x1][hidden].astype(int)
        for f in (first, dataclasses.replace(first, planes=inverse))
    )
    assert np.array_equal(one, two)


def test_no_edit_gives_the_frame_itself_and_an_edit_outside_changes_nothing():
    before = noisy_frame("yuv420p")
    assert compose_frame(before, [], PARAMS).frame is before
    done = compose_frame(before, [redact(400, 400, 420, 420), swap(-300, 0, 40)], PARAMS)
    assert done.regions == ()
    for old, new in zip(before.planes, done.frame.planes, strict=True):
        assert np.array_equal(old, new)


def test_seeds_decide_the_redaction():
    before = noisy_frame("yuv420p")
    edit = redact(60, 40, 90, 80)
    again = compose_frame(before, [edit], PARAMS).frame.planes[0]
    other = RedactEdit(edit.track, edit.box_xyxy_px, 99)
    assert np.array_equal(compose_frame(before, [edit], PARAMS).frame.planes[0], again)
    assert not np.array_equal(compose_frame(before, [other], PARAMS).frame.planes[0], again)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le", "bgr24"])
def test_proof_finds_one_changed_sample(pix_fmt):
    before = noisy_frame(pix_fmt)
    done = compose_frame(before, [redact(60, 40, 90, 80)], PARAMS)
    require_untouched_outside(before, done.frame, done.regions)
    for plane in done.frame.planes:
        plane.flat[0] ^= 1
        assert n_samples_changed_outside(before, done.frame, done.regions) == 1
        with pytest.raises(InvariantError, match=r"frame 7 \(pts 700\): 1 samples"):
            require_untouched_outside(before, done.frame, done.regions)
        plane.flat[0] ^= 1


def test_proof_refuses_to_compare_different_frames():
    before = noisy_frame("yuv420p")
    with pytest.raises(InvariantError, match="was compared with"):
        n_samples_changed_outside(before, noisy_frame("yuv422p"), ())


def test_a_swap_is_drawn_as_its_weight_says():
    before = noisy_frame("bgr24")
    weight = np.zeros((64, 64), np.uint8)
    weight[20:30, 8:50] = 255
    weight[30:40, 8:50] = 51
    edit = dataclasses.replace(swap(20, 30, 64, value=200), weight=weight)
    done = compose_frame(before, [edit], PARAMS)
    old, new = before.planes[0].astype(float), done.frame.planes[0]
    assert (new[50:60, 28:70] == 200).all()
    mixed = old[60:70, 28:70] + 0.2 * (200 - old[60:70, 28:70])
    assert np.abs(new[60:70, 28:70] - mixed).max() <= 0.51
    changed = (old != new).any(axis=2)
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (50, 69, 28, 69)
    (region,) = done.regions
    drawn = np.flatnonzero(region.inside.any(axis=1)) + region.y0_px
    assert (drawn.min(), drawn.max(), len(drawn)) == (50, 69, 20)


def test_swap_region_outside_or_empty_is_none():
    far = np.array([[1, 0, -500], [0, 1, 0]], np.float32)
    assert swap_region(far, WEIGHT, (161, 121), (2, 2)) is None
    assert swap_region(np.eye(2, 3), WEIGHT * 0, (161, 121), (2, 2)) is None


def test_wrong_masks_are_refused():
    with pytest.raises(SetupError, match="corners"):
        HeadMaskParams(margin=0.05)
    with pytest.raises(SetupError, match="edge"):
        HeadMaskParams(edge=0.0)


@pytest.mark.bench
def test_speed_of_seven_faces_in_full_hd():
    before = noisy_frame("yuv420p", 1920, 1080)
    edits = [redact(100 + 250 * i, 300, 200 + 250 * i, 430, track=i) for i in range(4)]
    edits += [swap(120 + 250 * i, 600, 130, track=i) for i in range(4, 7)]  # type: ignore[list-item]
    times = []
    for _ in range(20):
        start = time.process_time()
        done = compose_frame(before, edits, PARAMS)
        require_untouched_outside(before, done.frame, done.regions)
        times.append(time.process_time() - start)
    assert np.median(times) < 0.015
