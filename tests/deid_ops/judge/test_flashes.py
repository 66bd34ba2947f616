"""Which runs of replaced faces are flashes."""

import numpy as np
import pytest

from deid_ops.judge.flashes import flashes


@pytest.mark.parametrize(
    ("shown", "frames_min", "expected"),
    [
        pytest.param("..#..", 2, "..#..", id="one frame between mosaics"),
        pytest.param(".##.#.", 3, ".##.#.", id="two runs"),
        pytest.param(".###.", 3, ".....", id="long enough"),
        pytest.param("#.##", 3, "....", id="ends of a track stay"),
        pytest.param("###", 5, "...", id="a whole track stays"),
        pytest.param("...", 5, "...", id="nothing is shown"),
        pytest.param("..#..", 1, ".....", id="one frame is enough"),
    ],
)
def test_runs_of_one_track(shown, frames_min, expected):
    found = flashes(np.zeros(len(shown), np.int32), np.array([c == "#" for c in shown]), frames_min)
    assert "".join("#" if f else "." for f in found) == expected


def test_tracks_are_told_apart():
    """Two tracks side by side, the boxes in turns: what lies between is the other's."""
    track = np.int32([0, 1, 0, 1, 0, 1])
    shown = np.array([False, True, True, True, False, True])
    assert flashes(track, shown, 3).nonzero()[0].tolist() == [2]
