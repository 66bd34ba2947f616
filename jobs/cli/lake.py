"""`deid report`, `deid verify`, `deid gc`, `deid weights`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.common import EXIT_FAILED, LakeOption
from jobs.lake.gc import collect_garbage
from jobs.lake.maintenance import maintain
from jobs.lake.tables import Lake
from jobs.report.write import latest_run, write_report
from jobs.storage import Storage
from jobs.verify import verify_lake
from jobs.weights import is_present, list_weights, pull

weights_app = typer.Typer(no_args_is_help=True, help="Networks the project can use.")


def report(
    lake: LakeOption,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the report to.")],
    run: Annotated[str | None, typer.Option(help="Run id; default: the latest run.")] = None,
    show_originals: Annotated[
        bool, typer.Option("--show-originals", help="Put originals beside published frames.")
    ] = False,
) -> None:
    """Write an HTML report of a run from the lake's tables and clips.

    Originals are shown only when asked for; they are read from the source and stored nowhere else.
    """
    out.mkdir(parents=True, exist_ok=True)
    typer.echo(write_report(lake, out, run or latest_run(lake), show_originals))


def verify(
    lake: LakeOption,
    clips: Annotated[bool, typer.Option(help="Read every published clip back.")] = True,
) -> None:
    """Run every SQL check and compare every published clip with its lineage row.

    Exits 0 when everything holds, else 1.
    """
    findings, n_clips = verify_lake(lake, read_clips=clips)
    for finding in findings:
        typer.echo(f"{finding.check}: {finding.detail}", err=True)
    typer.echo(f"{len(findings)} findings, {n_clips} clips read")
    if findings:
        raise typer.Exit(EXIT_FAILED)


def gc(
    lake: LakeOption,
    older_days: Annotated[float, typer.Option("--older-days", min=0.0)] = 7.0,
    dry_run: Annotated[bool, typer.Option(help="Only list.")] = False,
    optimize: Annotated[bool, typer.Option(help="Compact the tables too.")] = False,
    vacuum: Annotated[bool, typer.Option(help="Remove table files older than 30 days.")] = False,
) -> None:
    """Remove staged files, attempt notes and clips that no lineage row refers to.

    Never run it with a threshold shorter than a wave takes.
    """
    tables, older = Lake(lake), dt.timedelta(days=older_days)
    found = collect_garbage(tables, Storage(lake), older, dry_run=dry_run)
    for item in found:
        typer.echo(item.uri)
    n_bytes = sum(item.n_bytes for item in found)
    typer.echo(f"{len(found)} objects, {n_bytes} bytes {'found' if dry_run else 'removed'}")
    if optimize or vacuum:
        for done in maintain(tables, vacuum=vacuum):
            typer.echo(f"{done.table}: version {done.version}, {done.n_files_removed} files merged")


@weights_app.command("list")
def weights_list() -> None:
    """List every locked network: role, licence, and whether it is on this machine."""
    for weight in list_weights():
        here = "present" if is_present(weight) else "to be fetched"
        typer.echo(
            f"{weight.name:24} {weight.version:8} {weight.role:16} {weight.licence:14} {here}"
        )


@weights_app.command("pull")
def weights_pull(
    names: Annotated[list[str] | None, typer.Argument(help="Default: all.")] = None,
) -> None:
    """Fetch and verify networks, so that a run needs no registry."""
    for name, path in pull(names or ()).items():
        typer.echo(f"{name}: {path}")
