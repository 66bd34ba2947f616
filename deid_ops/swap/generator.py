"""The swap at run time: (crop, anchor) -> crop of a person who does not exist."""

from __future__ import annotations

import numpy as np

from deid_ops.errors import InvariantError
from deid_ops.inference.contracts import check_contract
from deid_ops.inference.session import CPU, Runtime
from deid_ops.swap.attributes import BUCKETS, AttributeReader
from deid_ops.swap.conditions import (
    FaceConditions,
    detail_of,
    generator_feeds,
    to_bgr,
    to_planes,
)
from deid_ops.swap.contract import GENERATOR, IDENTITY_DIM
from deid_ops.swap.crop import CROP_SIZE_PX, as_shown
from deid_ops.swap.face_mask import face_masks
from deid_ops.swap.layout import five_points
from deid_ops.swap.lips import muted_lips
from deid_ops.swap.retarget import retarget
from deid_ops.types import F32, U8, Bool


class Generator:
    """The leak-proof generator with the attribute network that feeds it.

    Args:
        path: generator, contract `swap/contract.py: GENERATOR`.
        attributes_path: attribute network, contract `ATTRIBUTES`.
        runtime: provider and threads.

    Raises:
        SetupError: a file is missing or does not fit its contract.

    Example:
        >>> swap = Generator("generator.onnx", "attributes.onnx")  # doctest: +SKIP
        >>> told = swap.read(crops_bgr)  # doctest: +SKIP
        >>> told = aim_each(swap, crops_bgr, told, anchors_unit, matrices)  # doctest: +SKIP
        >>> swap(crops_bgr, told, anchors_unit).shape  # doctest: +SKIP
        (7, 128, 128, 3)
    """

    def __init__(
        self,
        path: str,
        attributes_path: str,
        runtime: Runtime = CPU,
    ) -> None:
        self._model = runtime.open(path, BUCKETS, path)
        check_contract(self._model, GENERATOR)
        self._attributes = AttributeReader(attributes_path, runtime)

    @property
    def provider(self) -> str:
        """What the generator really runs on."""
        return self._model.provider

    def read(self, crops_bgr: U8) -> FaceConditions:
        """Read what may be known of original faces.

        Args:
            crops_bgr: [n, 128, 128, 3] crops of `deid_ops/swap/crop.py`.
        """
        planes = to_planes(crops_bgr)
        points = self._posed_mean_face(planes)
        return FaceConditions(points, detail_of(planes, face_masks(points)))

    def find_points(self, crops_bgr: U8) -> F32:
        """Find the faces in crops [n, 128, 128, 3]: eyes, nose and mouth corners [n, 5, 2], px.

        They are the mean face's, in the person's pose: whose face it is moves them little.
        """
        return five_points(self._posed_mean_face(to_planes(crops_bgr)))

    def _posed_mean_face(self, planes_rgb: F32) -> F32:
        """Return the mean face in the pose, expression, gaze and length of crops, [n, 136, 2]."""
        seen = self._attributes.read(planes_rgb)
        return retarget(self._attributes.shape, seen.points_px, seen.pose_deg, seen.expression)

    def missed_px(
        self,
        crops_bgr: U8,
        wanted: FaceConditions,
        told: FaceConditions,
        anchors_unit: F32,
        crop_from_frame: F32,
    ) -> F32:
        """Return how far landmarks are from where they are painted to where they should be.

        Args:
            crops_bgr: [n, 128, 128, 3], as for painting.
            wanted: of the original faces.
            told: what they are painted from.
            anchors_unit: [n, 128].
            crop_from_frame: [n, 2, 3], where they will lie; see `as_shown`.

        Returns:
            [n, 136, 2], as the attribute network sees it.

        Raises:
            InvariantError: a shape or a length differs.
        """
        painted = as_shown(self(crops_bgr, told, anchors_unit), crop_from_frame)
        return wanted.points_px - self._posed_mean_face(to_planes(painted))

    def __call__(self, crops_bgr: U8, conditions: FaceConditions, anchors_unit: F32) -> U8:
        """Paint the anchors' identities.

        Args:
            crops_bgr: [n, 128, 128, 3]; only the surroundings and the 8x8 light are looked at.
            conditions: of the original faces, `n` of them.
            anchors_unit: [n, 128].

        Returns:
            [n, 128, 128, 3] BGR; outside the faces' masks the input's own pixels.

        Raises:
            InvariantError: a shape or a length differs.
        """
        check_crops(crops_bgr, anchors_unit)
        check_conditions(conditions, len(crops_bgr))
        feeds = generator_feeds(to_planes(crops_bgr), conditions, anchors_unit)
        return finished(self._model.run(feeds)["crop_rgb"], conditions, crops_bgr)


def finished(painted_rgb: F32, conditions: FaceConditions, crops_bgr: U8) -> U8:
    """Turn what a painter returns into crops [n, 128, 128, 3] as they may be published.

    Args:
        painted_rgb: [n, 3, 128, 128] in [0, 1].
        conditions: what was painted from.
        crops_bgr: [n, 128, 128, 3] into which.
    """
    painted = muted_lips(to_bgr(painted_rgb), conditions.points_px)
    return painted_inside(conditions.masks(), painted, crops_bgr)


def painted_inside(masks: Bool, painted_bgr: U8, crops_bgr: U8) -> U8:
    """Return the painted crops inside the masks [n, 128, 128], the given ones outside.

    Only what lies inside is published, so only that may be judged, whatever a file paints.
    """
    return np.where(masks[..., None], painted_bgr, crops_bgr)


def check_conditions(conditions: FaceConditions, n: int) -> None:
    """Refuse conditions of another number of faces.

    Raises:
        InvariantError: they are not of `n` faces.
    """
    if len(conditions) != n:
        raise InvariantError(f"{n} crops, but conditions of {len(conditions)} faces")


def check_crops(crops_bgr: U8, anchors_unit: F32) -> None:
    """Refuse crops other than [n, 128, 128, 3] uint8 and anchors other than [n, 128].

    Raises:
        InvariantError: a shape, a type or a length differs.
    """
    n = len(crops_bgr)
    want = (n, CROP_SIZE_PX, CROP_SIZE_PX, 3)
    if crops_bgr.shape != want or crops_bgr.dtype != np.uint8:
        raise InvariantError(f"crops are {crops_bgr.dtype}{crops_bgr.shape}, expected uint8{want}")
    if anchors_unit.shape != (n, IDENTITY_DIM):
        raise InvariantError(f"anchors are {anchors_unit.shape}, expected ({n}, {IDENTITY_DIM})")
