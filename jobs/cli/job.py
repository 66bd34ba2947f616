"""`deid nightly`, `deid backfill`, `deid manifest`, `deid render`."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer

from deid_ops.errors import SetupError
from jobs.backfill import status_of, write_plan
from jobs.cli.common import (
    ConfigOption,
    KeyFileOption,
    LakeOption,
    ScratchOption,
    SetOption,
    config_of,
    scratch_folder,
)
from jobs.config import JobConfig
from jobs.deidentify import Request, Summary, deidentify
from jobs.keys import key_of_run
from jobs.manifest import ManifestRules, build_manifest, write_manifest
from jobs.observe import observer
from jobs.plan import Window
from jobs.window import since_last_success

manifest_app = typer.Typer(no_args_is_help=True, help="Write the list of recordings.")
backfill_app = typer.Typer(no_args_is_help=True, help="Anonymize an archive, wave by wave.")

ManifestOption = Annotated[
    str, typer.Option("--manifest", help="Parquet manifest (`deid manifest build` writes one).")
]
RayOption = Annotated[
    str | None,
    typer.Option("--ray-address", help="Existing cluster (auto, host:port). Default: local Ray."),
]
InlineOption = Annotated[
    bool, typer.Option("--inline", help="Run all stages in this process, without Ray.")
]
RetryOption = Annotated[
    bool, typer.Option("--retry-quarantined", help="Try quarantined units again.")
]
PriceOption = Annotated[
    float | None, typer.Option("--price-per-hour", help="For cost per camera-hour.")
]


@manifest_app.command("build")
def build(
    source: Annotated[str, typer.Argument(help="Folder or s3:// prefix with recordings.")],
    out: Annotated[str, typer.Option("--out", help="Parquet file to write; path or s3://")],
    fleet: Annotated[str, typer.Option(help="Fleet of every recording.")] = "default",
    vehicle: Annotated[str | None, typer.Option(help="Vehicle of every recording.")] = None,
    drive_date: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day of every recording.")
    ] = None,
    checksums: Annotated[bool, typer.Option(help="Read every file and record sha256.")] = False,
) -> None:
    """Write a manifest of every recording below SOURCE.

    A path VEHICLE/DRIVE/CAMERA.mp4 gives vehicle, drive and camera; a date in the path gives the
    day, else the file's own date.
    """
    day = drive_date.date() if drive_date else None
    table = build_manifest(source, ManifestRules(fleet, vehicle, day, checksums))
    write_manifest(table, out)
    typer.echo(f"{table.num_rows} recordings -> {out}")


@manifest_app.callback()
def manifest_options() -> None:
    """Keep `build` a sub-command of its own."""


def nightly(
    manifest: ManifestOption,
    lake: LakeOption,
    first: Annotated[
        dt.datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First drive date, inclusive."),
    ] = None,
    last: Annotated[
        dt.datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], help="Last drive date, inclusive."),
    ] = None,
    every_day: Annotated[
        bool, typer.Option("--all", help="Every drive date, not only since the last success.")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    key_file: KeyFileOption = None,
    scratch: ScratchOption = None,
    ray_address: RayOption = None,
    inline: InlineOption = False,
    retry_quarantined: RetryOption = False,
    price_per_hour: PriceOption = None,
) -> None:
    """Anonymize the recordings of a date window, or since the last successful night.

    Reads the manifest and the recordings, writes clips and Delta tables under the lake's root.
    What the lake holds already with the same fingerprint is not done again. Exits 0 (clean),
    3 (something was quarantined) or 1 (failed).
    """
    if first or last:
        window = Window(first.date() if first else None, last.date() if last else None)
    else:
        window = Window() if every_day else since_last_success(lake)
    summary = _anonymize(
        "nightly",
        (manifest, lake),
        config_of(config, overrides),
        key_file,
        scratch,
        window=window,
        ray_address=ray_address,
        inline=inline,
        retry_quarantined=retry_quarantined,
        price_per_hour=price_per_hour,
    )
    _finish(summary)


@backfill_app.command("plan")
def backfill_plan(
    manifest: ManifestOption,
    lake: LakeOption,
    config: ConfigOption = None,
    overrides: SetOption = None,
    scratch: ScratchOption = None,
) -> None:
    """Index every recording of the manifest and write the plan into the lake."""
    with scratch_folder(scratch) as folder:
        plan = write_plan(manifest, lake, config_of(config, overrides), folder)
    typer.echo(
        f"plan {plan.plan_id}: {plan.n_units} segments of {plan.n_recordings} recordings, "
        f"{plan.hours:.2f} h, {plan.n_waves} waves, {plan.n_refused} refused\n{plan.uri}"
    )


@backfill_app.command("run")
def backfill_run(
    manifest: ManifestOption,
    lake: LakeOption,
    config: ConfigOption = None,
    overrides: SetOption = None,
    key_file: KeyFileOption = None,
    scratch: ScratchOption = None,
    ray_address: RayOption = None,
    inline: InlineOption = False,
    retry_quarantined: RetryOption = False,
    price_per_hour: PriceOption = None,
) -> None:
    """Anonymize every recording of the manifest; run it again to go on after a stop."""
    summary = _anonymize(
        "backfill",
        (manifest, lake),
        config_of(config, overrides),
        key_file,
        scratch,
        ray_address=ray_address,
        inline=inline,
        retry_quarantined=retry_quarantined,
        price_per_hour=price_per_hour,
    )
    _finish(summary)


@backfill_app.command("status")
def backfill_status(
    lake: LakeOption,
    plan: Annotated[str | None, typer.Option(help="Plan id; default: the latest plan.")] = None,
) -> None:
    """Print progress and ETA of a plan, read from the lake."""
    typer.echo(status_of(lake, plan).text())


def render(
    manifest: ManifestOption,
    lake: LakeOption,
    config: ConfigOption = None,
    overrides: SetOption = None,
    key_file: KeyFileOption = None,
    scratch: ScratchOption = None,
    ray_address: RayOption = None,
    inline: InlineOption = False,
) -> None:
    """Write every clip again with another treatment, without detecting again.

    The find pass is taken from the `tracks` table, so the settings under `detect`, `track` and
    `anchors` and the secret key must be those of the run that found the faces.
    """
    summary = _anonymize(
        "render",
        (manifest, lake),
        config_of(config, overrides),
        key_file,
        scratch,
        ray_address=ray_address,
        inline=inline,
        found_only=True,
    )
    if summary.n_planned == 0:
        raise SetupError(f"{lake}: the find pass of no unit is there; run `deid nightly` first")
    _finish(summary)


def _anonymize(
    command: str,
    manifest_and_lake: tuple[str, str],
    config: JobConfig,
    key_file: Path | None,
    scratch: Path | None,
    **options: Any,
) -> Summary:
    """Run the job; `options` are further fields of `Request`."""
    manifest, lake = manifest_and_lake
    with scratch_folder(scratch) as folder:
        return deidentify(
            Request(
                manifest_uri=manifest,
                lake_uri=lake,
                config=config,
                secret_key=key_of_run(key_file),
                scratch_dir=folder,
                command=command,
                observer=observer(),
                **options,
            )
        )


def _finish(summary: Summary) -> None:
    typer.echo(
        f"run {summary.run_id}: {summary.n_planned} planned = {summary.n_done_before} done before "
        f"+ {summary.n_published} published + {summary.n_quarantined} quarantined"
    )
    if summary.n_planned == summary.n_done_before:
        typer.echo("nothing to do: the lake holds every unit with this fingerprint")
    for reason, count in sorted(summary.reasons.items()):
        typer.echo(f"  quarantined {count}: {reason}")
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)
