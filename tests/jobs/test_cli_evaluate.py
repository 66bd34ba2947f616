"""The three commands from the command line, with stand-ins for detector and judge."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from deid_ops.detect.base import Detections
from deid_ops.errors import SetupError
from deid_ops.judge.calibration import Calibration
from deid_ops.metrics.figures import Figure
from deid_ops.metrics.stats import rate
from deid_ops.swap.crop import TEMPLATE_PX, crop_matrices, warp_crop
from jobs import calibrate as calibrate_job
from jobs import evaluate as evaluate_job
from jobs import evaluate_ours, models
from jobs.cli_evaluate import attack, calibrate, evaluate
from jobs.keys import KEY_BYTES, KEY_VARIABLE
from jobs.lake.tables import Lake


class Detector:
    name, provider = "middle", "cpu"

    def detect(self, images_bgr):
        box, marks = np.float32([[20, 10, 130, 140]]), TEMPLATE_PX[None] + np.float32(11)
        hit = Detections(box, marks, np.float32([0.9]))
        return [hit for _ in images_bgr]


class PixelJudge:
    def embed(self, image, points):
        rows = []
        for matrix in crop_matrices(points):
            inner = warp_crop(image, matrix)[30:100, 30:98]
            small = cv2.resize(inner, (8, 8), interpolation=cv2.INTER_AREA)
            vector = small.astype(np.float32).ravel() - 127.3
            rows.append(vector / np.linalg.norm(vector))
        return np.stack(rows).astype(np.float32)


@pytest.fixture
def archive(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "people.tar"
    with tarfile.open(path, "w") as tar:
        for person in range(12):
            face = rng.integers(0, 255, (9, 9, 3)).astype(np.float32)
            for number in (1, 2):
                shown = np.clip(face + rng.normal(0, 10, face.shape), 0, 255).astype(np.uint8)
                big = cv2.resize(shown, (150, 150), interpolation=cv2.INTER_CUBIC)
                data = cv2.imencode(".png", big)[1].tobytes()
                info = tarfile.TarInfo(f"P{person:02d}_{number:04d}.png")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def cli(monkeypatch):
    monkeypatch.setattr(models, "first_detector", lambda _config: Detector())
    monkeypatch.setattr(models, "weights_in_use", lambda _config: {"judge": "00" * 32})
    for module in (calibrate_job, evaluate_job):
        monkeypatch.setattr(module, "judge_encoders", lambda _config: {"pixels": PixelJudge()})
    monkeypatch.setattr(evaluate_job, "first_detector", lambda _config: Detector())
    app = typer.Typer()
    for command in (evaluate, attack, calibrate):
        app.command()(command)
    return lambda *args: CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


def test_calibrate_then_evaluate_into_a_lake(cli, archive, tmp_path, monkeypatch):
    thresholds = tmp_path / "c.yaml"
    result = cli("calibrate", archive, "--out", thresholds, "--eye-px", "35", "--eye-px", "20")
    assert result.exit_code == 0
    assert "pixels 20 px: AUC" in result.stdout
    # 24 pictures resolve no rate below 1e-2
    calibration = Calibration.from_mapping(yaml.safe_load(thresholds.read_text()), "c.yaml")
    assert [row.eye_distance_px for row in calibration.rows_of("pixels")] == [20, 35]
    monkeypatch.setattr(evaluate_job, "calibration_file", lambda: calibration)
    out, lake = tmp_path / "report", tmp_path / "lake"
    result = cli(
        "evaluate", archive, "--out", out, "--lake", lake,
        "--far", "0.01", "--set", "replace.generator=null",
        "--subject", "untouched", "--subject", "mask",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "match_original_far_0.01" in (out / "EVALUATION.md").read_text()
    assert "<svg" in (out / "evaluation.html").read_text()
    assert (out / "samples-people.jpg").stat().st_size > 1000
    rows = Lake(lake).read("evaluations").to_pylist()
    by_cell = {(r["subject"], r["metric"]): r["value"] for r in rows}
    assert by_cell["untouched", "match_original_far_0.01"] == 1
    assert by_cell["mask", "match_original_far_0.01"] < 0.2


def test_nothing_to_evaluate_is_said(cli):
    with pytest.raises(SetupError, match="name a face set, or --clip"):
        cli("evaluate")


def test_attack_without_torch_names_the_extra(cli, archive, monkeypatch):
    import builtins

    real = builtins.__import__

    def no_torch(name, *args, **kwargs):
        if name == "jobs.attack":
            raise ModuleNotFoundError("no torch", name="torch")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    with pytest.raises(SetupError, match=r"'torch'.*deid-lake\[train\]"):
        cli("attack", archive, "--train", archive)


@pytest.fixture
def target_file(tmp_path):
    """A small target-oriented network, in the file that `deid train export` writes."""
    torch = pytest.importorskip("torch", reason="exporting needs the extra 'train'")
    from deid_ops.models.facedancer import FaceDancer, FaceDancerConfig
    from deid_ops.models.ship import ship_target_oriented

    torch.manual_seed(0)
    net = FaceDancer(FaceDancerConfig(style=16, channels=(8, 8, 8, 8, 8))).eval()
    path = tmp_path / "target_oriented.onnx"
    path.write_bytes(ship_target_oriented(net, {}).model.SerializeToString())
    return path


class GreyEncoder:
    """As the conditioning encoder: 128 numbers of the inner face."""

    def embed(self, image, points):
        rows = []
        for matrix in crop_matrices(points):
            inner = warp_crop(image, matrix)[30:100, 30:98, 1]
            small = cv2.resize(inner, (16, 8), interpolation=cv2.INTER_AREA)
            vector = small.astype(np.float32).ravel() - 127.3
            rows.append(vector / np.linalg.norm(vector))
        return np.stack(rows).astype(np.float32)


def test_the_target_oriented_swap_is_a_subject(cli, archive, target_file, tmp_path, monkeypatch):
    thresholds = tmp_path / "c.yaml"
    cli("calibrate", archive, "--out", thresholds, "--eye-px", "35")
    calibration = Calibration.from_mapping(yaml.safe_load(thresholds.read_text()), "c.yaml")
    monkeypatch.setattr(evaluate_job, "calibration_file", lambda: calibration)
    for name in ("generator", "denoiser"):
        monkeypatch.setattr(evaluate_ours, name, lambda _config: copying)
    monkeypatch.setattr(evaluate_ours, "conditioning_encoder", lambda _config: GreyEncoder())
    monkeypatch.setattr(evaluate_ours, "judge_encoders", lambda _config: {"pixels": PixelJudge()})
    monkeypatch.setattr(models, "own_attribute_reader", lambda _config: None)
    out, lake = tmp_path / "report", tmp_path / "lake"
    result = cli(
        "evaluate", archive, "--out", out, "--lake", lake, "--far", "0.01",
        "--set", "anchors.bank=null", "--target-oriented", target_file,
        "--subject", "untouched", "--subject", "target_oriented", "--max-queries", "10",
    )  # fmt: skip
    assert result.exit_code == 0
    assert "target_oriented" in (out / "EVALUATION.md").read_text()
    assert cv2.imread(str(out / "samples-people.jpg")).shape[0] == 128  # its row alone
    rows = Lake(lake).read("evaluations").to_pylist()
    by_cell = {(r["subject"], r["metric"]): r for r in rows}
    row = by_cell["target_oriented", "match_original_far_0.01"]
    assert row["n_samples"] == 10
    assert row["value"] < by_cell["untouched", "match_original_far_0.01"]["value"]
    sha = hashlib.sha256(target_file.read_bytes()).hexdigest()
    assert json.loads(row["weights_json"]) == {"judge": "00" * 32, "target_oriented": sha}


def copying(crops, *_others):
    return crops


@pytest.mark.parametrize("command", ["evaluate", "attack"])
def test_a_target_oriented_file_must_fit(cli, archive, command, tmp_path):
    def given(*more):
        needed = ("--train", archive) if command == "attack" else ()
        cli(command, archive, *needed, *more)

    if command == "attack":
        pytest.importorskip("torch", reason="attacks need the extra 'train'")
    with pytest.raises(SetupError, match=r"none\.onnx.*neither a file nor in weights.lock.yaml"):
        given("--target-oriented", tmp_path / "none.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_text("not a network")
    with pytest.raises(SetupError, match=r"broken\.onnx: cannot be opened"):
        given("--target-oriented", broken)
    named = "--subject" if command == "evaluate" else "--defence"
    with pytest.raises(SetupError, match="needs its network: --target-oriented"):
        given(named, "target_oriented")
    other = Path(__file__).parents[2] / "configs" / "weights" / "attributes.onnx"
    with pytest.raises(SetupError, match=r"attributes\.onnx does not fit .*'target_oriented'"):
        given("--target-oriented", other)


def test_a_target_oriented_file_without_faces_is_refused(cli, tmp_path):
    source, output = tmp_path / "a.mp4", tmp_path / "b.mp4"
    source.touch()
    output.touch()
    with pytest.raises(SetupError, match="face set: name one"):
        cli("evaluate", "--clip", f"{source}={output}", "--target-oriented", tmp_path / "x.onnx")


def test_attacks_are_given_the_target_oriented_swap(
    cli, archive, target_file, tmp_path, monkeypatch
):
    pytest.importorskip("torch", reason="attacks need the extra 'train'")
    seen = []

    def figures_of(_config, _background, _faces, _options, only, _key, paint):
        crops = np.full((2, 128, 128, 3), 90, np.uint8)
        seen.append((only, paint(crops, np.eye(128, dtype=np.float32)[:2]).shape))
        dataset, value = "people", rate(1, 2)
        return [Figure("inversion", "target_oriented", dataset, "pixels", "rank1", value, "lower")]

    out, lake = tmp_path / "report", tmp_path / "lake"
    monkeypatch.setenv(KEY_VARIABLE, "07" * KEY_BYTES)
    monkeypatch.setattr("jobs.attack.attack_faces", figures_of)
    result = cli(
        "attack", archive, "--train", archive, "--out", out, "--lake", lake, "--quick",
        "--defence", "target_oriented", "--target-oriented", target_file,
    )  # fmt: skip
    assert result.exit_code == 0
    assert seen == [(("target_oriented",), (2, 128, 128, 3))]
    row = Lake(lake).read("evaluations").to_pylist()[0]
    sha = hashlib.sha256(target_file.read_bytes()).hexdigest()
    assert json.loads(row["weights_json"])["target_oriented"] == sha
