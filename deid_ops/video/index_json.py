"""`VideoIndex` as JSON: it crosses the border of the decoder process in this form."""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from typing import Any

from deid_ops.video.index import StreamFacts, VideoFacts, VideoIndex

_FRACTIONS = ("time_base", "average_rate", "sample_aspect_ratio")


def index_to_json(index: VideoIndex) -> dict[str, Any]:
    """Return a tree of JSON values."""
    facts = asdict(index.facts)
    for name in _FRACTIONS:
        facts[name] = None if facts[name] is None else str(facts[name])
    return {
        "path": index.path,
        "facts": facts,
        "pts": index.pts.tolist(),
        "keyframe_pts": index.keyframe_pts.tolist(),
        "clean_keyframe_pts": index.clean_keyframe_pts.tolist(),
        "duration_s": index.duration_s,
        "size_bytes": index.size_bytes,
    }


def index_from_json(tree: dict[str, Any]) -> VideoIndex:
    """Inverse of `index_to_json`."""
    facts = dict(tree["facts"])
    for name in _FRACTIONS:
        facts[name] = None if facts[name] is None else Fraction(facts[name])
    facts["other_streams"] = tuple(StreamFacts(**stream) for stream in facts["other_streams"])
    matrix = facts["display_matrix"]
    facts["display_matrix"] = None if matrix is None else tuple(matrix)
    return VideoIndex(**{**tree, "facts": VideoFacts(**facts)})
