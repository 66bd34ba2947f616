"""The teacher that looks along, and a student taught by it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from deid_ops.models.encoder import CompactEncoder, TeacherEncoder, freeze
from deid_ops.train.data import Pack
from deid_ops.train.distil import FeatureMatch, OnlineTeacher, agreement
from deid_ops.train.encoder import EncoderTraining, train_encoder
from deid_ops.train.loop import Budget

TINY_STAGES = ((2, 16, 1, 2), (2, 24, 1, 2), (2, 24, 2, 1), (2, 32, 1, 2))
Rows = list[tuple[int, dict[str, float]]]


@pytest.fixture(scope="module")
def network() -> TeacherEncoder:
    torch.manual_seed(1)
    return freeze(TeacherEncoder(TINY_STAGES, last=32))


@pytest.fixture(scope="module")
def teacher(network: TeacherEncoder) -> OnlineTeacher:
    return OnlineTeacher(network, threads=1)


def _train(
    pack: Pack,
    teacher: OnlineTeacher,
    checkpoint: Path | None,
    seconds: float,
    *,
    resume: bool = False,
    steps: int = 6,
    rows: Rows | None = None,
) -> CompactEncoder:
    def report(step: int, losses: Mapping[str, float]) -> None:
        if rows is not None:
            rows.append((step, dict(losses)))

    torch.manual_seed(0)
    ticks = count()
    return train_encoder(
        pack,
        EncoderTraining(batch=8, warmup=2, rate=4e-3, validate_every=steps),
        Budget(steps, max_seconds=seconds + 0.5, checkpoint_seconds=1e9, report_every=steps // 3),
        checkpoint,
        lambda: float(next(ticks)),
        report,
        resume=resume,
        start_from=CompactEncoder((8, 16, 16), wide=24),
        teacher=teacher,
    )


def test_the_teacher_says_what_its_network_says(
    network: TeacherEncoder, teacher: OnlineTeacher
) -> None:
    faces = torch.rand(3, 3, 112, 112).contiguous(memory_format=torch.channels_last)
    unit, maps = teacher(faces)
    wanted, wanted_maps = network.with_features(faces)
    assert torch.allclose(unit, functional.normalize(wanted, dim=1), atol=1e-4)
    assert teacher.channels == (16, 24, 32)
    for mine, theirs in zip(maps, wanted_maps, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-3)


def test_features_explained_wholly_and_not_at_all() -> None:
    match = FeatureMatch((4,), (4,))
    theirs = torch.randn(8, 4, 7, 7) * 3 + 5
    torch.nn.init.zeros_(match.translate[0].weight)
    torch.nn.init.zeros_(match.translate[0].bias)
    with torch.no_grad():
        assert float(match([theirs], [theirs])) == pytest.approx(1.0, abs=1e-3)
    torch.nn.init.dirac_(match.translate[0].weight)
    scaled = match.scale[0](theirs)
    with torch.no_grad():
        assert float(match([scaled], [theirs])) == pytest.approx(0.0, abs=1e-6)


def test_agreement_tells_coarse_from_fine() -> None:
    unit = functional.normalize(torch.randn(40, 16, generator=torch.Generator().manual_seed(0)))
    same = agreement(7 * unit, unit)
    assert all(value == pytest.approx(1.0, abs=1e-5) for value in same.values())
    constant = agreement(unit.mean(0, keepdim=True).expand_as(unit), unit)
    assert constant["held_found"] == pytest.approx(1 / 40)
    assert constant["held_correlation"] == pytest.approx(0.0, abs=1e-3)


def test_the_student_learns_from_the_teacher(small_pack: Pack, teacher: OnlineTeacher) -> None:
    rows: Rows = []
    _train(small_pack, teacher, None, 1e9, steps=24, rows=rows)
    losses = [row for _, row in rows if "features" in row]
    assert losses[-1]["features"] < losses[0]["features"]
    assert losses[-1]["cosine"] < losses[0]["cosine"]
    held = [(step, row) for step, row in rows if "held_found" in row]
    assert [step for step, _ in held] == [24]


def test_online_training_resumes_exactly(
    small_pack: Pack, teacher: OnlineTeacher, tmp_path: Path
) -> None:
    """Three steps, a stop and three more are the same as six in one go, bit for bit."""
    torch.set_num_threads(1)
    whole = _train(small_pack, teacher, None, 1e9)
    _train(small_pack, teacher, tmp_path / "e.pt", 3)
    state = torch.load(tmp_path / "e.pt", weights_only=True)
    assert 0 < state["step"] < 6
    parts = _train(small_pack, teacher, tmp_path / "e.pt", 1e9, resume=True)
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
