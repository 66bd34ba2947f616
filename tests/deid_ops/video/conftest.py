"""Small clips of every kind, written with PyAV when a test asks for them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from deid_ops.video.formats import fill_planes, pixel_layout

ENCODER_OPTIONS = {
    "libx264": {"crf": "20", "preset": "ultrafast", "forced-idr": "1", "sc_threshold": "0"},
    "libx265": {"crf": "20", "preset": "ultrafast", "forced-idr": "1"},
    "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"crf": "24", "preset": "12"},
}


@dataclass(frozen=True)
class ClipSpec:
    """What a generated clip contains; keyframes lie every `gop` frames."""

    name: str = "clip.mp4"
    encoder: str = "libx264"
    pix_fmt: str = "yuv420p"
    width: int = 96
    height: int = 64
    n_frames: int = 24
    gop: int = 8
    b_frames: int = 0
    time_base: Fraction = Fraction(1, 15360)
    step: int = 512
    start: int = 0
    vfr: bool = False
    rotation_deg: int = 0
    tags: tuple[int, int, int, int] = (0, 2, 2, 2)  # range, primaries, trc, space
    audio_channels: int = 0
    audio_share: float = 1.0  # of the video's duration
    subtitle: bool = False
    data: bool = False
    metadata: tuple[tuple[str, str], ...] = ()
    extra_options: tuple[tuple[str, str], ...] = ()
    container_options: tuple[tuple[str, str], ...] = ()

    @property
    def pts(self) -> list[int]:
        jitter = [0, 211, -97, 305, 40] if self.vfr else [0]
        return [self.start + k * self.step + jitter[k % len(jitter)] for k in range(self.n_frames)]

    @property
    def key_pts(self) -> list[int]:
        return self.pts[:: self.gop]


def picture(spec: ClipSpec, k: int) -> tuple[np.ndarray[Any, Any], ...]:
    """Planes of frame `k`: a gradient that moves, with a block of noise."""
    layout = pixel_layout(spec.pix_fmt, spec.width, spec.height)
    assert layout is not None
    peak, planes = 2**layout.bit_depth - 1, []
    rng = np.random.default_rng(k)
    for shape in layout.plane_shapes:
        y, x = np.mgrid[: shape[0], : shape[1]]
        plane = (x * 2 + y + 3 * k) % 180 / 255 * peak + 0.1 * peak
        plane[4:12, 4:12] = rng.uniform(0.2, 0.8, (8, 8)) * peak
        planes.append(plane.astype(layout.dtype))
    return tuple(planes)


def write_clip(path: Path, spec: ClipSpec) -> Path:
    """Write the clip that `spec` describes."""
    scale = spec.time_base.denominator
    options = {"avoid_negative_ts": "disabled", "fflags": "+bitexact"}
    if path.suffix in (".mp4", ".mov"):
        options |= {"video_track_timescale": str(scale), "movie_timescale": str(scale * 625)}
    if path.suffix == ".ts":
        options["mpegts_copyts"] = "1"
    options |= dict(spec.container_options)
    with av.open(str(path), "w", container_options=options) as out:
        out.metadata.update(dict(spec.metadata))
        video = _add_video(out, spec)
        sides = _add_sides(out, spec)
        out.start_encoding()
        _write_sides(out, spec, sides)
        for k, pts in enumerate(spec.pts):
            frame = av.VideoFrame(spec.width, spec.height, spec.pix_fmt)
            fill_planes(frame, picture(spec, k), pixel_layout(spec.pix_fmt, *frame_size(spec)))
            frame.pts, frame.time_base, frame.duration = pts, spec.time_base, spec.step
            if k % spec.gop == 0:
                frame.pict_type = av.video.frame.PictureType.I
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    return path


def frame_size(spec: ClipSpec) -> tuple[int, int]:
    return spec.width, spec.height


def _add_video(out: Any, spec: ClipSpec) -> Any:
    options = ENCODER_OPTIONS.get(spec.encoder, {}) | {"bf": str(spec.b_frames), "g": "250"}
    if spec.encoder == "libx265":
        bf = f"bframes={spec.b_frames}"
        options["x265-params"] = f"scenecut=0:min-keyint=1:open-gop=0:log-level=none:{bf}"
    if spec.encoder in ("libsvtav1", "libvpx-vp9"):
        options.pop("bf")
    video = out.add_stream(spec.encoder, rate=30, options=options | dict(spec.extra_options))
    context = video.codec_context
    context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pix_fmt
    video.time_base = context.time_base = spec.time_base
    context.color_range, context.color_primaries = spec.tags[:2]
    context.color_trc, context.colorspace = spec.tags[2:]
    context.thread_count = 1
    if spec.rotation_deg:
        video.set_display_rotation(spec.rotation_deg)
    return video


def _add_sides(out: Any, spec: ClipSpec) -> dict[str, Any]:
    sides = {}
    if spec.audio_channels:
        audio = out.add_stream("aac", rate=48000)
        audio.layout = "mono" if spec.audio_channels == 1 else "stereo"
        sides["audio"] = audio
    if spec.subtitle:
        codec = "mov_text" if out.format.name == "mp4" else "subrip"
        sides["subtitle"] = out.add_mux_stream(codec, time_base=Fraction(1, 1000))
    if spec.data:
        sides["data"] = out.add_data_stream("klv")
    return sides


def _write_sides(out: Any, spec: ClipSpec, sides: dict[str, Any]) -> None:
    begin_s = float(spec.start * spec.time_base)
    duration_s = float(spec.n_frames * spec.step * spec.time_base)
    for name in ("subtitle", "data"):
        for k in range(3 if name in sides else 0):
            text = f"{name} {k}".encode()
            if name == "subtitle" and out.format.name == "mp4":
                text = len(text).to_bytes(2, "big") + text
            packet = av.Packet(text)
            packet.stream, packet.time_base = sides[name], Fraction(1, 90000)
            packet.pts = packet.dts = round((begin_s + k * duration_s / 3) * 90000)
            packet.duration = round(duration_s / 6 * 90000)
            out.mux_one(packet)
    if "audio" in sides:
        channels = spec.audio_channels
        n_blocks = max(1, round(duration_s * spec.audio_share * 48000 / 1024))
        for k in range(n_blocks):
            t = (np.arange(1024) + k * 1024) / 48000
            wave = (0.2 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(
                np.tile(wave, (channels, 1)), "fltp", "mono" if channels == 1 else "stereo"
            )
            frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
            frame.pts = round(begin_s * 48000) + k * 1024
            out.mux(sides["audio"].encode(frame))
        out.mux(sides["audio"].encode(None))


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[str, ClipSpec]]:
    """Return a function that writes a clip (once a specification) and gives its path."""
    folder = tmp_path_factory.mktemp("clips")

    def make(**changes: Any) -> tuple[str, ClipSpec]:
        spec = ClipSpec(**changes)
        text = repr([getattr(spec, f.name) for f in fields(spec)])
        path = folder / hashlib.sha256(text.encode()).hexdigest()[:12] / spec.name
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_clip(path, spec)
        return str(path), spec

    return make


KINDS: dict[str, dict[str, Any]] = {
    "h264": {},
    "h264_b_frames": {"b_frames": 2},
    "h264_vfr_b_frames_late_start": {"b_frames": 2, "vfr": True, "start": 40000},
    "h264_rotated_stereo": {"rotation_deg": 90, "audio_channels": 2},
    "h264_mono_subtitle": {"audio_channels": 1, "subtitle": True},
    "h264_tags_full_range": {"tags": (2, 1, 1, 1)},
    "h264_422_10bit": {"pix_fmt": "yuv422p10le", "tags": (1, 9, 16, 9)},
    "h264_odd_size_444": {"pix_fmt": "yuv444p", "width": 71, "height": 53},
    "h264_gray": {"pix_fmt": "gray"},
    "h264_keyframes_only": {"gop": 1},
    "h264_one_frame": {"n_frames": 1},
    "h264_mkv": {
        "name": "clip.mkv",
        "time_base": Fraction(1, 1000),
        "step": 33,
        "b_frames": 2,
        "audio_channels": 2,
        "subtitle": True,
    },
    "h264_mpegts": {
        "name": "clip.ts",
        "time_base": Fraction(1, 90000),
        "step": 3003,
        "start": 126000,
        "b_frames": 2,
        "audio_channels": 2,
        "data": True,
    },
    "hevc_10bit": {"encoder": "libx265", "pix_fmt": "yuv420p10le", "tags": (1, 9, 18, 9)},
    "hevc_b_frames_mov": {"name": "clip.mov", "encoder": "libx265", "b_frames": 2, "vfr": True},
    "vp9_webm": {
        "name": "clip.webm",
        "encoder": "libvpx-vp9",
        "time_base": Fraction(1, 1000),
        "step": 40,
    },
    "av1": {"encoder": "libsvtav1"},
    "av1_10bit_mkv": {
        "name": "clip.mkv",
        "encoder": "libsvtav1",
        "pix_fmt": "yuv420p10le",
        "time_base": Fraction(1, 1000),
        "step": 40,
    },
    "mjpeg_mov": {"name": "clip.mov", "encoder": "mjpeg", "pix_fmt": "yuvj420p", "gop": 1},
    "mpeg4": {"encoder": "mpeg4"},
}


@pytest.fixture(params=list(KINDS))
def any_clip(request: pytest.FixtureRequest, make_clip: Any) -> tuple[str, ClipSpec]:
    """Every supported kind in turn."""
    path: tuple[str, ClipSpec] = make_clip(**KINDS[request.param])
    return path


@pytest.fixture
def shared_media() -> Path:
    """The folder of third-party clips beside the checkout; the test is skipped without it."""
    folder = Path(__file__).parents[3] / "../shared/media"
    if not folder.is_dir():
        pytest.skip("third-party clips are not beside the checkout (../shared/media)")
    return folder


@pytest.fixture
def picture_of() -> Callable[[ClipSpec, int], tuple[Any, ...]]:
    """The function that draws frame `k` of a generated clip."""
    return picture
