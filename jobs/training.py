"""What the `deid train` commands do: load, train, save, export.

Imports torch; keep it out of the import path of other commands.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from deid_ops.anchors.bank import load_bank
from deid_ops.diffuse.denoiser import Denoiser
from deid_ops.errors import SetupError
from deid_ops.inference.session import Runtime
from deid_ops.models.encoder import CompactEncoder, TeacherEncoder, freeze, load_teacher
from deid_ops.models.facedancer import FaceDancer, FaceDancerConfig
from deid_ops.models.generator import LeakProofGenerator
from deid_ops.models.ship import (
    Shipped,
    ship_attributes,
    ship_denoiser,
    ship_encoder,
    ship_generator,
    ship_target_oriented,
)
from deid_ops.swap.generator import Generator
from deid_ops.swap.retarget import FaceShape
from deid_ops.train.attribute_lessons import OnlineLabeller, online_lessons, pose_chances
from deid_ops.train.attributes import AttributeTraining, shape_of_pack, train_attributes
from deid_ops.train.data import Pack
from deid_ops.train.distil import OnlineTeacher
from deid_ops.train.encoder import EncoderTraining, train_encoder
from deid_ops.train.facedancer import FaceDancerTraining, train_facedancer
from deid_ops.train.files import (
    blank_attributes,
    save_weights,
    start_from,
    trained,
    trained_encoder,
    trained_facedancer,
    use_threads,
)
from deid_ops.train.generator import train_generator
from deid_ops.train.loop import Budget
from deid_ops.train.painting import GeneratorTraining
from deid_ops.train.repaint import Repainter
from deid_ops.train.shape import pose_labels
from deid_ops.train.teachers import Teachers

log = logging.getLogger("deid.train")
TEACHER_FILE = "mobilefacenet_foamliu_ms1m.pt"
ATTRIBUTES_AVERAGE, SHAPE_FILE = "attributes_average.pt", "face_shape.npz"
ENCODER_AVERAGE, GENERATOR_AVERAGE = "encoder_average.pt", "generator_average.pt"
FACEDANCER_AVERAGE = "facedancer_average.pt"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What every training command shares."""

    data: Path
    out: Path
    steps: int
    seconds: float = 1e9
    resume: bool = False
    init_from: Path | None = None
    threads: int = 2
    batch: int | None = None
    rate: float | None = None  # learning rate
    #: set by SIGTERM and Ctrl-C; one for all where trainings follow one another
    asked_to_stop: threading.Event = field(default_factory=threading.Event)

    def budget(self) -> Budget:
        """Return the limits of this run; SIGTERM and Ctrl-C end it after the current step."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.asked_to_stop.set())
        return Budget(self.steps, self.seconds, stop=self.asked_to_stop.is_set)

    def prepare(self) -> Pack:
        """Set the threads, make the folder, open the data.

        Raises:
            SetupError: `--resume` and `--init-from` together.
        """
        if self.resume and self.init_from is not None:
            raise SetupError("--resume continues a checkpoint, --init-from begins anew: choose one")
        use_threads(self.threads)
        self.out.mkdir(parents=True, exist_ok=True)
        return Pack(self.data)

    def adjusted(self, config: Any) -> Any:
        """Return the settings with this run's batch size and learning rate."""
        asked = {"batch": self.batch, "rate": self.rate}
        return replace(config, **{k: v for k, v in asked.items() if v is not None})


def progress(total: int) -> Callable[[int, Mapping[str, float]], None]:
    """Return a reporter that logs steps and losses."""
    started = time.monotonic()

    def report(step: int, losses: Mapping[str, float]) -> None:
        text = " ".join(f"{name}={value:.4f}" for name, value in losses.items())
        log.info("step %d/%d %.0fs %s", step, total, time.monotonic() - started, text)

    return report


def run_attributes(
    options: RunOptions, teachers: Path | None = None, painters: Path | None = None
) -> None:
    """Train the attribute network: on what its teachers say of varied crops, or on the labels.

    Args:
        options: of this run.
        teachers: folder of the labelling networks; None fits the pack's labels.
        painters: folder of files by `deid train export`; some of the crops are painted by them.

    Raises:
        SetupError: painters without teachers, whose labels of painted faces no pack has.
    """
    if painters is not None and teachers is None:
        raise SetupError("--painters needs --teachers: no pack has labels of painted faces")
    pack, shape_file = options.prepare(), options.out / SHAPE_FILE
    if not shape_file.exists():
        shape_of_pack(pack).save(shape_file, {"pack": pack.meta["sha256"]["mesh_xyz_px"]})
    shape, config, lessons = FaceShape.load(shape_file), options.adjusted(AttributeTraining()), None
    if teachers is not None:
        expression = np.asarray(pack.columns["expression"][pack.rows(0)])
        labeller = OnlineLabeller(Teachers(teachers, options.threads), shape, expression)
        mesh = np.asarray(pack.columns["mesh_xyz_px"][pack.rows(0)])
        chances = pose_chances(pose_labels(mesh, shape, expression))
        repaint = None if painters is None else _repainter(painters, options.threads)
        lessons = online_lessons(pack, config.batch, labeller, chances=chances, repaint=repaint)
    net = train_attributes(
        pack,
        shape,
        config,
        options.budget(),
        options.out / "attributes.pt",
        time.monotonic,
        progress(options.steps),
        resume=options.resume,
        start_from=start_from(blank_attributes(), options.init_from),
        lessons=lessons,
    )
    save_weights(net, options.out / ATTRIBUTES_AVERAGE)


