"""What the attribute network is taught with: crops, landmarks, pose and expression.

Two sources. *Stored*: the pack's labels of the clean crops, moved along with a jitter. *Online*:
the teachers look at the very picture the student sees, so it may be bent, mixed and degraded at
will (`variations.py`). The second is what carries over to strangers and to footage: a fixed set is
learnt by heart, and labels of clean crops say nothing about how a small, packed face is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from torch import Tensor

from deid_ops.swap.retarget import FaceShape
from deid_ops.train.augment import (
    Jitter,
    lower_resolution,
    mirror_some,
    move_points,
    photometric,
    random_similarity,
    warp,
)
from deid_ops.train.data import Pack, evenly
from deid_ops.train.loop import to_float01
from deid_ops.train.shape import layout_points, pose_labels
from deid_ops.train.teachers import MESH_SIZE_PX, Teachers, mean_mesh
from deid_ops.train.variations import WHOLE_CROP, Variations, varied_pictures
from deid_ops.types import F32, F64, I64, U8

FOR_ATTRIBUTES = Variations(
    morph=0.3,
    by_region=0.8,
    turn_deg=45.0,
    rotation_deg=12.0,
    scale=0.12,
    stretch=0.12,
    shift_px=6.5,
    bend_px=1.2,
    contrast=0.3,
    brightness=0.12,
    footage=0.6,
    degrade=0.5,
    window=WHOLE_CROP,
)
_TURN_DEG = 15.0  # a face turned so far from the mean pose is drawn twice as often
_OFTEN = 6.0  # at most so many times as often
_SURE = 0.5  # of the mesh network's presence; below it sees no face and its points mean nothing


@dataclass(frozen=True, slots=True)
class AttributeLabels:
    """Crops and labels of the chosen rows, in memory."""

    crops_rgb: U8  # [n, 128, 128, 3]
    points_px: F32  # [n, 136, 2]
    pose_deg: F32  # [n, 3]
    expression: F32  # [n, 52]

    def take(self, rows: I64) -> AttributeLabels:
        """Return the labels of some faces."""
        return AttributeLabels(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class AttributeLesson:
    """A batch of pictures and what the teachers say about them."""

    images01: Tensor  # [n, 3, 128, 128]
    points_px: Tensor  # [n, 136, 2]
    pose_deg: Tensor  # [n, 3]
    expression: Tensor  # [n, 52]

    @classmethod
    def of(cls, labels: AttributeLabels) -> AttributeLesson:
        """Return labelled crops as they are."""
        values = (labels.points_px, labels.pose_deg, labels.expression)
        return cls(to_float01(labels.crops_rgb), *(torch.from_numpy(v) for v in values))


Lessons = Callable[[np.random.Generator], AttributeLesson]


class OnlineLabeller:
    """The mesh and expression teachers, asked about crops while the student learns.

    Args:
        teachers: the labelling networks.
        shape: the mean face; poses are against it.
        expression: [m, 52] of the training set. The mean face is bent by its mean, as for the
            stored labels, so that a pose does not depend on the batch it is read in.
    """

    def __init__(self, teachers: Teachers, shape: FaceShape, expression: F32) -> None:
        self._teachers, self._shape = teachers, shape
        self._mean_expression = expression.mean(axis=0, keepdims=True)

    def __call__(self, crops_rgb: U8) -> AttributeLabels:
        """Label crops [n, 128, 128, 3] by both readings; those without a face are left out."""
        size = (MESH_SIZE_PX, MESH_SIZE_PX)
        fine = np.stack([cv2.resize(c, size, interpolation=cv2.INTER_LINEAR) for c in crops_rgb])
        mesh, presence = mean_mesh(self._teachers, fine)
        sure = presence >= _SURE
        mesh = mesh[sure]
        return AttributeLabels(
            crops_rgb[sure],
            layout_points(mesh),
            pose_labels(mesh, self._shape, self._mean_expression),
            self._teachers.expression(mesh),
        )


def load_labels(
    pack: Pack, shape: FaceShape, split: int, most: int | None = None
) -> AttributeLabels:
    """Read one split of a pack, or `most` of its faces, taken evenly over its sources."""
    rows = pack.rows(split)
    if most is not None:
        rows = evenly(rows, most)
    mesh = np.asarray(pack.columns["mesh_xyz_px"][rows])
    expression = np.asarray(pack.columns["expression"][rows])
    return AttributeLabels(
        np.asarray(pack.columns["crops_rgb"][rows]),
        layout_points(mesh),
        pose_labels(mesh, shape, expression),
        expression,
    )


def stored_lessons(labels: AttributeLabels, batch: int) -> Lessons:
    """Return a source of lessons from the labels of a pack."""

    def lesson(rng: np.random.Generator) -> AttributeLesson:
        rows = rng.integers(0, len(labels.points_px), batch)
        return jittered(AttributeLesson.of(labels.take(rows)), rng)

    return lesson


def pose_chances(pose_deg: F32) -> F64:
    """Return how often each face is drawn, [n], sum 1: turned ones more often.

    Portraits look into the camera, people in a street do not.

    Args:
        pose_deg: [n, 3] roll, pitch, yaw of the faces.

    Example:
        >>> pose_chances(np.float32([[0, 0, 0], [0, 0, 0], [0, 0, 90]])).round(2).tolist()
        [0.12, 0.12, 0.75]
    """
    turned = pose_deg[:, 1:].astype(np.float64) - np.median(pose_deg[:, 1:], axis=0)
    weight = np.minimum(1.0 + np.square(turned).sum(axis=1) / _TURN_DEG**2, _OFTEN)
    chances: F64 = weight / weight.sum()
    return chances


def online_lessons(
    pack: Pack,
    batch: int,
    labeller: Callable[[U8], AttributeLabels],
    variations: Variations = FOR_ATTRIBUTES,
    chances: F64 | None = None,
    repaint: Callable[[U8, np.random.Generator], U8] | None = None,
) -> Lessons:
    """Return a source of lessons that the teachers give on varied pictures.

    Pictures in which they see no face are left out, so a lesson may be shorter than `batch`.

    Args:
        pack: the faces.
        batch: pictures of a lesson.
        labeller: the teachers.
        variations: of the pictures.
        chances: [n] of each training face to be drawn; None draws all alike.
        repaint: paints other people over some of the faces, see `repaint.py`.
    """
    draw = varied_pictures(pack, batch, variations, chances)

    def lesson(rng: np.random.Generator) -> AttributeLesson:
        pictures = draw(rng)
        return AttributeLesson.of(labeller(repaint(pictures, rng) if repaint else pictures))

    return lesson


def jittered(lesson: AttributeLesson, rng: np.random.Generator) -> AttributeLesson:
    """Return the crops jittered and their labels moved along."""
    jitter, n = Jitter(), len(lesson.images01)
    mirrored = torch.from_numpy(rng.random(n) < 0.5)
    images, points, pose, expression = mirror_some(
        mirrored, lesson.images01, lesson.points_px, lesson.pose_deg, lesson.expression
    )
    matrix = random_similarity(n, rng, jitter)
    roll = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    pose = pose + torch.stack([roll, torch.zeros_like(roll), torch.zeros_like(roll)], 1)
    images = photometric(lower_resolution(warp(images, matrix), rng, jitter), rng, jitter)
    return AttributeLesson(images, move_points(points, matrix), pose, expression)
