"""The demo: a small fleet, the nightly job on it, the summary, one SQL answer, a report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import pyarrow as pa

from jobs.config import JobConfig
from jobs.deidentify import Observer, Request, Summary, deidentify, silent
from jobs.fleet.build import build_fleet
from jobs.keys import key_from_file
from jobs.report.contact_sheet import write_contact_sheet
from jobs.report.write import write_report
from jobs.sql import named, query

QUESTION = "which_cameras_show_the_most_faces"
Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoResult:
    """What the demo made; `answer` holds the rows of `sql`."""

    summary: Summary
    report: Path
    contact_sheet: Path
    sql: str
    answer: pa.Table
    seconds: float


def run_demo(
    out: Path,
    config: JobConfig,
    *,
    show_originals: bool,
    say: Say,
    inline: bool = False,
    observer: Observer = silent,
) -> DemoResult:
    """Build the fleet in `out/fleet`, anonymize it into `out/lake`, write `out/report-*.html`.

    A second call finds every unit done, and says so. Recordings are generated: the people
    are a freely licensed portrait with faces that the shipped generator paints.

    Args:
        out: folder, created if need be; it also keeps the secret key.
        config: of the job.
        show_originals: put originals beside the published frames in report and contact sheet.
        say: told what happens, line by line.
        inline: without Ray.
        observer: progress of the job.

    Raises:
        DeidError: as `deidentify`.
    """
    started = perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    manifest = build_fleet(str(out.absolute() / "fleet"))
    say(f"fleet and manifest: {manifest} ({perf_counter() - started:.0f} s)")
    lake = str(out.absolute() / "lake")
    summary = deidentify(
        Request(
            manifest_uri=manifest,
            lake_uri=lake,
            config=config,
            secret_key=key_from_file(out / "secret.key"),
            scratch_dir=out / "scratch",
            command="demo",
            inline=inline,
            observer=observer,
        )
    )
    for line in _lines(summary):
        say(line)
    report = write_report(lake, out, summary.run_id, show_originals)
    suffix = "before_after" if show_originals else "after"
    sheet = write_contact_sheet(lake, out / f"{suffix}.jpg", summary.run_id, show_originals)
    sql = named(QUESTION)
    return DemoResult(summary, report, sheet, sql, query(lake, sql), perf_counter() - started)


def _lines(summary: Summary) -> list[str]:
    lines = [
        f"run {summary.run_id}: {summary.n_planned} segments planned = "
        f"{summary.n_done_before} done before + {summary.n_published} published + "
        f"{summary.n_quarantined} quarantined"
    ]
    if summary.n_planned == summary.n_done_before:
        lines.append("nothing to do: the lake holds every segment with this fingerprint")
    lines += [f"quarantined {n}: {reason}" for reason, n in sorted(summary.reasons.items())]
    return lines
