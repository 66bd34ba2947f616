"""The command `deid`: one typer application, a module for each group of sub-commands.

Every sub-command exits 0 when all is well, 3 when something was quarantined or refused, 1 when
the run failed.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from jobs.cli import job, lake, local
from jobs.cli.common import named_failures, set_up_logging
from jobs.cli_evaluate import attack, calibrate, evaluate
from jobs.cli_sql import sql
from jobs.cli_train import app as train_app
from jobs.fingerprint import code_version

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Replace the identity of every face in fleet video, prove it, keep the lineage in SQL. "
    "Exit codes: 0 clean, 3 something was quarantined, 1 failed.",
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"deid-lake {code_version()}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log progress.")] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every sub-command."""
    set_up_logging(verbose=verbose)


app.command("run")(local.run)
app.command("demo")(local.demo)
app.command("bench")(local.bench)
app.command("nightly")(job.nightly)
app.add_typer(job.backfill_app, name="backfill")
app.add_typer(job.manifest_app, name="manifest")
app.command("render")(job.render)
app.command("sql")(sql)
app.command("report")(lake.report)
app.command("verify")(lake.verify)
app.command("gc")(lake.gc)
app.add_typer(lake.weights_app, name="weights")
app.command("evaluate")(evaluate)
app.command("attack")(attack)
app.command("calibrate")(calibrate)
app.add_typer(train_app, name="train")


def main() -> None:
    """Run the command line; the project's own errors become one line and an exit code."""
    try:
        with named_failures():
            app()
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
