from pathlib import Path

import pytest

from deid_ops.errors import SetupError
from jobs.config import JobConfig, load_config


def test_file_then_overrides(tmp_path: Path):
    file = tmp_path / "job.yaml"
    file.write_text("track: {scope: drive}\nvideo: {crf: 20}\n")
    config = load_config(file, ("video.crf=23", "ray.detect.gpus=0.5"))
    assert (config.track.scope, config.video.crf, config.ray.detect.gpus) == ("drive", 23, 0.5)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("detect: {detektor: yunet}", r"detect\.detektor"),
        ("video: {crf: 99}", r"video\.crf"),
        ("- a list", "mapping"),
        ("video: {crf: [", "cannot read"),
        ("replace: {generator: g.onnx, attributes: null}", r"replace\.attributes"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, named: str):
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(SetupError, match=named) as caught:
        load_config(file)
    assert str(file) in str(caught.value)


def test_shipped_files_load():
    for file in sorted(Path("configs").glob("*.yaml")):
        if file.stem in {"local", "nightly", "backfill", "gpu"}:
            assert isinstance(load_config(file), JobConfig)


def test_override_needs_a_value():
    with pytest.raises(SetupError, match=r"section\.key=value"):
        load_config(None, ("video.crf",))
