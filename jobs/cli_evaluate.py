"""`deid evaluate`, `deid attack`, `deid calibrate`: figures with intervals, and where they go."""

from __future__ import annotations

import secrets
import shlex
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from deid_ops.errors import SetupError
from deid_ops.judge.calibration import EYE_DISTANCES_PX, FARS
from deid_ops.metrics.figures import Figure
from deid_ops.metrics.utility import AttributeReader
from jobs.cli.common import ConfigOption, KeyFileOption, SetOption, config_of
from jobs.config import JobConfig

FacesArgument = Annotated[
    Path,
    typer.Argument(help="Folder or tar of pictures named PERSON_0001.webp, or one per folder."),
]
LimitOption = Annotated[int | None, typer.Option(help="Most pictures to read.")]
OutOption = Annotated[Path, typer.Option(help="Folder for the report and the sample grids.")]
EvaluationLakeOption = Annotated[
    str | None, typer.Option("--lake", help="Also append the figures to the table `evaluations`.")
]
ShowOption = Annotated[bool, typer.Option(help="Put original faces into the sample grids.")]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target-oriented",
        help="Also measure a swap that sees the face and has no diffusion: `target_oriented` (the "
        "shipped network) or an ONNX file of `deid train export --facedancer`.",
    ),
]


def calibrate(
    faces: FacesArgument,
    out: Annotated[Path, typer.Option(help="Calibration file to write; its other rows stay.")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = None,
    eye_px: Annotated[
        list[float] | None, typer.Option(help="Eye distances to calibrate; may be repeated.")
    ] = None,
) -> None:
    """Measure the judges' thresholds per face size and write them as YAML.

    Reads pictures of people the judges were not trained on, several of some people. Exits 0.
    """
    from jobs.calibrate import calibrate as measure
    from jobs.calibrate import merged, read_calibration, write_calibration
    from jobs.facesets import load_face_set
    from jobs.models import first_detector

    settings = config_of(config, overrides)
    loaded = load_face_set(faces, lambda: first_detector(settings), limit=limit)
    sizes = tuple(eye_px) if eye_px else EYE_DISTANCES_PX
    calibration = merged(measure(settings, loaded, sizes, FARS), read_calibration(out))
    write_calibration(out, calibration, loaded, command_line())
    for row in calibration.rows:
        points = ", ".join(f"{p.far:g}: {p.threshold:.3f} (TAR {p.tar:.3f})" for p in row.points)
        typer.echo(
            f"{row.encoder} {row.eye_distance_px:g} px: AUC {row.auc:.4f}, EER {row.eer:.4f}, "
            f"thresholds {points}; {row.n_impostor} impostor, {row.n_genuine} genuine pairs"
        )


def evaluate(
    faces: Annotated[
        Path | None,
        typer.Argument(help="Folder or tar of pictures named PERSON_0001.webp, or one per folder."),
    ] = None,
    clip: Annotated[
        list[str] | None,
        typer.Option(
            help="SOURCE=OUTPUT: an output of `deid run` and its source; repeatable. Outputs of "
            "one source under several keys are pooled."
        ),
    ] = None,
    out: OutOption = Path("evaluation"),
    config: ConfigOption = None,
    overrides: SetOption = None,
    key_file: KeyFileOption = None,
    lake: EvaluationLakeOption = None,
    limit: LimitOption = None,
    max_queries: Annotated[int | None, typer.Option(help="Most faces to treat.")] = None,
    eye_px: Annotated[
        list[float] | None,
        typer.Option(help="Shrink faces to this eye distance; repeatable, 0 keeps the size."),
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Measure only these treatments; may be repeated.")
    ] = None,
    noise: Annotated[
        list[float] | None,
        typer.Option(
            help="Also measure this noise strength (1 is the usual one) without the judge; "
            "repeatable. Subjects ours_noise_STRENGTH."
        ),
    ] = None,
    far: Annotated[
        list[float] | None, typer.Option(help="Calibrated false acceptance rates; repeatable.")
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames sampled from each clip.")] = 40,
    teachers: Annotated[
        Path | None,
        typer.Option(
            help="Folder of mp_face_landmarks.onnx and mp_blendshapes.onnx, which read pose, gaze, "
            "landmarks and expression. Default: the configured attribute network."
        ),
    ] = None,
    networks: Annotated[
        bool,
        typer.Option(
            "--networks",
            help="Measure the conditioning encoder and, with --teachers, the attribute network "
            "instead of treatments.",
        ),
    ] = False,
    show_originals: ShowOption = False,
    target_oriented: TargetOption = None,
) -> None:
    """Measure how often faces are still recognized, and what they kept, beside the baselines.

    Reads pictures of people (several pictures of a person let the person be searched), clips with
    their outputs, or both. Writes EVALUATION.md, evaluation.html and sample grids. Exits 0.
    """
    from jobs.evaluate import EvaluateOptions, evaluate_clips, evaluate_faces, write_grid
    from jobs.facesets import load_face_set
    from jobs.keys import KEY_BYTES, key_from_file
    from jobs.models import first_detector
    from jobs.target_oriented import open_target_oriented, target_oriented_sha

    if faces is None and not clip:
        raise SetupError("nothing to evaluate: name a face set, or --clip SOURCE=OUTPUT")
    if faces is None and target_oriented is not None:
        raise SetupError("--target-oriented treats the pictures of a face set: name one")
    settings = config_of(config, overrides)
    paint = open_target_oriented(settings, target_oriented, subject or ())
    reader = attribute_reader(settings, teachers)
    out.mkdir(parents=True, exist_ok=True)
    figures: list[Figure] = []
    pictures = {}
    options = EvaluateOptions(
        eye_distances_px=tuple(eye_px) if eye_px else (0.0,),
        fars=tuple(far) if far else FARS,
        max_queries=max_queries,
        subjects=tuple(subject or ()),
        noise=tuple(noise or ()),
    )
    if faces is not None and networks:
        from jobs.evaluate_networks import network_figures

        loaded = load_face_set(faces, lambda: first_detector(settings), limit=limit)
        figures.extend(network_figures(settings, loaded, options.fars, teachers))
    elif faces is not None:
        loaded = load_face_set(faces, lambda: first_detector(settings), limit=limit)
        # a measurement needs no lasting identities: without a key file they are drawn anew
        key = secrets.token_bytes(KEY_BYTES) if key_file is None else key_from_file(key_file)
        result = evaluate_faces(settings, loaded, options, key, reader, paint)
        figures.extend(result.figures)
        for dataset, samples in result.samples.items():
            name = f"samples-{dataset.replace('@', '-')}.jpg"
            write_grid(out / name, samples, () if show_originals else ("untouched",))
            pictures[f"Samples, {dataset}"] = name
    if clip:
        figures.extend(evaluate_clips(settings, clip_pairs(clip), options, reader, frames))
    more = target_oriented_sha(target_oriented)
    write_report(figures, settings, out, pictures, lake, more_weights=more)


def attribute_reader(settings: JobConfig, teachers: Path | None) -> AttributeReader | None:
    """Return what reads attributes: third-party teachers, else our own network, else nothing."""
    from jobs.attribute_readers import TeacherReader
    from jobs.models import own_attribute_reader

    if teachers is not None:
        return TeacherReader(teachers, settings.inference.threads)
    return own_attribute_reader(settings)


def clip_pairs(clips: Sequence[str]) -> list[tuple[Path, Path]]:
    """Split `SOURCE=OUTPUT` arguments.

    Raises:
        SetupError: an argument has another form, or a file is missing.
    """
    pairs = []
    for text in clips:
        source, sign, output = text.partition("=")
        if not sign or not Path(source).is_file() or not Path(output).is_file():
            raise SetupError(f"--clip {text}: write SOURCE=OUTPUT, two files that exist")
        pairs.append((Path(source), Path(output)))
    return pairs


def attack(
    faces: FacesArgument,
    train: Annotated[Path, typer.Option(help="Faces of other people that attackers learn from.")],
    out: OutOption = Path("attack"),
    config: ConfigOption = None,
    overrides: SetOption = None,
    key_file: KeyFileOption = None,
    lake: EvaluationLakeOption = None,
    limit: LimitOption = None,
    quick: Annotated[
        bool,
        typer.Option(help="Small attackers, under an hour on two cores; says so in the output."),
    ] = False,
    defence: Annotated[
        list[str] | None, typer.Option(help="Attack only these treatments; may be repeated.")
    ] = None,
    target_oriented: TargetOption = None,
) -> None:
    """Train attackers on our own outputs and measure what they retrieve, beside the baselines.

    Needs the extra `train` (torch). Attackers see only --train; FACES are other people, used for
    the measurement alone. Writes ATTACK.md and attack.html to --out. Exits 0.
    """
    try:
        from jobs.attack import attack_faces
        from jobs.attack_options import AttackOptions
    except ModuleNotFoundError as error:
        raise SetupError(
            f"deid attack needs the module {error.name!r}: install the extra 'train', for example "
            "pip install 'deid-lake[train]'"
        ) from error
    from jobs.facesets import load_face_set
    from jobs.keys import key_of_run
    from jobs.models import first_detector
    from jobs.target_oriented import open_target_oriented, target_oriented_sha

    settings = config_of(config, overrides)
    paint = open_target_oriented(settings, target_oriented, defence or ())
    options = AttackOptions.quick() if quick else AttackOptions()
    loaded = load_face_set(faces, lambda: first_detector(settings), limit=limit)
    background = load_face_set(
        train, lambda: first_detector(settings), limit=options.n_train, keep_people_together=False
    )
    figures = attack_faces(
        settings, background, loaded, options, tuple(defence or ()), key_of_run(key_file), paint
    )
    out.mkdir(parents=True, exist_ok=True)
    more = target_oriented_sha(target_oriented)
    write_report(figures, settings, out, {}, lake, stem="attack", more_weights=more)


def write_report(
    figures: Sequence[Figure],
    settings: JobConfig,
    out: Path,
    pictures: dict[str, str],
    lake: str | None,
    stem: str = "evaluation",
    more_weights: Mapping[str, str] | None = None,
) -> None:
    """Print the tables, write them beside the HTML page, and append the rows to a lake.

    `more_weights` maps names to the sha256 of networks that the configuration does not name.
    """
    from jobs.evaluation_rows import Provenance, html_report, markdown, to_rows
    from jobs.lake.commits import acquire_lease, append
    from jobs.lake.tables import Lake
    from jobs.models import weights_in_use

    identifier = f"{stem}-{uuid.uuid4().hex[:12]}"
    weights = {**weights_in_use(settings), **(more_weights or {})}
    provenance = Provenance(identifier, command_line(), weights)
    text = markdown(figures, provenance)
    try:
        (out / f"{stem.upper()}.md").write_text(text, encoding="utf-8")
        page = html_report(figures, provenance, pictures)
        (out / f"{stem}.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{out}: cannot write the report: {error}") from error
    typer.echo(text)
    if lake is not None:
        tables = Lake(lake)
        tables.ensure()
        rows = to_rows(figures, provenance)
        append(tables, acquire_lease(tables, identifier, identifier), "evaluations", rows, seq=1)
    typer.echo(f"{len(figures)} figures; report in {out}", err=True)


def command_line() -> str:
    """Return the command as typed, with the program's short name."""
    return shlex.join(["deid", *sys.argv[1:]])
