"""How clips are written: encoders, quality, and what a privacy policy strips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deid_ops.video.formats import DEFAULT_ENCODER
from deid_ops.video.index import VideoFacts

_HUGE_GOP = "100000000"
_QP_TO_LAMBDA = 118  # FF_QP2LAMBDA


@dataclass(frozen=True, slots=True)
class MediaPolicy:
    """Choices of the run; the defaults keep everything and aim at visually lossless output.

    Attributes:
        crf: constant quality on the scale of the encoder, None for its default below.
        preset: speed of the encoder by its own name, None for its default below.
        encoders: codec -> encoder, for example `{"h264": "h264_nvenc"}`, where not the default.
        n_threads: encoder threads, 0 for one a core. With one the same frames give the same bytes;
            with several x264 on a busy machine once in some hundred clips does not.
        strip_audio: leave out audio (voices identify people).
        strip_data: leave out data streams (telemetry, positions) and subtitles.
        strip_metadata: leave out tags and chapters of container and streams (GPS, serial numbers).
    """

    crf: int | None = None
    preset: str | None = None
    encoders: Mapping[str, str] = field(default_factory=dict)
    n_threads: int = 0
    strip_audio: bool = False
    strip_data: bool = False
    strip_metadata: bool = False

    def encoder_of(self, codec: str) -> str:
        """Name of the encoder for a codec."""
        return self.encoders.get(codec, DEFAULT_ENCODER[codec])

    def keeps(self, stream_type: str) -> bool:
        """Tell whether streams of this type are copied."""
        if stream_type == "audio":
            return not self.strip_audio
        return stream_type in ("data", "subtitle", "attachment") and not self.strip_data


# encoder -> (crf, preset)
_DEFAULTS = {
    "libx264": (18, "veryfast"),
    "libx265": (20, "veryfast"),
    "libvpx-vp9": (24, "5"),
    "libsvtav1": (24, "8"),
    "mpeg4": (3, ""),
    "mjpeg": (2, ""),
}


def encoder_options(encoder: str, policy: MediaPolicy, facts: VideoFacts) -> dict[str, str]:
    """Options that put keyframes where they are forced and nowhere else, at the asked quality.

    x264 needs `forced-idr` and no scene cuts; x265 moreover closed GOPs and a minimum distance of
    one, or its keyframes move.
    """
    default_crf, default_preset = _DEFAULTS.get(encoder, (19, "p4"))
    crf = str(default_crf if policy.crf is None else policy.crf)
    preset = policy.preset or default_preset
    x265 = "scenecut=0:keyint=-1:min-keyint=1:open-gop=0:log-level=none:range="
    x265 += "full" if facts.color.full_range else "limited"
    x265 += "" if facts.has_b_frames else ":bframes=0"
    x264 = {"forced-idr": "1", "sc_threshold": "0", "g": _HUGE_GOP}
    x264 |= {} if facts.has_b_frames else {"bf": "0"}
    mpeg = {"flags": "+qscale", "global_quality": str(_QP_TO_LAMBDA * int(crf)), "bf": "0"}
    nvenc = {"rc": "vbr", "forced-idr": "1", "no-scenecut": "1", "g": _HUGE_GOP, "bf": "0"}
    known = {
        "libx264": {"crf": crf, "preset": preset, **x264},
        "libx265": {"crf": crf, "preset": preset, "forced-idr": "1", "x265-params": x265},
        "libvpx-vp9": {"crf": crf, "b": "0", "g": _HUGE_GOP, "cpu-used": preset, "row-mt": "1"},
        "libsvtav1": {"crf": crf, "preset": preset, "svtav1-params": "keyint=-1:scd=0"},
        "mpeg4": {**mpeg, "g": "600", "sc_threshold": "1000000000"},
        "mjpeg": mpeg,
    }
    fallback = {"cq": crf, "preset": preset, **nvenc} if encoder.endswith("_nvenc") else {}
    return known.get(encoder, fallback)
