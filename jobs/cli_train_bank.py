"""`deid train anchors` and `appearance`: the bank of synthetic identities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

bank_app = typer.Typer()
DataOption = Annotated[Path, typer.Option(help="A pack made by `deid train data`.")]
BankOption = Annotated[Path, typer.Option(help="anchors.npz of `deid train anchors`.")]
NewBankOption = Annotated[Path, typer.Option(help="The anchors.npz to write; may be the same.")]


@bank_app.command("anchors")
def anchors_command(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for anchors.npz.")],
    source: Annotated[
        str | None,
        typer.Option(help="The pack's source whose faces the density describes [default: all]."),
    ] = None,
    n: Annotated[int, typer.Option(help="Number of anchors.")] = 4096,
    spread: Annotated[float, typer.Option(help="Factor on the density's width.")] = 1.1,
    min_to_training: Annotated[
        float, typer.Option(help="Smallest cosine distance to any training face.")
    ] = 0.3,
    min_apart: Annotated[float, typer.Option(help="Smallest distance between anchors.")] = 0.3,
    licence: Annotated[str, typer.Option(help="Licence of the data, in plain words.")] = "",
) -> None:
    """Sample synthetic identities from a density fitted to the pack; writes anchors.npz.

    Where the pack's files are named AGE_SEX_... or lie in folders female and male, the anchors are
    adults between the sexes, who tell nothing of the head they are put on.
    """
    from deid_ops.anchors.density import DensityConfig
    from jobs.training_bank import run_anchors

    config = DensityConfig(
        n_anchors=n, spread=spread, min_to_training=min_to_training, min_apart=min_apart
    )
    typer.echo(json.dumps(run_anchors(data, out, config, licence, source), indent=1))


@bank_app.command("appearance")
def appearance_command(
    models: Annotated[Path, typer.Option(help="Folder of files by `deid train export`.")],
    data: DataOption,
    anchors: BankOption,
    out: NewBankOption,
    faces: Annotated[int, typer.Option(min=1, help="Faces each anchor is painted on.")] = 6,
    audition: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1.0,
            help="Keep anchors whose painted faces are in the better share by likelihood and "
            "glare, and suit most heads [default: all].",
        ),
    ] = None,
) -> None:
    """Paint every anchor and keep in the bank how the first judge sees it.

    With it anchors are chosen whose painted faces are far from the person, not only their vectors.
    It belongs to one generator: run it again after each export.
    """
    from jobs.training_appearance import run_appearance

    typer.echo(json.dumps(run_appearance(models, data, anchors, out, faces, audition), indent=1))
