"""`deid evaluate`: identity, utility and realism of a treatment beside the baselines.

Protocols are in `deid_ops.judge.protocol` and `deid_ops.metrics.utility`; here sets, models and
subjects are put together. Originals and embeddings stay in memory; what is written are figures,
and sample grids of outputs (originals only on demand).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from deid_ops.attacks.defences import Treated, apply_defence, baselines
from deid_ops.detect.base import Detector
from deid_ops.errors import SetupError
from deid_ops.judge.protocol import (
    Comparison,
    Judge,
    people_with_two_pictures,
    privacy_figures,
    realism_figure,
)
from deid_ops.metrics.faceset import FaceSet
from deid_ops.metrics.figures import Figure
from deid_ops.metrics.stats import rate
from deid_ops.metrics.utility import (
    READER_SIZE_PX,
    AttributeReader,
    FaceAttributes,
    attribute_figures,
    found_again_figure,
    psnr_outside_figure,
)
from deid_ops.swap.crop import EYE_DISTANCE_PX
from deid_ops.types import F32, I64, U8, Bool
from jobs.compared_faces import RankedPeople, above_chance
from jobs.config import JobConfig
from jobs.evaluate_clips import evaluate_clip
from jobs.evaluate_ours import OwnReplacement, redact_defence
from jobs.models import calibration_file, first_detector, judge_encoders
from jobs.target_oriented import TARGET_ORIENTED, PaintAnchors, TargetOriented

_LOG = logging.getLogger("deid.evaluate")
REDACTED_BAR = 0.15


@dataclass(frozen=True)
class EvaluateOptions:
    """What is measured.

    Attributes:
        eye_distances_px: faces are shrunk to these sizes; 0 keeps them as they are.
        fars: operating points; each must be calibrated.
        max_queries: treated pictures per set; None treats everyone with two pictures.
        subjects: names to measure; empty for all.
        noise: further noise strengths of the denoiser, measured without the judge.
        seed: of baselines' randomness and of the choice of queries.
    """

    eye_distances_px: tuple[float, ...] = (0.0,)
    fars: tuple[float, ...] = (1e-2, 1e-3, 1e-4)
    max_queries: int | None = None
    subjects: tuple[str, ...] = ()
    noise: tuple[float, ...] = ()
    seed: int = 1


@dataclass
class Evaluation:
    """Figures and, per data set, a few outputs of every subject for the sample grid."""

    figures: list[Figure] = field(default_factory=list)
    samples: dict[str, dict[str, U8]] = field(default_factory=dict)


def evaluate_faces(
    config: JobConfig,
    faces: FaceSet,
    options: EvaluateOptions,
    secret_key: bytes,
    reader: AttributeReader | None,
    paint: PaintAnchors | None = None,
) -> Evaluation:
    """Measure every subject on a face set at every size.

    Args:
        config: names judges, detector and, where there is one, the generator.
        faces: people who took part in no training; several pictures of some.
        options: sizes, operating points, subjects.
        secret_key: decides the anchors of `ours`.
        reader: reads pose, gaze, landmarks and expression; None leaves them out.
        paint: the target-oriented swap; None leaves the subject out.

    Raises:
        SetupError: nobody has two pictures, or a subject's name is unknown, or `paint` is given
            where no replacement is configured.
    """
    models = _Models(config, reader)
    own = None if config.replace.generator is None else OwnReplacement(config, secret_key)
    target = None if paint is None else TargetOriented(paint, own)
    evaluation = Evaluation()
    for size in options.eye_distances_px:
        sized = faces.shrunk(size) if size > 0 else faces
        with_two = people_with_two_pictures(sized.person)
        if len(with_two) == 0:
            raise SetupError(f"{faces.name}: nobody has two pictures, so nobody can be searched")
        queries = _drawn(with_two, options)
        known = _Known(models, sized, queries)
        samples: dict[str, U8] = {}
        asked = sized.take(queries)
        for subject, treated, replaced in _subjects(asked, config, own, target, options):
            _LOG.info("%s: %s, %d faces", sized.name, subject, len(queries))
            evaluation.figures.extend(known.measure(subject, treated, replaced, options))
            samples[subject] = _sample_crops(treated.faces)
        evaluation.samples[sized.name] = samples
    return evaluation


def evaluate_clips(
    config: JobConfig,
    pairs: Sequence[tuple[Path, Path]],
    options: EvaluateOptions,
    reader: AttributeReader | None,
    n_frames: int,
) -> list[Figure]:
    """Measure outputs of `deid run` against their sources, see `evaluate_clip`.

    A source that is named more than once has several releases, which are pooled. With several
    sources come figures over all of their people.
    """
    models = _Models(config, reader)
    releases: dict[Path, list[Path]] = {}
    for source, output in pairs:
        releases.setdefault(source, []).append(output)
    figures: list[Figure] = []
    people: list[RankedPeople] = []
    for source, outputs in releases.items():
        _LOG.info("%s: %s", source, ", ".join(map(str, outputs)))
        of_clip, ranked = evaluate_clip(
            source, outputs, models.judges, models.detector, reader, options.fars, n_frames
        )
        figures += of_clip
        people += ranked
    return [*figures, *(above_chance(people) if len(releases) > 1 else ())]


def _drawn(rows: I64, options: EvaluateOptions) -> I64:
    if options.max_queries is None or len(rows) <= options.max_queries:
        return rows
    rng = np.random.default_rng(options.seed)
    return np.sort(rng.choice(rows, options.max_queries, replace=False)).astype(np.int64)


def _subjects(
    faces: FaceSet,
    config: JobConfig,
    own: OwnReplacement | None,
    target: TargetOriented | None,
    options: EvaluateOptions,
) -> Iterator[tuple[str, Treated, Bool]]:
    """Yield name, treated set and which faces were replaced rather than redacted."""
    everyone = np.ones(len(faces), dtype=np.bool_)
    plain = (*baselines(), redact_defence(config))
    own_names = {"ours", *own.unjudged(options.noise)} if own else set()
    have = {d.name for d in plain} | own_names | ({TARGET_ORIENTED} if target else set())
    unknown = set(options.subjects) - have
    if unknown:
        raise SetupError(f"no subject {sorted(unknown)}; there are {', '.join(sorted(have))}")
    for defence in plain:
        if not options.subjects or defence.name in options.subjects:
            yield defence.name, apply_defence(faces, defence, options.seed), everyone
    if target is not None and (not options.subjects or TARGET_ORIENTED in options.subjects):
        yield TARGET_ORIENTED, target.treated(faces), everyone
    wanted = own_names & set(options.subjects) if options.subjects else own_names
    if own is not None and wanted:
        for name, replacement in own.subjects(faces, wanted, options.noise):
            yield name, replacement.treated, replacement.swapped


class _Models:
    """Judges, detector and attribute reader."""

    def __init__(self, config: JobConfig, reader: AttributeReader | None) -> None:
        thresholds = calibration_file()
        self.judges = [
            Judge(name, encoder.embed, thresholds)
            for name, encoder in judge_encoders(config).items()
        ]
        self.detector: Detector = first_detector(config)
        self.reader = reader

    def found(self, faces: FaceSet) -> Bool:
        """Tell for each picture whether a face is detected at the place of the landmarks."""
        result = np.zeros(len(faces), dtype=np.bool_)
        for i, (image, marks) in enumerate(
            zip(faces.images_bgr, faces.landmarks_xy_px, strict=True)
        ):
            hits = self.detector.detect([image])[0]
            x, y = marks.mean(axis=0)
            boxes = hits.boxes_xyxy_px
            inside = (boxes[:, 0] <= x) & (x <= boxes[:, 2]) & (boxes[:, 1] <= y)
            inside &= (y <= boxes[:, 3]) & (hits.score >= _SURE)
            result[i] = bool(inside.any())
        return result

    def attributes(self, faces: FaceSet) -> FaceAttributes | None:
        """Read attributes of every face, or None without a reader."""
        return None if self.reader is None else self.reader.read(_sample_crops(faces, len(faces)))


_SURE = 0.5


class _Known:
    """What is measured once on the originals of a set, and each subject against it."""

    def __init__(self, models: _Models, faces: FaceSet, queries: I64) -> None:
        self.models, self.faces, self.queries = models, faces, queries
        self.asked = faces.take(queries)
        self.galleries: dict[str, F32] = {j.name: j.vectors(faces) for j in models.judges}
        self.found = models.found(self.asked)
        self.attributes = models.attributes(self.asked)

    def measure(
        self, subject: str, treated: Treated, replaced: Bool, options: EvaluateOptions
    ) -> Iterator[Figure]:
        """Yield every figure of one subject."""
        dataset = self.faces.name
        for judge in self.models.judges:
            gallery = self.galleries[judge.name]
            compared = Comparison(
                judge,
                gallery,
                self.faces.person,
                self.queries,
                judge.vectors(treated.faces),
                self.asked.eye_distance_px,
            )
            yield from privacy_figures(compared, subject, dataset, options.fars)
            if len(self.queries) >= 50:
                original = gallery[self.queries]
                yield realism_figure(judge.name, original, compared.output, subject, dataset)
        yield from self._utility(subject, treated, replaced)

    def _utility(self, subject: str, treated: Treated, replaced: Bool) -> Iterator[Figure]:
        dataset, n = self.faces.name, len(replaced)
        if subject.startswith("ours"):
            lost = rate(int((~replaced).sum()), n)
            yield Figure(
                "utility", subject, dataset, None, "redacted_share", lost, "lower", bar=REDACTED_BAR
            )
        after = self.models.found(treated.faces)
        if (self.found & replaced).any():
            name = self.models.detector.name
            yield found_again_figure(self.found & replaced, after, subject, dataset, name)
        outputs = self.models.attributes(treated.faces)
        if outputs is not None and self.attributes is not None and self.models.reader is not None:
            before, later = (_rows(a, replaced) for a in (self.attributes, outputs))
            # the reader sees the crop at twice its size, but answers in crop pixels
            yield from attribute_figures(
                before, later, EYE_DISTANCE_PX, subject, dataset, self.models.reader.name
            )
        outside = psnr_outside_figure(
            self.asked.images_bgr, treated.faces.images_bgr, treated.changed, subject, dataset
        )
        if outside is not None:
            yield outside


def _rows(attributes: FaceAttributes, rows: Bool) -> FaceAttributes:
    return FaceAttributes(
        attributes.points_xy_px[rows],
        attributes.rotation[rows],
        attributes.gaze_deg[rows],
        attributes.expression[rows],
        attributes.present[rows],
    )


def _sample_crops(faces: FaceSet, n: int = 8) -> U8:
    """Return the first faces aligned at 256 px, `[n, 256, 256, 3]`."""
    return faces.take(range(min(n, len(faces)))).aligned(READER_SIZE_PX)


def write_grid(path: Path, samples: dict[str, U8], hidden: Sequence[str] = ("untouched",)) -> None:
    """Write one row of faces per subject.

    Args:
        path: a JPEG to write.
        samples: subject to `[n, 256, 256, 3]`.
        hidden: subjects left out: originals are shown on demand only.
    """
    rows = []
    for subject, crops in samples.items():
        if subject in hidden:
            continue
        label = np.full((READER_SIZE_PX // 2, 150, 3), 255, np.uint8)
        cv2.putText(label, subject, (4, 68), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1)
        small = [cv2.resize(c, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for c in crops]
        rows.append(np.hstack([label, *small]))
    if rows and not cv2.imwrite(str(path), np.vstack(rows)):
        raise SetupError(f"{path}: cannot write the sample grid")