def _repainter(folder: Path, threads: int) -> Repainter:
    """Open the painters, the reader that feeds them and the anchors of an exported folder."""
    runtime = Runtime(threads=threads)
    painter, reader, denoiser = (
        str(folder / f"{name}.onnx") for name in ("generator", "attributes", "denoiser")
    )
    return Repainter(
        Generator(painter, reader, runtime),
        Denoiser(denoiser, runtime),
        load_bank(folder / "anchors.npz").vectors_unit,
    )


def run_encoder(options: RunOptions, teachers: Path | None = None) -> None:
    """Distil the conditioning encoder: from the teacher itself, or from the pack's labels."""
    pack, teacher = options.prepare(), None
    if teachers is not None:
        teacher = OnlineTeacher(load_teacher(teachers / TEACHER_FILE), options.threads)
    net = train_encoder(
        pack,
        options.adjusted(EncoderTraining()),
        options.budget(),
        options.out / "encoder.pt",
        time.monotonic,
        progress(options.steps),
        resume=options.resume,
        start_from=start_from(CompactEncoder(), options.init_from),
        teacher=teacher,
    )
    save_weights(net, options.out / ENCODER_AVERAGE)


def run_generator(
    options: RunOptions,
    attributes: Path,
    teachers: Path,
    student: Path | None,
    identity_from: float,
    anchors: Path | None = None,
) -> None:
    """Train generator and denoiser."""
    pack = options.prepare()
    encoders: list[TeacherEncoder | CompactEncoder] = [load_teacher(teachers / TEACHER_FILE)]
    if student is not None:
        encoders.append(freeze(trained_encoder(student / ENCODER_AVERAGE)))
    measuring = trained(blank_attributes(), attributes / ATTRIBUTES_AVERAGE).requires_grad_(False)
    net = train_generator(
        pack,
        FaceShape.load(attributes / SHAPE_FILE),
        encoders,
        measuring,
        options.adjusted(GeneratorTraining(identity_from=identity_from)),
        options.budget(),
        options.out / "generator.pt",
        time.monotonic,
        progress(options.steps),
        resume=options.resume,
        start_from=start_from(LeakProofGenerator(), options.init_from),
        anchors_unit=None if anchors is None else load_bank(anchors).vectors_unit,
    )
    save_weights(net, options.out / GENERATOR_AVERAGE)


def run_facedancer(options: RunOptions, teachers: Path, width: int) -> None:
    """Train the target-oriented reference."""
    pack, net_config = options.prepare(), FaceDancerConfig.of_width(width)
    net = train_facedancer(
        pack,
        load_teacher(teachers / TEACHER_FILE),
        options.adjusted(FaceDancerTraining()),
        options.budget(),
        options.out / "facedancer.pt",
        time.monotonic,
        progress(options.steps),
        resume=options.resume,
        net_config=net_config,
        start_from=start_from(FaceDancer(net_config), options.init_from),
    )
    save_weights(net, options.out / FACEDANCER_AVERAGE)


def run_export(
    out: Path,
    attributes: Path | None,
    encoder: Path | None,
    generator: Path | None,
    noise_ratios: tuple[float, float, float],
    facedancer: Path | None = None,
) -> dict[str, dict[str, float]]:
    """Write the ONNX files of the given training folders; returns size and parity of each."""
    about = {"licence": "Apache-2.0 for the file; the training data restricts use, see the card"}
    files: dict[str, Shipped] = {}
    if attributes is not None:
        net = trained(blank_attributes(), attributes / ATTRIBUTES_AVERAGE)
        shape = FaceShape.load(attributes / SHAPE_FILE)
        files["attributes"] = ship_attributes(net, shape, about)
    if encoder is not None:
        files["encoder"] = ship_encoder(trained_encoder(encoder / ENCODER_AVERAGE), about)
    if generator is not None:
        painter = trained(LeakProofGenerator(), generator / GENERATOR_AVERAGE)
        files["generator"] = ship_generator(painter, about)
        files["denoiser"] = ship_denoiser(painter, noise_ratios, about)
    if facedancer is not None:
        swap = trained_facedancer(facedancer / FACEDANCER_AVERAGE)
        files["target_oriented"] = ship_target_oriented(swap, about)
    out.mkdir(parents=True, exist_ok=True)
    result = {}
    for name, shipped in files.items():
        path = out / f"{name}.onnx"
        path.write_bytes(shipped.model.SerializeToString())
        result[name] = {
            "mb": round(path.stat().st_size / 1e6, 3),
            "parity_max": round(shipped.parity.largest, 6),
            "parity_mean": round(shipped.parity.mean, 6),
        }
    return result
