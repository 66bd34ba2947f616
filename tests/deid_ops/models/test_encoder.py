"""The encoders: freezing, sizes, and the teacher as it was published."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from deid_ops.errors import SetupError
from deid_ops.models.encoder import CompactEncoder, TeacherEncoder, freeze, load_teacher


def test_freezing_folds_without_changing_the_output() -> None:
    torch.manual_seed(0)
    net = TeacherEncoder(((2, 16, 2, 2), (4, 16, 1, 2), (2, 16, 2, 1), (2, 16, 1, 2)), last=32)
    for _ in range(3):  # give the normalisations something to fold
        net(torch.rand(8, 3, 112, 112))
    net.eval()
    x = torch.rand(2, 3, 112, 112)
    before, maps = net.with_features(x)
    after, folded = freeze(net).with_features(x)
    assert torch.allclose(before, after, atol=1e-4)
    assert [m.shape[-1] for m in maps] == [28, 14, 7]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(maps, folded, strict=True))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    assert not any(p.requires_grad for p in net.parameters())


def test_compact_encoder_size() -> None:
    net = CompactEncoder().eval()
    faces = torch.rand(2, 3, 112, 112)
    vector, maps = net.with_features(faces)
    assert vector.shape == (2, 128)
    assert [(m.shape[1], m.shape[-1]) for m in maps] == [(64, 28), (112, 14), (160, 7)]
    assert sum(p.numel() for p in net.parameters()) * 2 <= 5e6
    with torch.no_grad():
        assert torch.allclose(freeze(net)(faces), vector, atol=1e-4)
    assert CompactEncoder(wide=0)(faces).shape == (2, 128)


def test_load_teacher_says_what_is_missing(tmp_path) -> None:
    with pytest.raises(SetupError, match="no such teacher"):
        load_teacher(tmp_path / "x.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(SetupError, match="not the expected"):
        load_teacher(tmp_path / "x.pt")


@pytest.mark.shared
def test_teacher_module_equals_the_published_graph(shared_dir) -> None:
    import onnxruntime as ort

    models = shared_dir / "models"
    net = load_teacher(models / "mobilefacenet_foamliu_ms1m.pt")
    x = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    session = ort.InferenceSession(str(models / "mobilefacenet_foamliu_ms1m.onnx"))
    feed = ((x - net.mean) / net.std).numpy()
    wanted = session.run(None, {session.get_inputs()[0].name: feed})[0]
    assert np.abs(net(x).numpy() - wanted).max() < 1e-3
