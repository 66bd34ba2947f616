"""`deid run`, `deid demo`, `deid bench`."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from jobs.bench import bench_clip
from jobs.bench_models import bench_models
from jobs.cli.common import EXIT_QUARANTINED, ConfigOption, KeyFileOption, SetOption, config_of
from jobs.cli_sql import OutputFormat, write_rows
from jobs.demo import run_demo
from jobs.keys import key_from_file
from jobs.loose import run_files
from jobs.observe import observer


def run(
    files: Annotated[list[Path], typer.Argument(help="Videos, GIFs and photographs.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    key_file: KeyFileOption = None,
) -> None:
    """Anonymize loose files: one file of the same name in OUT, and a JSON sidecar beside it.

    Without --key-file every call uses a fresh key, so that people cannot be linked between calls.
    Exits 0, or 3 when a file was refused (the others are written).
    """
    key = key_from_file(key_file) if key_file else secrets.token_bytes(32)
    n_refused = 0
    for outcome in run_files(files, out, config_of(config, overrides), key):
        if outcome.output is None:
            n_refused += 1
            typer.echo(f"refused: {outcome.message}", err=True)
            continue
        n_redacted = outcome.n_faces - outcome.n_swapped
        typer.echo(
            f"{outcome.output}: {outcome.n_frames} frames, {outcome.n_faces} faces "
            f"({outcome.n_swapped} replaced, {n_redacted} redacted)"
        )
    if n_refused:
        raise typer.Exit(EXIT_QUARANTINED)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for fleet, lake and report.")] = Path(
        "demo-output"
    ),
    config: ConfigOption = None,
    overrides: SetOption = None,
    show_originals: Annotated[
        bool, typer.Option("--show-originals", help="Originals beside the published frames.")
    ] = False,
    inline: Annotated[bool, typer.Option("--inline", help="Without Ray.")] = False,
) -> None:
    """Build a small fleet, run the nightly job on it, answer a question, write a report.

    One recording is broken on purpose, so the job quarantines it; the demo itself exits 0 then.
    """
    result = run_demo(
        out,
        config_of(config, overrides),
        show_originals=show_originals,
        say=typer.echo,
        inline=inline,
        observer=observer(),
    )
    typer.echo(f"\n$ deid sql --lake {out}/lake which_cameras_show_the_most_faces")
    write_rows(result.answer, OutputFormat.TABLE)
    typer.echo(f"\npictures: {result.contact_sheet}\nreport:   {result.report}")
    typer.echo(f"done in {result.seconds:.0f} s")


def bench(
    clip: Annotated[Path, typer.Argument(help="A video.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    peer: Annotated[bool, typer.Option(help="Run the `deface` command on the clip too.")] = True,
    max_frames: Annotated[
        int | None, typer.Option(help="Only the first frames, for a quick look.")
    ] = None,
    models: Annotated[
        bool, typer.Option("--models", help="Only the networks, each alone: MB, GFLOP, ms.")
    ] = False,
) -> None:
    """Measure the whole chain on one clip, stage by stage, beside the blur-only tool `deface`.

    With --models: size, work and time of every configured network, for one frame or one face.
    Figures of one run on one machine are comparable with each other, not with other machines.
    """
    if models:
        typer.echo(bench_models(clip, config_of(config, overrides)).text())
        return
    typer.echo(bench_clip(clip, config_of(config, overrides), peer, max_frames).text())
