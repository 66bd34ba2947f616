"""Figures as rows of the table `evaluations`, as Markdown and as an HTML report."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from deid_ops.metrics.figures import Figure
from jobs.fingerprint import code_version
from schemas.face_tables import EVALUATIONS

#: Metrics of the summary, in order, and what readers see.
SUMMARY = {
    "match_original_far_0.001": "still matched at FAR 1e-3",
    "match_negated_far_0.001": "negation matched at FAR 1e-3",
    "identified_other_photo_far_0.001": "identified from another photo at FAR 1e-3",
    "rank1_same_photo": "rank 1",
    "rank1_among_10": "rank 1 among ten",
    "rank1_in_recording": "rank 1 in the recording",
    "rank1_above_chance": "rank 1 less chance, mean of people",
    "rank1_relabelled_p": "rank 1, p of the people exchanged",
    "inversion_same_photo_far_0.001": "retrieved after reversal at FAR 1e-3",
    "inversion_other_photo_far_0.001": "retrieved after reversal from another photo at FAR 1e-3",
    "regression_same_photo_far_0.001": "retrieved by regression at FAR 1e-3",
    "parrot_other_photo_far_0.001": "retrieved by the parrot at FAR 1e-3",
    "parrot_linked_other_photo_far_0.001": "linked by the parrot at FAR 1e-3",
    "averaged_other_photo_far_0.001": "retrieved from the mean of releases at FAR 1e-3",
    "linked_other_photo_far_0.001": "linked by another photo at FAR 1e-3",
    "m_tc_all_pairs": "M_tc",
    "auc": "AUC",
    "found_again": "found again",
    "redacted_share": "redacted",
    "landmark_shift_percent": "landmark shift, %",
    "pose_error_deg": "pose, degrees",
    "gaze_shift_deg": "gaze, degrees",
    "frechet_distance": "Frechet distance",
}


@dataclass(frozen=True, slots=True)
class Provenance:
    """What every figure of one invocation shares."""

    evaluation_id: str
    command: str
    weights: Mapping[str, str]
    run_id: str | None = None


def to_rows(figures: Sequence[Figure], provenance: Provenance) -> pa.Table:
    """Return the figures as a checked table of the declared schema."""
    now = datetime.now(UTC)
    rows = [_row(figure, provenance, now) for figure in figures]
    schema = EVALUATIONS.arrow_schema()
    return EVALUATIONS.validate(pa.Table.from_pylist(rows, schema=schema))


def _row(figure: Figure, provenance: Provenance, now: datetime) -> dict[str, Any]:
    params: dict[str, Any] = dict(figure.params) | {"command": provenance.command}
    if figure.chance is not None:
        params["chance"] = figure.chance
    return {
        "evaluation_id": provenance.evaluation_id,
        "protocol": figure.protocol,
        "subject": figure.subject,
        "dataset": figure.dataset,
        "encoder": figure.encoder,
        "metric": figure.metric,
        "value": figure.estimate.value,
        "ci_low": figure.estimate.ci_low,
        "ci_high": figure.estimate.ci_high,
        "n_samples": figure.estimate.n,
        "bar": figure.bar,
        "better": figure.better,
        "params_json": json.dumps(params, sort_keys=True),
        "weights_json": json.dumps(dict(provenance.weights), sort_keys=True),
        "code_version": code_version(),
        "run_id": provenance.run_id,
        "committed_at": now,
    }


def meets_bar(figure: Figure) -> bool | None:
    """Tell whether a figure reaches its bar; None where there is none."""
    if figure.bar is None or figure.better is None:
        return None
    if figure.better == "lower":
        return figure.estimate.value <= figure.bar
    return figure.estimate.value >= figure.bar


def markdown(figures: Sequence[Figure], provenance: Provenance) -> str:
    """Return one table per data set and encoder: metrics down, subjects across."""
    parts = [
        "# Evaluation\n",
        f"Printed again by: `{provenance.command}`\n",
        *_summary(figures),
        "Each cell: value [95 % interval], then in parentheses what the same count gives between "
        "different people or by guessing, where that makes sense. `n` is the sample size; several "
        "bars are those of the columns that have one, in order.\n",
    ]
    for (dataset, encoder), group in _grouped(figures).items():
        subjects = list(dict.fromkeys(f.subject for f in group))
        metrics = list(dict.fromkeys(f.metric for f in group))
        by_cell = {(f.metric, f.subject): f for f in group}
        parts.append(f"## {dataset}" + (f", judge {encoder}" if encoder else ", utility") + "\n")
        parts.append("| metric | n | bar | " + " | ".join(subjects) + " |")
        parts.append("|---|---|---|" + "---|" * len(subjects))
        for metric in metrics:
            cells = [by_cell.get((metric, subject)) for subject in subjects]
            known = [cell for cell in cells if cell is not None]
            sizes = sorted({cell.estimate.n for cell in known})
            n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]}"
            bars = dict.fromkeys(f"{c.bar:.3g}" for c in known if c.bar is not None)
            texts = " | ".join("" if cell is None else cell_text(cell) for cell in cells)
            parts.append(f"| {metric} | {n} | {', '.join(bars)} | {texts} |")
        parts.append("")
    return "\n".join(parts)


def _summary(figures: Sequence[Figure]) -> list[str]:
    """Return one small table per data set: subjects down, the figures people ask for across."""
    parts: list[str] = []
    for dataset in dict.fromkeys(f.dataset for f in figures):
        here = [f for f in figures if f.dataset == dataset and f.metric in SUMMARY]
        columns = sorted(
            dict.fromkeys((f.metric, f.encoder) for f in here),
            key=lambda c: (list(SUMMARY).index(c[0]), c[1] or ""),
        )
        if not columns:
            continue
        heads = [
            SUMMARY[metric] + (f", {encoder}" if encoder else "") for metric, encoder in columns
        ]
        parts += [f"## Summary, {dataset}\n", "| | " + " | ".join(heads) + " |"]
        parts.append("|---|" + "---|" * len(columns))
        by_cell = {(f.subject, f.metric, f.encoder): f for f in here}
        for subject in dict.fromkeys(f.subject for f in here):
            cells = [by_cell.get((subject, *column)) for column in columns]
            texts = ["" if c is None else _number(c.estimate.value) for c in cells]
            parts.append(f"| {subject} | " + " | ".join(texts) + " |")
        parts.append("")
    return parts


def cell_text(figure: Figure) -> str:
    """Return value, interval and chance of a figure."""
    e = figure.estimate
    text = f"{_number(e.value)} [{_number(e.ci_low)}, {_number(e.ci_high)}]"
    return text if figure.chance is None else f"{text} ({_number(figure.chance)})"


def html_report(
    figures: Sequence[Figure], provenance: Provenance, pictures: Mapping[str, str]
) -> str:
    """Return a page with bar charts and the tables.

    Args:
        figures: what was measured.
        provenance: command and weights.
        pictures: caption to file name of sample grids beside the page.
    """
    body = ["<h1>Evaluation</h1>", f"<p><code>{html.escape(provenance.command)}</code></p>"]
    for caption, file in pictures.items():
        body.append(f"<h2>{html.escape(caption)}</h2><img src='{html.escape(file)}' alt=''>")
    for (dataset, encoder), group in _grouped(figures).items():
        body.append(f"<h2>{html.escape(dataset)} {html.escape(encoder or 'utility')}</h2>")
        for metric in dict.fromkeys(f.metric for f in group):
            body.append(_chart(metric, [f for f in group if f.metric == metric]))
    style = (
        "body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "svg{display:block;margin:.4rem 0 1.2rem}img{max-width:100%}h3{margin:.2rem 0}"
    )
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Evaluation</title>"
        f"<style>{style}</style>{''.join(body)}</html>"
    )


def _chart(metric: str, figures: Sequence[Figure]) -> str:
    """Return bars with intervals; the bar to reach is a dashed line."""
    ends = [f.estimate.ci_high for f in figures] + [f.bar for f in figures if f.bar is not None]
    scale = 420.0 / max([*ends, 1e-9])
    lines = []
    for i, figure in enumerate(figures):
        y, e = 24 * i, figure.estimate
        met = meets_bar(figure)
        colour = "#4a6fa5" if met is None else "#2e7d4f" if met else "#b23b3b"
        low, high = max(0.0, e.ci_low) * scale, max(0.0, e.ci_high) * scale
        lines.append(
            f"<text x='128' y='{y + 14}' text-anchor='end'>{html.escape(figure.subject)}</text>"
            f"<rect x='134' y='{y + 3}' height='14' width='{max(0.0, e.value) * scale:.1f}' "
            f"fill='{colour}'/>"
            f"<line x1='{134 + low:.1f}' x2='{134 + high:.1f}' y1='{y + 10}' y2='{y + 10}' "
            "stroke='#222'/>"
            f"<text x='{142 + high:.1f}' y='{y + 14}'>{html.escape(cell_text(figure))}</text>"
        )
        if figure.bar is not None:
            x = 134 + figure.bar * scale
            lines.append(
                f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{y}' y2='{y + 20}' stroke='#222' "
                "stroke-dasharray='3 2'/>"
            )
    height = 24 * len(figures) + 4
    return (
        f"<h3>{html.escape(metric)}</h3><svg width='860' height='{height}' "
        f"font-size='12' role='img'>{''.join(lines)}</svg>"
    )


def _grouped(figures: Sequence[Figure]) -> dict[tuple[str, str | None], list[Figure]]:
    groups: dict[tuple[str, str | None], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.dataset, figure.encoder), []).append(figure)
    return groups


def _number(value: float) -> str:
    if value == 0:
        return "0"
    return (
        f"{value:.4f}"
        if abs(value) < 0.1
        else f"{value:.3f}"
        if abs(value) < 10
        else f"{value:.1f}"
    )
