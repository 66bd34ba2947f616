"""Make a detector from its configured name."""

from __future__ import annotations

from collections.abc import Sequence

from deid_ops.detect.base import Detector
from deid_ops.detect.centerface import CenterFace
from deid_ops.detect.faces import DetectParams
from deid_ops.detect.mtcnn import Mtcnn
from deid_ops.detect.scores import scores_for
from deid_ops.detect.scrfd import Scrfd
from deid_ops.detect.tiles import TiledDetector
from deid_ops.detect.yunet import YuNet
from deid_ops.errors import SetupError
from deid_ops.inference.session import Runtime

DETECTORS = ("centerface", "yunet", "scrfd", "mtcnn")


def build_detector(
    kind: str,
    model_paths: str | Sequence[str],
    runtime: Runtime,
    params: DetectParams,
) -> Detector:
    """Open a detector's network or networks.

    Args:
        kind: one of `DETECTORS`.
        model_paths: one file, for `mtcnn` three (`pnet.pt`, `rnet.pt`, `onet.pt`).
        runtime: provider, threads and memory limit.
        params: the same that `find_faces` gets. The detector returns weak hits too (see
            `scores.Scores`); `find_faces` keeps those that are confirmed.

    Raises:
        SetupError: an unknown kind, a missing file, a file that is not that network.
    """
    paths = [model_paths] if isinstance(model_paths, str) else [str(p) for p in model_paths]
    if kind not in DETECTORS:
        raise SetupError(f"detector {kind!r} is unknown; choose from {', '.join(DETECTORS)}")
    wanted = 3 if kind == "mtcnn" else 1
    if len(paths) != wanted:
        raise SetupError(f"detector {kind!r} needs {wanted} weight file(s), got {paths}")
    weak = scores_for(kind, params.score_min, params.score_sure).weak
    detector: Detector
    if kind == "centerface":
        detector = CenterFace(
            paths[0],
            score_min=weak,
            nms_iou=params.nms_iou,
            batch=params.batch,
            runtime=runtime,
        )
    elif kind == "yunet":
        detector = YuNet(
            paths[0],
            score_min=weak,
            nms_iou=params.nms_iou,
            batch=params.batch,
            runtime=runtime,
        )
    elif kind == "scrfd":
        detector = Scrfd(paths[0], score_min=weak, nms_iou=params.nms_iou, runtime=runtime)
    else:
        smallest = max(params.min_face_px, 12.0)
        detector = Mtcnn(paths, score_min=weak, min_face_px=smallest, runtime=runtime)
    return TiledDetector(detector, params.tile_px, params.overlap_px, params.nms_iou)
