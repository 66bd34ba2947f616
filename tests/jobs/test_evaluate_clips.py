"""Clip evaluation on synthesised clips: two textured squares that walk, and what became of them."""

import json

import av
import cv2
import numpy as np
import pytest

from deid_ops.detect.base import Detections
from deid_ops.errors import SetupError
from deid_ops.judge.calibration import Calibration, CalibrationRow, OperatingPoint
from deid_ops.judge.protocol import Judge
from jobs.cli_evaluate import clip_pairs
from jobs.clip_faces import read_sidecar, without_face
from jobs.compared_faces import RankedPeople, above_chance
from jobs.evaluate_clips import evaluate_clip
from jobs.evaluation_rows import Provenance, markdown

N_FRAMES, SIDE = 12, 64
POINTS = np.float32([[20, 24], [44, 24], [32, 36], [24, 48], [40, 48]])


def texture(seed):
    small = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def places(frame):
    return [(10 + 2 * frame, 20), (200 - 2 * frame, 60)]


def frames(faces):
    """`faces(frame) -> two squares`; a strip on top tells the detector which frame it sees."""
    for frame in range(N_FRAMES):
        image = np.full((144, 288, 3), 100, np.uint8)
        image[:12] = 20 + 15 * frame
        for (x, y), square in zip(places(frame), faces(frame), strict=True):
            image[y : y + SIDE, x : x + SIDE] = square
        yield image


def write(path, images):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 288, 144, "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


class SquareDetector:
    """Reads the frame's number from the strip; finds the squares that are not flat."""

    name, provider = "squares", "cpu"

    def detect(self, images_bgr):
        found = []
        for image in images_bgr:
            frame = round((float(image[2:8].mean()) - 20) / 15)
            boxes = [
                [x, y, x + SIDE, y + SIDE]
                for x, y in places(frame)
                if image[y : y + SIDE, x : x + SIDE].std() > 20
            ]
            marks = [POINTS + np.float32(b[:2]) for b in boxes]
            score = np.full(len(boxes), 0.9, np.float32)
            hit = Detections(np.float32(boxes), np.stack(marks), score) if boxes else None
            found.append(Detections.empty() if hit is None else hit)
        return found


def embed(image, points):
    rows = []
    for marks in points:
        x, y = (marks[0] - POINTS[0]).round().astype(int)
        small = cv2.resize(image[y : y + SIDE, x : x + SIDE], (8, 8), interpolation=cv2.INTER_AREA)
        vector = small.astype(np.float32).ravel() - 128
        rows.append(vector / np.linalg.norm(vector))
    return np.stack(rows)


@pytest.fixture
def judge():
    points = tuple(OperatingPoint(far, t, 1.0) for far, t in ((1e-2, 0.3), (1e-3, 0.15)))
    row = CalibrationRow("squares", 24.0, 10**6, 10**3, 0.99, 0.01, 0.2, points)
    return Judge("squares", embed, Calibration((row,), {}))


def sidecar(output, *treatments):
    """One treatment for both tracks, or one each."""
    faces = [
        {
            "frame": f,
            "track": t,
            "box_xyxy_px": [x, y, x + SIDE, y + SIDE],
            "treatment": treatments[t % len(treatments)],
        }
        for f in range(N_FRAMES)
        for t, (x, y) in enumerate(places(f))
    ]
    tracks = [{"track": t, "person": f"p{t}", "anchor": t} for t in range(2)]
    text = json.dumps({"faces": faces, "tracks": tracks})
    output.with_name(f"{output.name}.json").write_text(text)
    return output


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "walk.mp4", frames(lambda f: (texture(1), texture(2))))


def measure(source, output, judge, *more_outputs):
    figures, _ = evaluate_clip(
        source, [output, *more_outputs], [judge], SquareDetector(), None, (1e-2, 1e-3), 6
    )
    return {(f.metric, f.subject): f for f in figures}


