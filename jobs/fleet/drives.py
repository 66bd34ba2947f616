"""Which recordings the demo fleet has: vehicles, drives, cameras, people and their paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from jobs.fleet.encode import Encoding
from jobs.fleet.portraits import ASTRONAUT, Look, Portrait
from jobs.fleet.street import Light


@dataclass(frozen=True, slots=True)
class Walker:
    """One person in one recording, in fractions of the frame and of the recording's length.

    `path` holds (time, x, y, face width as a fraction of the frame height); positions between are
    interpolated, and the person is there only from the first to the last of them. `absent` is a
    span of time during which the person is out of sight.
    """

    portrait: Portrait
    look: Look
    path: tuple[tuple[float, float, float, float], ...]
    absent: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """One file of the fleet.

    `n_frames` frames at `fps`; with `variable_rate` their distances vary. `kept_share` below 1
    cuts the file off there, as an interrupted upload does.
    """

    vehicle: str
    drive: str
    day: date
    camera: str
    suffix: str = ".mp4"
    size_wh_px: tuple[int, int] = (640, 360)
    fps: int = 20
    n_frames: int = 50
    yaw: float = 0.0
    speed_m_s: float = 5.0
    light: Light = field(default_factory=Light)
    encoding: Encoding = field(default_factory=Encoding)
    walkers: tuple[Walker, ...] = ()
    variable_rate: bool = False
    kept_share: float = 1.0

    @property
    def recording_id(self) -> str:
        """Name in the manifest."""
        return f"{self.drive}-{self.camera}"

    @property
    def path(self) -> str:
        """Where the file lies under the fleet's folder."""
        return f"recordings/{self.vehicle}/{self.drive}/{self.camera}{self.suffix}"


ANNA = (ASTRONAUT, Look(face=0))
BEA = (
    ASTRONAUT,
    Look(
        face=1,
        mirrored=True,
        stretch=0.88,
        tone_bgr=(0.62, 0.72, 0.82),
        hair_bgr=(0.5, 0.4, 0.34),
        clothes_bgr=(2.6, 1.1, 0.35),
    ),
)
CLEO = (
    ASTRONAUT,
    Look(
        face=2,
        stretch=1.1,
        tone_bgr=(1.02, 1.0, 0.97),
        hair_bgr=(1.5, 1.4, 1.25),
        clothes_bgr=(0.9, 1.35, 0.3),
    ),
)

_MORNING, _EVENING = date(2026, 3, 2), date(2026, 3, 3)
_WARM = Light(gain_bgr=(0.82, 0.92, 1.0), noise_sigma=3.0)
_DIM = Light(gain_bgr=(0.62, 0.6, 0.58), noise_sigma=4.0)

FLEET: tuple[Recording, ...] = (
    Recording(
        "car-01", "d001", _MORNING, "front_wide", size_wh_px=(854, 480), fps=25, n_frames=75,
        encoding=Encoding(audio=True, keyframe_every=25),
        walkers=(
            Walker(*ANNA, path=((0, 0.20, 0.38, 0.11), (1, 0.40, 0.33, 0.19))),
            Walker(*BEA, path=((0, 0.86, 0.42, 0.07), (1, 0.68, 0.40, 0.12))),
        ),
    ),
    Recording(
        "car-01", "d001", _MORNING, "left", yaw=-0.8, n_frames=60,
        encoding=Encoding(codec="hevc", ten_bit=True, keyframe_every=20),
        walkers=(Walker(*ANNA, path=((0, 0.12, 0.42, 0.12), (1, 0.8, 0.40, 0.13))),),
    ),
    Recording(
        "car-01", "d001", _MORNING, "right", yaw=0.8, n_frames=90, variable_rate=True,
        walkers=(
            Walker(
                *CLEO, path=((0, 0.15, 0.4, 0.15), (1, 0.8, 0.38, 0.17)), absent=(0.28, 0.70)
            ),
        ),
    ),
    Recording(
        "car-01", "d001", _MORNING, "rear", speed_m_s=-4.0, n_frames=60,
        encoding=Encoding(b_frames=2, audio=True, keyframe_every=20),
    ),
    Recording(
        "car-02", "d002", _EVENING, "front_wide", light=_WARM, suffix=".mkv", n_frames=60,
        encoding=Encoding(b_frames=2, keyframe_every=30),
        walkers=(
            Walker(*BEA, path=((0, 0.25, 0.4, 0.10), (1, 0.30, 0.36, 0.20))),
            Walker(*CLEO, path=((0.2, 0.95, 0.42, 0.05), (1, 0.66, 0.40, 0.09))),
        ),
    ),
    Recording(
        "car-02", "d002", _EVENING, "cabin", size_wh_px=(360, 640), light=_DIM, n_frames=40,
        speed_m_s=0.0, encoding=Encoding(rotation_degrees=90, keyframe_every=40),
        walkers=(Walker(*ANNA, path=((0, 0.45, 0.3, 0.17), (1, 0.55, 0.3, 0.18))),),
    ),
    Recording(
        "car-02", "d002", _EVENING, "rear", speed_m_s=-6.0, light=_WARM, suffix=".ts", n_frames=40,
        walkers=(Walker(*BEA, path=((0, 0.7, 0.36, 0.18), (1, 0.55, 0.4, 0.08))),),
    ),
    Recording(
        "car-02", "d002", _EVENING, "left", yaw=-0.8, light=_WARM, n_frames=40, kept_share=0.6,
        walkers=(Walker(*CLEO, path=((0, 0.3, 0.4, 0.16), (1, 0.7, 0.4, 0.16))),),
    ),
)  # fmt: skip
