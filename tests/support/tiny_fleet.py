"""A fleet small enough to be anonymized many times: one face, no face, a broken file."""

from datetime import date

from jobs.fleet.drives import ANNA, Recording, Walker
from jobs.fleet.encode import Encoding

DAY = date(2026, 3, 2)
KEY = bytes(range(32))
SMALL = {"size_wh_px": (320, 180), "fps": 10, "n_frames": 12}
TINY_FLEET = (
    Recording(
        "car-01",
        "d001",
        DAY,
        "front",
        encoding=Encoding(audio=True, keyframe_every=6),
        walkers=(Walker(*ANNA, path=((0, 0.35, 0.4, 0.3), (1, 0.6, 0.4, 0.32))),),
        **SMALL,
    ),
    Recording("car-01", "d001", DAY, "rear", encoding=Encoding(keyframe_every=6), **SMALL),
    Recording("car-02", "d002", DAY, "broken", kept_share=0.5, **SMALL),
)
#: Segments of half a second, one thread; everything else as it ships.
REPLACING = ("video.max_segment_s=0.6", "inference.threads=1")
#: Every face is redacted: most tests are about the job, and painting faces takes time.
NO_REPLACEMENT = "replace.generator=null"
FAST = (*REPLACING, NO_REPLACEMENT)
#: Two recordings of two segments each, and the broken one.
N_UNITS = 5
