"""`deid train`: sources, options, anchors and export through the commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

from deid_ops.errors import SetupError
from deid_ops.models.ship import ship_encoder
from deid_ops.train.data import COLUMNS, FORMAT_VERSION
from deid_ops.train.files import save_weights, trained_encoder
from jobs.cli_train import app, open_source
from jobs.training import (
    FACEDANCER_AVERAGE,
    RunOptions,
    run_attributes,
    run_encoder,
    run_export,
    start_from,
    trained,
)


@pytest.fixture(scope="module")
def pack_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of noise with 80 rows."""
    folder, n, rng = tmp_path_factory.mktemp("pack"), 80, np.random.default_rng(0)
    identity = rng.normal(size=(n, 128))
    values = {
        "crops_rgb": rng.integers(0, 256, (n, 128, 128, 3)),
        "inside_bits": np.full((n, 2048), 255),
        "mesh_xyz_px": rng.uniform(0, 128, (1, 478, 3)) + rng.normal(size=(n, 478, 3)),
        "expression": rng.random((n, 52)),
        "identity_unit": identity / np.linalg.norm(identity, axis=1, keepdims=True),
        "split": np.arange(n) % 10 == 0,
        "source_index": np.zeros(n),
    }
    for name, value in values.items():
        np.save(folder / f"{name}.npy", value.astype(COLUMNS[name][1]))
    hashes = {"mesh_xyz_px": "0", "identity_unit": "1"}
    meta = {"format_version": FORMAT_VERSION, "n": n, "sha256": hashes}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def test_painted_faces_need_teachers(pack_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="--painters needs --teachers"):
        run_attributes(RunOptions(pack_folder, tmp_path, 1), painters=tmp_path)


def test_train_export_and_start_from_the_file(pack_folder: Path, tmp_path: Path) -> None:
    work = tmp_path / "attributes"
    run_attributes(RunOptions(pack_folder, work, 2, threads=1, batch=4))
    run_encoder(RunOptions(pack_folder, tmp_path / "encoder", 2, threads=1, batch=4))
    done = run_export(tmp_path / "out", work, tmp_path / "encoder", None, (2.0, 1.2, 3.5))
    assert set(done) == {"attributes", "encoder"}
    assert done["attributes"]["mb"] <= 4
    assert done["encoder"]["mb"] <= 5
    again = RunOptions(
        pack_folder,
        tmp_path / "again",
        1,
        threads=1,
        batch=4,
        init_from=tmp_path / "out" / "encoder.onnx",
    )
    run_encoder(again)
    assert (tmp_path / "again" / "encoder_average.pt").is_file()


def test_encoders_from_before_the_wide_reading(tmp_path: Path) -> None:
    """Averages are read as they are; a file without it cannot begin a training."""
    import torch

    from deid_ops.models.encoder import CompactEncoder

    for wide in (0, 512):
        save_weights(CompactEncoder(wide=wide), tmp_path / "average.pt")
        net = trained_encoder(tmp_path / "average.pt")
        assert (net.wide is None) == (wide == 0)
        assert net(torch.zeros(1, 3, 112, 112)).shape == (1, 128)
    with pytest.raises(SetupError, match="not trained yet"):
        trained_encoder(tmp_path / "none.pt")
    old = CompactEncoder(wide=0)
    for value in old.state_dict().values():  # equal weights would be stored once, under one name
        if value.is_floating_point():
            value.add_(torch.rand_like(value), alpha=0.1)
    file = tmp_path / "old.onnx"
    file.write_bytes(ship_encoder(old, {}).model.SerializeToString())
    with pytest.raises(SetupError, match=r"cannot start from this file.*wide\."):
        start_from(CompactEncoder(), file)
    assert start_from(CompactEncoder(wide=0), file) is not None


def test_a_teacher_that_is_missing_is_named(pack_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no such teacher"):
        run_encoder(RunOptions(pack_folder, tmp_path, 1, threads=1, batch=4), tmp_path)


def test_options_that_exclude_each_other(pack_folder: Path, tmp_path: Path) -> None:
    options = RunOptions(pack_folder, tmp_path, 1, resume=True, init_from=tmp_path / "x.onnx")
    with pytest.raises(SetupError, match="choose one"):
        run_encoder(options)


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    import torch

    with pytest.raises(SetupError, match="no such file"):
        start_from(torch.nn.Linear(1, 1), tmp_path / "x.onnx")
    with pytest.raises(SetupError, match="not trained yet"):
        trained(torch.nn.Linear(1, 1), tmp_path / "x.pt")


def test_parquet_and_shares(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    rows = {"name": [f"{i}" for i in range(100)], "image": [f"{i}".encode() for i in range(100)]}
    pq.write_table(pa.table(rows), path)
    name, images = open_source(str(path))
    assert name == "faces.parquet"
    assert [i.name for i in images] == rows["name"]
    _, part = open_source(f"{path}@300")
    assert 10 < len(list(part)) < 60
    with pytest.raises(SetupError, match="per mille"):
        open_source(f"{path}@2000")
    pq.write_table(pa.table({"name": ["a"]}), path)
    with pytest.raises(SetupError, match="image"):
        list(open_source(str(path))[1])


def test_the_target_oriented_swap_is_exported(tmp_path: Path) -> None:
    import torch

    from deid_ops.models.facedancer import FaceDancer, FaceDancerConfig
    from deid_ops.swap.target import TargetOrientedSwap

    out, work = tmp_path / "out", tmp_path / "facedancer"
    work.mkdir()
    command = ["export", "--out", str(out), "--facedancer", str(work)]
    with pytest.raises(SetupError, match="not trained yet"):
        CliRunner().invoke(app, command, catch_exceptions=False)
    torch.manual_seed(0)
    # as narrow as it was trained, and the export must see that from the weights
    save_weights(FaceDancer(FaceDancerConfig.of_width(8)), work / FACEDANCER_AVERAGE)
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    done = json.loads(result.stdout)
    assert set(done) == {"target_oriented"}
    assert done["target_oriented"]["mb"] < 2
    assert done["target_oriented"]["parity_max"] < 0.02
    swap = TargetOrientedSwap(str(out / "target_oriented.onnx"))
    crops = np.full((1, 128, 128, 3), 90, np.uint8)
    assert swap(crops, np.eye(128, dtype=np.float32)[:1]).shape == crops.shape


def test_a_target_oriented_training_starts_from_the_file(tmp_path: Path) -> None:
    import torch

    from deid_ops.models.facedancer import FaceDancer, FaceDancerConfig

    torch.manual_seed(0)
    trained = FaceDancer(FaceDancerConfig.of_width(4))
    for parameter in trained.parameters():  # equal tensors, as before a training, share one place
        parameter.data += 0.02 * torch.randn_like(parameter)
    save_weights(trained, tmp_path / FACEDANCER_AVERAGE)
    run_export(tmp_path / "out", None, None, None, (2.0, 1.2, 3.5), tmp_path)
    file = tmp_path / "out" / "target_oriented.onnx"
    again = start_from(FaceDancer(FaceDancerConfig.of_width(4)), file)
    for name, value in trained.state_dict().items():  # but for the half precision of the file
        assert torch.allclose(again.state_dict()[name], value, atol=2e-3), name
    with pytest.raises(SetupError, match="cannot start from this file"):
        start_from(FaceDancer(FaceDancerConfig.of_width(8)), file)