def test_an_untouched_output_is_matched_in_every_frame(source, judge, tmp_path):
    output = sidecar(
        write(tmp_path / "o.mp4", frames(lambda f: (texture(1), texture(2)))), "swapped"
    )
    found = measure(source, output, judge)
    match = found["match_original_far_0.001", "output"]
    assert match.estimate.value == 1
    assert match.estimate.n == 12
    assert match.estimate.ci_low == 0  # two tracks say little
    assert match.chance == 0
    whole = found["match_track_mean_far_0.001", "output"]
    assert (whole.estimate.value, whole.estimate.n, whole.chance) == (1, 2, 0)
    assert found["rank1_in_recording", "output"].estimate.value == 1
    assert found["found_again", "output"].estimate.value == 1
    assert found["faces_covered", "output"].estimate.value == 1
    assert found["psnr_outside_db", "output"].estimate.value > 40


def test_steady_replacements_are_not_matched_and_do_not_flicker(source, judge, tmp_path):
    output = sidecar(
        write(tmp_path / "o.mp4", frames(lambda f: (texture(3), texture(4)))), "swapped"
    )
    found = measure(source, output, judge)
    assert found["match_original_far_0.01", "output"].estimate.value == 0
    steady = found["m_tc_consecutive", "output"].estimate.value
    flicker = sidecar(
        write(tmp_path / "f.mp4", frames(lambda f: (texture(10 + f), texture(40 + f)))), "swapped"
    )
    assert (
        measure(source, flicker, judge)["m_tc_consecutive", "output"].estimate.value > steady + 0.1
    )
    assert found["m_tc_all_pairs", "output"].bar is not None


def test_swapped_people_are_each_others_chance(source, judge, tmp_path):
    output = sidecar(
        write(tmp_path / "o.mp4", frames(lambda f: (texture(2), texture(1)))), "swapped"
    )
    found = measure(source, output, judge)
    match = found["match_original_far_0.001", "output"]
    assert (match.estimate.value, match.chance) == (0, 1)
    assert found["rank1_in_recording", "output"].estimate.value == 0


class FindsMovedSquares(SquareDetector):
    """Finds the squares of the second picture 8 px further to the right."""

    def detect(self, images_bgr):
        first, second = super().detect(images_bgr)
        moved = np.float32([8, 0])
        boxes = second.boxes_xyxy_px + np.tile(moved, 2)
        return [first, Detections(boxes, second.landmarks_xy_px + moved, second.score)]


def test_the_output_is_judged_where_it_shows_the_face(source, judge, tmp_path):
    def moved(image):
        return np.concatenate([image[:12], np.roll(image[12:], 8, axis=1)])

    images = frames(lambda f: (texture(1), texture(2)))
    output = sidecar(write(tmp_path / "o.mp4", (moved(image) for image in images)), "swapped")
    figures, _ = evaluate_clip(source, [output], [judge], FindsMovedSquares(), None, (1e-3,), 6)
    rates = {f.subject: f for f in figures if f.metric == "match_original_far_0.001"}
    assert rates["output"].estimate.value == 1
    assert rates["in_place"].estimate.value < 0.5  # the encoder sees them cut differently
    assert (rates["output"].bar, rates["in_place"].bar) == (0.005, None)
    # where nothing is found in the output, it is judged in place
    flat = np.full((SIDE, SIDE, 3), 30, np.uint8)
    hidden = sidecar(write(tmp_path / "h.mp4", frames(lambda f: (flat, texture(1)))), "swapped")
    found = measure(source, hidden, judge)
    assert found["found_again", "output"].estimate.value == 0.5
    assert found["match_original_far_0.001", "output"].estimate.n == 12


def test_what_the_surroundings_tell_stands_beside_it(source, judge, tmp_path):
    """The corners of the squares stay in view whatever is painted, and tell who is who."""
    output = sidecar(
        write(tmp_path / "o.mp4", frames(lambda f: (texture(3), texture(4)))), "swapped", "redacted"
    )
    told = measure(source, output, judge)["rank1_in_recording", "surroundings"]
    assert (told.estimate.value, told.estimate.n, told.chance) == (1, 6, 0.5)
    assert told.bar is None


