"""The report: figures equal the tables, originals appear only when asked for, safe HTML."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deid_ops.errors import InputError, SetupError
from deid_ops.metrics.stats import clustered_rate
from deid_ops.types import U8
from jobs.lake.tables import Lake
from jobs.report.contact_sheet import write_contact_sheet
from jobs.report.figures import SECTIONS, RunQueries
from jobs.report.write import format_value, latest_run, write_report


@pytest.fixture
def queries(small_lake: Any) -> RunQueries:
    return RunQueries(Lake(small_lake.root), small_lake.run_id)


def records(queries: RunQueries, name: str) -> list[dict[str, Any]]:
    return queries.figure(next(s for s in SECTIONS if s.name == name)).records()


def test_summary_and_ledger_count_what_the_tables_hold(queries: RunQueries) -> None:
    (summary,) = records(queries, "summary")
    assert (summary["clips"], summary["faces"], summary["frames"]) == (2, 40, 40)
    assert (summary["planned"], summary["quarantined_now"], summary["persons"]) == (3, 1, 1)
    ledger = {row["recording"]: row for row in records(queries, "ledger")}
    assert ledger["d001-left"]["frames_in"] == ledger["d001-left"]["frames_out"] == 20
    assert ledger["d001-left"]["closes"] is True
    assert ledger["d002-left"]["published"] == 0


def test_reasons_count_every_face_once(queries: RunQueries) -> None:
    reasons = {row["reason"]: row for row in records(queries, "reasons")}
    assert reasons["no_generator"]["faces"] == 30
    assert reasons["not_detected"]["faces"] == 10
    assert sum(row["share"] for row in reasons.values()) == pytest.approx(1)


def test_identity_rates_have_intervals_over_tracks(queries: RunQueries) -> None:
    (identity,) = records(queries, "identity")
    assert (identity["faces_judged"], identity["matched_original"]) == (20, 4)
    hits = np.repeat([True, False, False], [4, 6, 10])
    expected = clustered_rate(hits, np.repeat([0, 1], 10))
    assert identity["match_rate"] == pytest.approx(0.2)
    assert (identity["rate_low"], identity["rate_high"]) == pytest.approx(
        (expected.ci_low, expected.ci_high)
    )


def test_utility_is_told_of_replaced_tracks_only(queries: RunQueries) -> None:
    (utility,) = records(queries, "utility")
    assert (utility["tracks"], utility["faces_judged"]) == (1, 10)
    assert (utility["pose_deg"], utility["landmarks_percent"]) == (1.5, 4.0)
    assert utility["gaze_deg"] is None


def test_the_review_queue_starts_with_the_nearest_face(queries: RunQueries) -> None:
    review = records(queries, "review")
    assert [row["recording"] for row in review] == ["d001-left", "d002-cabin"]
    assert review[0]["risk"] == pytest.approx(3 + 5 / 20 + 0.2)


def test_the_shown_sql_runs_as_it_stands(queries: RunQueries) -> None:
    for figure in queries.figures():
        assert "$run_id" not in figure.sql
        again = queries.table(figure.sql)
        assert again.num_rows == len(figure.rows)


class Images(HTMLParser):
    """Collects the images of a page by their description, and checks that tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.images: dict[str, U8] = {}
        self.open_tags: list[str] = []
        self.remote: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag not in {"meta", "img", "link", "br"}:
            self.open_tags.append(tag)
        source = found.get("src") or ""
        if tag in {"script", "link"} or (source and not source.startswith("data:")):
            self.remote.append(f"{tag} {source}")
        if tag == "img":
            data = np.frombuffer(base64.b64decode(source.split(",")[1]), np.uint8)
            picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
            assert picture is not None
            self.images[str(found["alt"])] = np.asarray(picture, np.uint8)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag


def parse(path: Path) -> tuple[str, Images]:
    text = path.read_text()
    page = Images()
    page.feed(text)
    assert page.open_tags == []
    return text, page


def green_share(image: U8) -> float:
    blue, green, red = image[..., 0] * 1.0, image[..., 1] * 1.0, image[..., 2] * 1.0
    return float(((green > 180) & (blue < 100) & (red < 100)).mean())


