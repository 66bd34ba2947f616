"""The audit of drawn faces: bright dots on grey, read by a stand-in that sees where they are."""

import numpy as np
import pytest

from deid_ops.judge.audit import AuditParams
from deid_ops.judge.calibration import FARS, Calibration, CalibrationRow, OperatingPoint
from deid_ops.metrics.attributes import rotation_from_euler
from deid_ops.metrics.utility import FaceAttributes
from deid_ops.pipeline.audit import AuditModels, audit_segment
from deid_ops.swap.crop import EYE_DISTANCE_PX, TEMPLATE_PX
from deid_ops.types import BoxOrigin, Faces, FaceTracks

SCALE = 0.5  # frame pixels a crop pixel
CENTRES = np.float32([[60, 60], [200, 80]])  # one face a track
N_FRAMES = 20


class DotReader:
    """The dot's place is the only landmark; its brightness is pose, gaze and expression."""

    name = "dot"

    def __init__(self):
        self.batches = []

    def read(self, crops_bgr):
        assert crops_bgr.shape[1:] == (256, 256, 3)
        self.batches.append(len(crops_bgr))
        light = np.clip(crops_bgr[..., 0].astype(np.float64) - 50, 0, None)
        mass = light.sum(axis=(1, 2)) + 1e-9
        axis = (np.arange(256) + 0.5) / 2 - 0.5
        x, y = (light.sum(axis=1) @ axis / mass, light.sum(axis=2) @ axis / mass)
        top = light.max(axis=(1, 2)).astype(np.float32)
        pose = np.stack([0 * top, 0 * top, top / 10], axis=1)
        return FaceAttributes(
            np.stack([x, y], axis=1)[:, None].astype(np.float32),
            rotation_from_euler(pose),
            np.stack([top / 20, 0 * top], axis=1),
            np.stack([top / 100, 0 * top], axis=1),
            top > 0,
        )


def frame(dots):
    """A frame with a soft dot at each `(x, y, brightness)`."""
    y, x = np.mgrid[:140, :280]
    image = np.full((140, 280), 50.0)
    for at_x, at_y, brightness in dots:
        image += brightness * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / 18)
    return np.repeat(np.rint(image).astype(np.uint8)[..., None], 3, axis=2)


def clip(move=(0.0, 0.0), brightness=(100, 100)):
    """`(index, image)` of both faces; `move` shifts each dot to the right."""
    dots = [(x + m, y, b) for (x, y), m, b in zip(CENTRES, move, brightness, strict=True)]
    return [(i, frame(dots)) for i in range(N_FRAMES)]


def two_tracks():
    n = 2 * N_FRAMES
    track = np.tile([0, 1], N_FRAMES)
    centre = CENTRES[track]
    ones = np.ones(n)
    return FaceTracks(
        np.repeat(np.arange(N_FRAMES), 2),
        track,
        np.concatenate([centre - 25, centre + 25], axis=1),
        (TEMPLATE_PX - TEMPLATE_PX.mean(axis=0)) * SCALE + centre[:, None],
        np.ones(n, bool),
        np.full(n, BoxOrigin.DETECTED),
        ones,
        EYE_DISTANCE_PX * SCALE * ones,
        0 * ones,
        0 * ones,
    )


TRACKS = two_tracks()
FIRST = TRACKS.track == 0
EVERYONE = np.ones(len(TRACKS), bool)


def embed(image, points):
    return np.repeat(np.float32([[1, 0]]), len(points), axis=0)


def audited(source, output, swapped, reader, per_track=4):
    points = tuple(OperatingPoint(far, 0.5, 1.0) for far in FARS)
    row = CalibrationRow("judge", 24.0, 10**6, 10**3, 0.99, 0.01, 0.5, points)

    def find(images):
        assert len(list(images)) == N_FRAMES
        return Faces.empty()

    models = AuditModels(find, {"judge": embed}, Calibration((row,), {}), reader)
    people = ["anna", "bea"]
    return audit_segment(source, output, TRACKS, swapped, people, models, AuditParams(), per_track)


def test_an_output_that_equals_its_source_has_no_drift():
    report = audited(clip(), clip(), EVERYONE, DotReader())
    assert sorted(report.drift) == [0, 1]
    for drift in report.drift.values():
        kept = (drift.landmark_shift_percent, drift.pose_deg, drift.gaze_deg, drift.expression)
        assert kept == (0, 0, 0, 0)


def test_a_moved_face_has_moved_by_its_share_of_the_eye_distance():
    report = audited(clip(), clip(move=(2, -3)), EVERYONE, DotReader())
    eyes_px = EYE_DISTANCE_PX * SCALE
    shift = [report.drift[t].landmark_shift_percent for t in (0, 1)]
    assert shift == pytest.approx([200 / eyes_px, 300 / eyes_px], rel=0.02)


def test_pose_gaze_and_expression_are_told_apart():
    report = audited(clip(), clip(brightness=(120, 100)), EVERYONE, DotReader())
    drift = report.drift[0]
    assert drift.pose_deg == pytest.approx(2, abs=0.11)
    assert drift.gaze_deg == pytest.approx(1, abs=0.06)
    assert drift.expression == pytest.approx(0.2, abs=0.011)
    assert drift.landmark_shift_percent < 0.2
    assert report.drift[1].pose_deg == pytest.approx(0, abs=0.01)


def test_redacted_tracks_have_none_but_are_judged():
    report = audited(clip(), clip(move=(2, 0), brightness=(100, 0)), FIRST, DotReader())
    assert list(report.drift) == [0]
    assert {t.track for t in report.tracks} == {0, 1}
    assert [t.n_swapped_judged for t in report.tracks] == [4, 0]
    assert audited(clip(), clip(), ~EVERYONE, DotReader()).drift == {}


def test_only_the_swapped_faces_of_a_track_count():
    output = clip(move=(9, 0))
    output[7] = clip()[7]  # the one swapped face is not among the four that are judged
    report = audited(clip(), output, FIRST & (TRACKS.frame_index == 7), DotReader())
    assert report.drift[0].landmark_shift_percent == 0
    assert report.tracks[0].n_faces_judged == 4


def test_unreadable_faces_are_left_out():
    output = clip(move=(2, 0))
    output[0] = (0, frame([]))
    seen = audited(clip(), output, EVERYONE, DotReader()).drift[0]
    assert seen.landmark_shift_percent == pytest.approx(200 / (EYE_DISTANCE_PX * SCALE), rel=0.02)
    blank = [(i, frame([])) for i in range(N_FRAMES)]
    assert audited(clip(), blank, EVERYONE, DotReader()).drift == {}


def test_faces_are_read_in_batches():
    reader = DotReader()
    report = audited(clip(), clip(move=(2, -3)), EVERYONE, reader, per_track=N_FRAMES)
    assert reader.batches == [32, 32, 8, 8]
    shift = [report.drift[t].landmark_shift_percent for t in (0, 1)]
    assert shift[1] / shift[0] == pytest.approx(1.5, rel=0.02)


def test_without_a_reader_nothing_is_read():
    report = audited(clip(), clip(), EVERYONE, None)
    assert report.drift == {}
    assert len(report.tracks) == 2