def test_a_face_is_taken_out_and_nothing_else():
    image = np.random.default_rng(0).integers(0, 100, (200, 300, 3), dtype=np.uint8)
    matrix = np.float32([[0.7, 0, -20], [0, 0.7, -10]])  # crop_from_frame
    faceless = without_face(image, matrix)
    taken = (faceless != image).all(axis=2)
    assert (faceless[taken] == 128).all()
    y, x = np.nonzero(taken)
    x0, y0, x1, y1 = (v for v in (x.min(), y.min(), x.max(), y.max()))
    assert 40 < (x0 + x1) / 2 * 0.7 - 20 < 85  # around the crop's middle
    assert 110 < (y1 - y0) < 170
    assert np.array_equal(faceless[~taken], image[~taken])


def test_redacted_faces_are_counted(source, judge, tmp_path):
    grey = np.full((SIDE, SIDE, 3), 30, np.uint8)
    output = sidecar(write(tmp_path / "o.mp4", frames(lambda f: (grey, grey))), "redacted")
    found = measure(source, output, judge)
    assert found["redacted_share", "output"].estimate.value == 1
    assert found["redacted_share_24px", "output"].bar == 0.15
    assert ("found_again", "output") not in found


def test_replaced_and_redacted_faces_are_told_apart(source, judge, tmp_path):
    output = sidecar(
        write(tmp_path / "o.mp4", frames(lambda f: (texture(3), texture(2)))), "swapped", "redacted"
    )
    found = measure(source, output, judge)
    name = "match_original_far_0.001"
    rates = {s: found[name, s].estimate for s in ("output", "replaced", "redacted")}
    assert {s: (e.value, e.n) for s, e in rates.items()} == {
        "output": (0.5, 12),
        "replaced": (0, 6),
        "redacted": (1, 6),
    }
    assert found["rank1_in_recording", "redacted"].estimate.value == 1
    text = markdown(list(found.values()), Provenance("e", "c", {}))
    assert "| replaced |" in text


def test_faces_of_one_treatment_are_not_printed_twice(source, judge, tmp_path):
    output = sidecar(
        write(tmp_path / "o.mp4", frames(lambda f: (texture(3), texture(4)))), "swapped"
    )
    found = {s for _, s in measure(source, output, judge)}
    assert found == {"source", "output", "in_place", "surroundings"}


def test_releases_of_one_source_are_pooled(source, judge, tmp_path):
    kept, exchanged, new = (
        sidecar(write(tmp_path / f"{i}.mp4", frames(lambda _, p=pair: p)), "swapped")
        for i, pair in enumerate((texture(a), texture(b)) for a, b in ((1, 2), (2, 1), (3, 4)))
    )
    found = measure(source, kept, judge, exchanged, new)
    match = found["match_original_far_0.001", "output"]
    assert (match.estimate.value, match.estimate.n) == (pytest.approx(1 / 3), 36)
    assert match.chance == pytest.approx(1 / 3)  # of different people of the same release only
    rank = found["rank1_in_recording", "output"]
    assert 1 / 3 <= rank.estimate.value < 1
    assert rank.chance == 0.5
    last = found["rank_last_in_recording", "output"]
    assert last.estimate.value == pytest.approx(1 - rank.estimate.value)  # of two people
    assert last.chance == 0.5
    assert found["m_tc_consecutive", "output"].estimate.n == 6


def test_a_photograph_is_a_clip_of_one_frame(judge, tmp_path):
    source, output = tmp_path / "crowd.png", tmp_path / "out" / "crowd.png"
    output.parent.mkdir()
    for path, faces in ((source, (texture(1), texture(2))), (output, (texture(3), texture(2)))):
        cv2.imwrite(str(path), next(frames(lambda _, f=faces: f)))
    found = measure(source, sidecar(output, "swapped"), judge)
    match = found["match_original_far_0.001", "output"].estimate
    assert (match.value, match.n) == (0.5, 2)
    assert ("m_tc_consecutive", "output") not in found


def test_an_uncovered_face_shows(source, judge, tmp_path):
    output = sidecar(
        write(tmp_path / "o.mp4", frames(lambda f: (texture(3), texture(4)))), "swapped"
    )
    path = output.with_name("o.mp4.json")
    tree = json.loads(path.read_text())
    tree["faces"] = [f for f in tree["faces"] if f["track"] == 0]
    path.write_text(json.dumps(tree))
    assert measure(source, output, judge)["faces_covered", "output"].estimate.value == 0.5


