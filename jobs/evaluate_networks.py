"""Figures of the networks that serve the replacement: the conditioning encoder, the attributes.

They are measured on a face set of people who took part in no training: the encoder by telling its
people apart, the attribute network beside the teachers it learned from, before and after its
landmarks are drawn anew on the mean face. The last row is the floor: what dropping a person's
shape, all but its length, costs even if every landmark were read perfectly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from deid_ops.errors import SetupError
from deid_ops.judge.verification import (
    area_under_curve_estimate,
    equal_error_rate,
    person_pairs,
    threshold_at_far,
    true_acceptance,
)
from deid_ops.metrics.attributes import (
    expression_distance,
    landmark_shift_percent,
    rotation_angle_deg,
    rotation_from_euler,
)
from deid_ops.metrics.faceset import FaceSet
from deid_ops.metrics.figures import Figure, far_name
from deid_ops.metrics.stats import mean_estimate, rate
from deid_ops.swap.attributes import AttributeReader as AttributeNetwork
from deid_ops.swap.attributes import Attributes
from deid_ops.swap.conditions import to_planes
from deid_ops.swap.crop import EYE_DISTANCE_PX
from deid_ops.swap.retarget import FaceShape, retarget
from deid_ops.train.shape import layout_points, pose_labels
from deid_ops.train.teachers import MESH_SIZE_PX, Teachers, mean_mesh
from deid_ops.types import F32, U8, Bool
from jobs.attribute_readers import gaze_of_points
from jobs.config import JobConfig
from jobs.models import conditioning_encoder, runtime_of
from jobs.weights import resolve

AUC_BAR = 0.985
_BATCH = 32


def network_figures(
    config: JobConfig, faces: FaceSet, fars: tuple[float, ...], teachers: Path | None
) -> Iterator[Figure]:
    """Yield what encoder and attribute network are worth on a face set.

    Args:
        config: names both.
        faces: several pictures of some people.
        fars: operating points of the encoder; the thresholds come from the set's own strangers.
        teachers: folder of the labelling networks; None leaves the attributes out.

    Raises:
        SetupError: neither network is configured, or nobody has two pictures.
    """
    encoder = conditioning_encoder(config)
    if encoder is None:
        raise SetupError("--networks measures replace.encoder and replace.attributes: set them")
    pairs = zip(faces.images_bgr, faces.landmarks_xy_px, strict=True)
    vectors = np.concatenate([encoder.embed(image, points[None]) for image, points in pairs])
    yield from encoder_figures(vectors, faces, fars)
    if teachers is not None and config.replace.attributes is not None:
        network = AttributeNetwork(str(resolve(config.replace.attributes)), runtime_of(config))
        labellers = Teachers(teachers, config.inference.threads)
        yield from agreement_figures(network, labellers, faces)


def encoder_figures(vectors: F32, faces: FaceSet, fars: tuple[float, ...]) -> Iterator[Figure]:
    """Yield AUC, EER and true acceptance of unit vectors [n, d] over all pairs of a set.

    Raises:
        SetupError: nobody has two pictures.
    """
    impostor, genuine = person_pairs(vectors, faces.person)
    if len(genuine) == 0 or len(impostor) == 0:
        raise SetupError(f"{faces.name}: nobody has two pictures, so no encoder can be measured")
    name = "conditioning_encoder"
    auc = area_under_curve_estimate(impostor, genuine)
    yield Figure("verification", name, faces.name, None, "auc", auc, "higher", 0.5, AUC_BAR)
    eer = equal_error_rate(impostor, genuine).rate
    errors = rate(round(eer * len(genuine)), len(genuine))
    yield Figure("verification", name, faces.name, None, "eer", errors, "lower", 0.5)
    for far in fars:
        threshold = threshold_at_far(impostor, far).threshold
        accepted = true_acceptance(genuine, threshold)
        yield Figure(
            "verification", name, faces.name, None, far_name("tar", far), accepted, "higher", far,
            params={"threshold": threshold, "impostor_pairs": float(len(impostor))},
        )  # fmt: skip


def agreement_figures(
    network: AttributeNetwork, teachers: Teachers, faces: FaceSet
) -> Iterator[Figure]:
    """Yield how far the network's reading is from its teachers' on every face they are sure of.

    Raises:
        SetupError: they are sure of none.
    """
    shape = network.shape
    wanted, sure = _read_by_teachers(teachers, shape, faces)
    if not sure.any():
        raise SetupError(f"{faces.name}: the teachers see no face in any picture")
    seen = _joined([network.read(to_planes(c)) for c in _batches(faces.aligned()[sure])])
    for subject, reading in (
        ("attributes", seen),
        ("attributes_retargeted", _retargeted(shape, seen)),
        ("teachers_retargeted", _retargeted(shape, wanted)),
    ):
        yield from _differences(reading, wanted, subject, faces.name)


def _read_by_teachers(
    teachers: Teachers, shape: FaceShape, faces: FaceSet
) -> tuple[Attributes, Bool]:
    """Return the teachers' reading of the faces they are sure of, and which of all those are."""
    parts, sure = [], []
    for crops in _batches(faces.aligned(MESH_SIZE_PX)):
        mesh, presence = mean_mesh(teachers, crops[..., ::-1])
        present = presence >= 0.5
        mesh = mesh[present]
        expression = teachers.expression(mesh)
        points = layout_points(mesh)
        parts.append(Attributes(points, pose_labels(mesh, shape, expression), expression))
        sure.append(present)
    return _joined(parts), np.concatenate(sure)


def _batches(crops: U8) -> Iterator[U8]:
    return (crops[i : i + _BATCH] for i in range(0, len(crops), _BATCH))


def _joined(parts: Sequence[Attributes]) -> Attributes:
    return Attributes(
        np.concatenate([part.points_px for part in parts]),
        np.concatenate([part.pose_deg for part in parts]),
        np.concatenate([part.expression for part in parts]),
    )


def _retargeted(shape: FaceShape, reading: Attributes) -> Attributes:
    points = retarget(shape, reading.points_px, reading.pose_deg, reading.expression)
    return Attributes(points, reading.pose_deg, reading.expression)


def _differences(
    reading: Attributes, wanted: Attributes, subject: str, dataset: str
) -> Iterator[Figure]:
    eyes_px = np.full(len(reading.points_px), EYE_DISTANCE_PX, dtype=np.float32)
    turned = (rotation_from_euler(a.pose_deg) for a in (wanted, reading))
    gaze = [gaze_of_points(a.points_px) for a in (wanted, reading)]
    values = {
        "landmark_shift_percent": landmark_shift_percent(
            wanted.points_px, reading.points_px, eyes_px
        ),
        "pose_error_deg": rotation_angle_deg(*turned),
        "gaze_shift_deg": np.linalg.norm(gaze[1] - gaze[0], axis=1),
        "expression_l2": expression_distance(wanted.expression, reading.expression),
    }
    for metric, value in values.items():
        yield Figure("agreement", subject, dataset, None, metric, mean_estimate(value), "lower")
