import json

import pytest

from deid_ops.metrics.figures import Figure
from deid_ops.metrics.stats import rate
from jobs.evaluation_rows import Provenance, cell_text, html_report, markdown, meets_bar, to_rows
from jobs.lake.commits import acquire_lease, append
from jobs.lake.tables import Lake

PROVENANCE = Provenance("e1", "deid evaluate set.tar --subject 'a b'", {"judge": "ab" * 32})


@pytest.fixture
def figures():
    return [
        Figure("verification", subject, "set@24px", encoder, "match_far_0.001", rate(hits, 400),
               "lower", 0.001, 0.002, {"far": 1e-3})
        for subject, hits in (("untouched", 400), ("ours", 0), ("blur", 120))
        for encoder in ("dlib", None)
    ]  # fmt: skip


def test_rows_fit_the_declared_table_and_the_lake(figures, tmp_path):
    rows = to_rows(figures, PROVENANCE)
    lake = Lake(tmp_path)
    lake.ensure()
    append(lake, acquire_lease(lake, "e1", "e1"), "evaluations", rows, seq=1)
    stored = lake.read("evaluations").to_pylist()
    assert len(stored) == 6
    ours = next(r for r in stored if r["subject"] == "ours" and r["encoder"] == "dlib")
    assert (ours["value"], ours["n_samples"], ours["bar"]) == (0.0, 400, 0.002)
    assert ours["ci_high"] == pytest.approx(3 / 400)
    params = json.loads(ours["params_json"])
    assert params == {"far": 1e-3, "chance": 0.001, "command": PROVENANCE.command}
    assert json.loads(ours["weights_json"]) == {"judge": "ab" * 32}


def test_no_column_can_hold_a_face():
    names = to_rows([], PROVENANCE).schema.names
    assert not [n for n in names if "embedding" in n or "crop" in n]


def test_tables_show_every_subject_with_interval_and_chance(figures):
    text = markdown(figures, PROVENANCE)
    assert PROVENANCE.command in text
    row = next(line for line in text.splitlines() if line.startswith("| match_far_0.001"))
    assert row.split(" | ")[1:3] == ["400", "0.002"]
    assert "1.000 [0.990, 1.000] (0.0010)" in row
    assert text.count("## set@24px") == 2


def test_the_summary_has_one_row_per_subject():
    figures = [
        Figure("verification", subject, "set", encoder, metric, rate(hits, 100), "lower")
        for subject, hits in (("untouched", 100), ("ours", 2))
        for encoder in ("dlib", "retail0095")
        for metric in ("rank1_same_photo", "match_original_far_0.001", "distance_to_original")
    ]
    text = markdown(figures, PROVENANCE)
    summary = text[text.index("## Summary, set") : text.index("## set")].splitlines()
    assert summary[2].startswith("| | still matched at FAR 1e-3, dlib | still matched")
    assert summary[2].endswith("rank 1, dlib | rank 1, retail0095 |")
    assert summary[5] == "| ours | 0.0200 | 0.0200 | 0.0200 | 0.0200 |"
    assert "distance" not in "".join(summary)


def test_bars_know_their_direction(figures):
    assert [meets_bar(f) for f in figures[::2]] == [False, True, False]
    higher = Figure("utility", "s", "d", None, "found", rate(99, 100), "higher", None, 0.99)
    assert meets_bar(higher)
    assert meets_bar(Figure("utility", "s", "d", None, "x", rate(1, 2))) is None
    assert "(" not in cell_text(higher)


def test_the_page_draws_every_figure_and_escapes(figures):
    page = html_report(figures, PROVENANCE, {"Samples <1>": "grid.jpg"})
    assert page.count("<rect") == 6
    assert page.count("stroke-dasharray") == 6
    assert "Samples &lt;1&gt;" in page
    assert "<script" not in page