def test_other_lengths_and_missing_sidecars_are_named(source, judge, tmp_path):
    short = list(frames(lambda f: (texture(3), texture(4))))[:-2]
    output = sidecar(write(tmp_path / "o.mp4", short), "swapped")
    with pytest.raises(SetupError, match="10 frames, the source has 12"):
        measure(source, output, judge)
    with pytest.raises(SetupError, match="no sidecar"):
        read_sidecar(tmp_path / "none.json")
    with pytest.raises(SetupError, match="SOURCE=OUTPUT"):
        clip_pairs([str(source)])


def test_people_count_once_each_over_all_clips(source, judge, tmp_path):
    """Whom every painted face resembles ranks first always, the other never: nobody is traced."""
    output = sidecar(
        write(tmp_path / "o.mp4", frames(lambda f: (texture(1), texture(1)))), "swapped"
    )
    kept = sidecar(write(tmp_path / "k.mp4", frames(lambda f: (texture(1), texture(2)))), "swapped")
    people = [
        evaluate_clip(source, [path], [judge], SquareDetector(), None, (1e-3,), 6)[1]
        for path in (output, kept)
    ]
    one, both = (
        {f.subject: f.estimate for f in above_chance(ranked) if f.metric == "rank1_above_chance"}
        for ranked in (people[0], people[0] + people[1])
    )
    assert set(one) == {"output", "replaced", "surroundings"}
    assert (one["output"].value, one["output"].n) == (0, 2)
    assert one["output"].ci_low < -1 < 1 < one["output"].ci_high  # two people say nothing
    assert (both["output"].value, both["output"].n) == (0.25, 4)
    assert both["replaced"] == both["output"]


def test_a_track_is_one_person_in_all_releases(source, judge, tmp_path):
    outputs = []
    for name in ("a", "b"):
        path = sidecar(
            write(tmp_path / f"{name}.mp4", frames(lambda f: (texture(3), texture(4)))), "swapped"
        )
        told = path.with_name(f"{path.name}.json")
        told.write_text(told.read_text().replace('"person": "p', f'"person": "{name}'))
        outputs.append(path)
    people = evaluate_clip(source, outputs, [judge], SquareDetector(), None, (1e-3,), 6)[1]
    [ranked] = [p for p in people if p.subject == "output"]
    assert len(ranked.own) == 2


def crowd(taken_for, n_clips=1):
    """Return clips of people who are taken for these, all faces of each for one."""
    shares = np.eye(len(taken_for))[list(taken_for)]
    return [RankedPeople("output", "judge", shares, np.arange(len(taken_for)))] * n_clips


def relabelled_p(clips):
    [p] = [f.estimate for f in above_chance(clips) if f.metric == "rank1_relabelled_p"]
    return p.value


def test_people_who_are_found_again_are_told_from_painted_faces_that_are_alike():
    """Of six assignments of three people one is the right one; of three clips one in 216."""
    assert relabelled_p(crowd([0, 1, 2])) == pytest.approx(1 / 6, abs=0.02)
    assert relabelled_p(crowd([0, 1, 2], 3)) == pytest.approx(1 / 216, abs=0.003)
    assert relabelled_p(crowd([1, 1, 1], 3)) == 1  # all resemble one of them, whoever they are
    assert relabelled_p(crowd([1, 2, 0], 3)) == 1  # nobody is right: that is not above chance
    # two of three are right, as in two of the six assignments
    assert relabelled_p(crowd([2, 1, 2])) == pytest.approx(2 / 6, abs=0.03)


def test_people_who_are_not_asked_for_are_among_those_who_are_exchanged():
    asked = RankedPeople("replaced", "judge", np.eye(5)[[3]], np.array([3]))
    assert relabelled_p([asked]) == pytest.approx(1 / 5, abs=0.02)
    [less] = [f.estimate for f in above_chance([asked]) if f.metric == "rank1_above_chance"]
    assert less.value == pytest.approx(1 - 1 / 5)
