"""The find pass on one segment: detections, then boxes for every frame."""

from __future__ import annotations

from collections.abc import Iterator

from deid_ops.detect.base import Detector
from deid_ops.detect.faces import DetectParams, find_faces
from deid_ops.identity.encoders import Encoder
from deid_ops.types import U8, Faces, Span
from deid_ops.video.child import DecodeLimits, open_frames


def detect_segment(
    path: str,
    span: Span,
    rotation_deg: int,
    detector: Detector,
    encoder: Encoder | None,
    params: DetectParams,
    limits: DecodeLimits | None,
) -> Faces:
    """Decode a span and return the faces of every frame, in coded frame pixels.

    Raises:
        InputError: the span cannot be decoded to its end.
    """
    with open_frames(path, span, "bgr", limits) as frames:
        images: Iterator[tuple[int, U8]] = ((f.index, f.bgr) for f in frames if f.bgr is not None)
        return find_faces(images, detector, encoder, params, rotation_deg)