def test_the_default_report_shows_published_pictures_only(small_lake: Any, tmp_path: Path) -> None:
    for source in small_lake.sources.values():
        source.unlink()  # originals are not even needed
    path = write_report(small_lake.root, tmp_path / "out", small_lake.run_id, False)
    text, page = parse(path)
    assert page.images
    assert all(alt.startswith("As published") for alt in page.images)
    assert all(green_share(image) > 0.02 for image in page.images.values())
    assert "original faces" not in text
    assert page.remote == []


def test_originals_stand_beside_when_asked_for(small_lake: Any, tmp_path: Path) -> None:
    path = write_report(small_lake.root, tmp_path, small_lake.run_id, True)
    text, page = parse(path)
    assert "This file shows original faces." in text
    before = {a: i for a, i in page.images.items() if a.startswith("As recorded")}
    assert len(before) * 2 == len(page.images)
    assert all(green_share(image) < 0.01 for image in before.values())
    frame = next(i for a, i in before.items() if "d002-cabin, frame" in a)
    assert frame.shape[0] > frame.shape[1]  # the rotated recording is shown upright


def test_the_frames_are_the_ones_named(small_lake: Any, tmp_path: Path) -> None:
    path = write_report(small_lake.root, tmp_path, small_lake.run_id, True)
    _, page = parse(path)
    alt = next(a for a in page.images if a.startswith("As recorded: d001-left, frame"))
    number = int(re.findall(r"frame (\d+)", alt)[0])
    import av

    with av.open(str(small_lake.sources["d001-left"])) as container:
        frames = [f.to_ndarray(format="bgr24") for f in container.decode(video=0)]
    small = [
        cv2.resize(f, page.images[alt].shape[1::-1], interpolation=cv2.INTER_AREA) for f in frames
    ]
    differences = [float(np.abs(f.astype(int) - page.images[alt]).mean()) for f in small]
    assert int(np.argmin(differences)) == number


def test_a_missing_original_is_named_in_the_report(small_lake: Any, tmp_path: Path) -> None:
    small_lake.sources["d001-left"].unlink()
    text, page = parse(write_report(small_lake.root, tmp_path, small_lake.run_id, True))
    assert "source_missing" in text
    assert any(a.startswith("As recorded: d002-cabin") for a in page.images)


def test_a_clip_that_is_not_what_its_row_says_stops_the_report(
    small_lake: Any, tmp_path: Path
) -> None:
    small_lake.clips["d001-left"].write_bytes(small_lake.clips["d002-cabin"].read_bytes())
    with pytest.raises(InputError, match="checksum_mismatch"):
        write_report(small_lake.root, tmp_path, small_lake.run_id, False)


def test_text_of_the_tables_is_escaped(small_lake: Any, tmp_path: Path) -> None:
    text, _ = parse(write_report(small_lake.root, tmp_path, small_lake.run_id, False))
    assert "moov &lt;missing&gt;" in text
    assert "<missing>" not in text


def test_an_unknown_run_is_refused(small_lake: Any, tmp_path: Path) -> None:
    assert latest_run(small_lake.root) == small_lake.run_id
    with pytest.raises(SetupError, match="no run 'nothing'"):
        write_report(small_lake.root, tmp_path, "nothing", False)


def test_the_contact_sheet_holds_both_sides(small_lake: Any, tmp_path: Path) -> None:
    both = write_contact_sheet(small_lake.root, tmp_path / "a.png", small_lake.run_id, True)
    after = write_contact_sheet(small_lake.root, tmp_path / "b.jpg", small_lake.run_id, False)
    wide, narrow = cv2.imread(str(both)), cv2.imread(str(after))
    assert wide is not None
    assert narrow is not None
    assert wide.shape[0] == narrow.shape[0]
    assert wide.shape[1] > 1.9 * narrow.shape[1]
    half = wide.shape[1] // 2
    assert green_share(np.asarray(wide[:, :half], np.uint8)) < 0.005
    assert green_share(np.asarray(wide[:, half:], np.uint8)) > 0.02


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "yes"), (3, "3"), (12345, "12\u202f345"), (0.12345, "0.123"), ("a", "a")],
)
def test_values_are_written_for_people(value: Any, text: str) -> None:
    assert format_value(value) == text
