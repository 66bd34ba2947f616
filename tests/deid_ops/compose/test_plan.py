from __future__ import annotations

import numpy as np
import pytest

from deid_ops.compose.blend import RedactEdit, SwapEdit
from deid_ops.compose.plan import edits_by_frame
from deid_ops.errors import InvariantError
from deid_ops.redact.fill import RedactParams
from deid_ops.types import FaceCrops, FaceTracks, Treatment

KEY = b"k" * 32
S, R = Treatment.SWAPPED, Treatment.REDACTED


def tracks(frames: list[int], labels: list[int]) -> FaceTracks:
    n = len(frames)
    z = np.zeros(n)
    box = np.arange(n * 4).reshape(n, 4)
    return FaceTracks(frames, labels, box, np.zeros((n, 5, 2)), z, z, z, z, z, z)


def crops(rows: list[int]) -> FaceCrops:
    k = len(rows)
    return FaceCrops(rows, np.full((k, 8, 8, 3), 7), np.tile(np.eye(2, 3), (k, 1, 1)))


def test_every_box_gets_the_edit_of_its_treatment():
    plan = edits_by_frame(
        tracks([0, 0, 2], [0, 1, 0]), [S, R, R], crops([0]), KEY, "seg", RedactParams()
    )
    assert sorted(plan) == [0, 2]
    assert isinstance(plan[0][0], SwapEdit)
    first, later = plan[0][1], plan[2][0]
    assert isinstance(first, RedactEdit)
    assert isinstance(later, RedactEdit)
    assert later.box_xyxy_px.tolist() == [8, 9, 10, 11]


def test_steady_noise_follows_the_track_fresh_noise_the_frame():
    def seeds(steady: bool, scope: str = "seg") -> list[int]:
        boxes = tracks([0, 1, 1], [0, 0, 1])
        plan = edits_by_frame(boxes, [R, R, R], crops([]), KEY, scope, RedactParams(steady=steady))
        return [e.noise_seed for f in sorted(plan) for e in plan[f] if isinstance(e, RedactEdit)]

    a, b, c = seeds(True)
    assert a == b != c
    assert len(set(seeds(False))) == 3
    assert not set(seeds(True, "other")) & {a, b, c}


@pytest.mark.parametrize(
    ("treatments", "rows"),
    [([S, R], []), ([R, R], [0]), ([S, R], [1]), ([R], []), ([S, R], [0, 0])],
)
def test_nothing_passes_untreated(treatments, rows):
    with pytest.raises(InvariantError):
        edits_by_frame(tracks([0, 0], [0, 1]), treatments, crops(rows), KEY, "s", RedactParams())
