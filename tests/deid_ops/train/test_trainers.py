"""Trainers: every one runs, learns, and resumes exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from deid_ops.errors import SetupError
from deid_ops.models.attributes import AttributeConfig, AttributeNet
from deid_ops.models.encoder import CompactEncoder, TeacherEncoder, freeze
from deid_ops.models.facedancer import FaceDancerConfig
from deid_ops.models.generator import GeneratorConfig, LeakProofGenerator
from deid_ops.swap.layout import N_POINTS
from deid_ops.train.attributes import AttributeTraining, train_attributes
from deid_ops.train.data import Pack
from deid_ops.train.encoder import EncoderTraining, distillation_loss, train_encoder
from deid_ops.train.facedancer import FaceDancerTraining, train_facedancer
from deid_ops.train.generator import train_generator
from deid_ops.train.loop import Budget, State, half_cosine, run
from deid_ops.train.paint_data import load_paint_data
from deid_ops.train.painting import (
    GeneratorTraining,
    degraded,
    light_and_target,
    wanted_identities,
)

TINY_STAGES = ((2, 16, 1, 2), (2, 16, 1, 2), (2, 16, 1, 1), (2, 16, 1, 2))


class Ticks:
    """A clock that the test moves: one second each time it is read."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Log:
    """Remembers what was reported."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def __call__(self, step: int, losses: Mapping[str, float]) -> None:
        self.rows.append((step, dict(losses)))


def _encoder() -> TeacherEncoder:
    torch.manual_seed(1)
    return freeze(TeacherEncoder(TINY_STAGES, last=32))


def _attributes() -> AttributeNet:
    torch.manual_seed(2)
    return AttributeNet(torch.full((N_POINTS, 2), 64.0), AttributeConfig((8, 8, 8, 8, 8), 16))


def _generator() -> LeakProofGenerator:
    torch.manual_seed(3)
    return LeakProofGenerator(GeneratorConfig(style=16, channels=(8, 8, 16, 16)))


def _train_generator(pack, shape, out, steps, budget_steps, *, resume=False, log=None):
    return train_generator(
        pack,
        shape,
        [_encoder()],
        _attributes().eval().requires_grad_(False),
        GeneratorTraining(batch=4, identity_from=0.5, stable_rows=2, stable_every=2),
        Budget(budget_steps, max_seconds=steps + 0.5, checkpoint_seconds=1e9, report_every=1),
        out,
        Ticks(),
        log or Log(),
        resume=resume,
        start_from=_generator(),
    )


def test_generator_resumes_exactly(small_pack, flat_shape, tmp_path: Path) -> None:
    """Three steps, a stop and three more are the same as six in one go, bit for bit."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    log = Log()
    whole = _train_generator(small_pack, flat_shape, None, 100, 6, log=log)
    _train_generator(small_pack, flat_shape, tmp_path / "g.pt", 3, 6)
    state = torch.load(tmp_path / "g.pt", weights_only=True)
    assert 0 < state["step"] < 6
    parts = _train_generator(small_pack, flat_shape, tmp_path / "g.pt", 100, 6, resume=True)
    torch.use_deterministic_algorithms(mode=False)
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    phases = [set(losses) for _, losses in log.rows]
    assert "repulsion" not in phases[0]
    assert {"repulsion", "light", "attributes", "critic", "stable"} <= set().union(*phases[3:])


def test_resume_without_a_checkpoint_says_so(small_pack, flat_shape, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no checkpoint"):
        _train_generator(small_pack, flat_shape, tmp_path / "none.pt", 9, 2, resume=True)


def test_generator_learns_to_paint(small_pack, flat_shape) -> None:
    log = Log()
    train_generator(
        small_pack,
        flat_shape,
        [_encoder()],
        None,
        GeneratorTraining(
            batch=8,
            features_from=2.0,
            identity_from=2.0,
            warmup=3,
            rate=3e-3,
            grey_share=1.0,  # the pack's gaudy blocks are more colourful than detail may be
            hazy_share=0.0,
            coarse_share=0.0,
            noised_share=0.0,
        ),
        Budget(50, report_every=2),
        None,
        Ticks(),
        log,
        start_from=_generator(),
    )
    l1 = [losses["l1"] for _, losses in log.rows]  # of one batch each, and they vary
    assert np.mean(l1[-5:]) < 0.7 * np.mean(l1[:5])


def test_attribute_training_learns(small_pack, flat_shape) -> None:
    log = Log()
    train_attributes(
        small_pack,
        flat_shape,
        AttributeTraining(batch=8, warmup=2, rate=5e-3),
        Budget(48, report_every=8),
        None,
        Ticks(),
        log,
        start_from=_attributes(),
    )
    assert log.rows[-1][1]["points"] < 0.9 * log.rows[0][1]["points"]


def test_encoder_training_learns(small_pack) -> None:
    log = Log()
    torch.manual_seed(0)
    train_encoder(
        small_pack,
        EncoderTraining(batch=16, warmup=2, rate=4e-3),
        Budget(24, report_every=8),
        None,
        Ticks(),
        log,
        start_from=CompactEncoder((8, 16, 16)),
    )
    assert log.rows[-1][1]["relation"] < log.rows[0][1]["relation"]
    assert log.rows[-1][1]["cosine"] < log.rows[0][1]["cosine"]


def test_facedancer_trains(small_pack, tmp_path: Path) -> None:
    log = Log()
    train_facedancer(
        small_pack,
        _encoder(),
        FaceDancerTraining(batch=2, same_every=2),
        Budget(3, report_every=1),
        tmp_path / "f.pt",
        Ticks(),
        log,
        net_config=FaceDancerConfig(style=16, channels=(8, 8, 8, 16, 16)),
    )
    assert "reconstruction" in log.rows[0][1]
    assert "reconstruction" not in log.rows[1][1]
    assert all(np.isfinite(v) for _, losses in log.rows for v in losses.values())
    assert (tmp_path / "f.pt").is_file()


def test_degraded_hides_the_face_in_both_modes() -> None:
    state = State({}, 5)
    images = torch.rand((2, 3, 128, 128), generator=torch.Generator().manual_seed(0))
    masks = torch.ones((2, 1, 128, 128))
    noised, points = torch.tensor([False, True]), torch.full((2, N_POINTS, 2), 64.0)
    light, _ = light_and_target(images, points, masks, noised)
    inside, scalars = degraded(images, light, masks, noised, GeneratorTraining(), state)
    assert scalars[0].tolist() == [0.0, 0.0]
    assert scalars[1, 0] == 1.0
    x = images * 2 - 1
    assert inside[0].std() < 0.1 * x[0].std()  # only cell averages are left
    correlation = np.corrcoef(inside[1].flatten(), x[1].flatten())[0, 1]
    ratio = float(torch.exp(scalars[1, 1]) - 1)
    scale = float(x[1].std())
    assert correlation == pytest.approx(scale / (scale**2 + ratio**2) ** 0.5, abs=0.02)
    assert float(inside[1].std()) < 1.1


def test_a_face_is_wanted_in_the_light_that_is_told() -> None:
    images = torch.rand((2, 3, 128, 128), generator=torch.Generator().manual_seed(1)) * 0.2
    images[:, :, 48:64, 48:64] += 0.6  # a bright cell within the face
    masks = torch.zeros((2, 1, 128, 128))
    masks[:, :, 16:112, 16:112] = 1.0
    points = torch.full((2, N_POINTS, 2), 64.0)
    light, target = light_and_target(images, points, masks, torch.tensor([False, True]))
    assert float(light[0, :, 3, 3].mean()) < 0.5 * float(light[1, :, 3, 3].mean())
    assert torch.equal(target[1], images[1])  # a noised face shows its own light
    assert torch.equal(target[0, :, :, :16], images[0, :, :, :16])
    cell = np.s_[0, :, 52:60, 52:60]
    assert float(target[cell].mean()) < 0.6 * float(images[cell].mean())
    moved = target[cell] - images[cell]  # smoothly: the texture stays
    assert float(moved.diff(n=2, dim=2).abs().max()) < 0.05


def test_wanted_identities(small_pack: Pack, flat_shape) -> None:
    data = load_paint_data(small_pack, flat_shape, 0)
    rows, own = np.arange(20), np.arange(20) % 2 == 0
    wanted = wanted_identities(data, rows, own, GeneratorTraining(), np.random.default_rng(0))
    assert np.allclose(np.linalg.norm(wanted, axis=1), 1, atol=1e-5)
    assert np.allclose(wanted[own], data.identity_unit[rows][own])
    assert ((wanted[~own] * data.identity_unit[rows][~own]).sum(1) < 0.9).all()
    bank = np.eye(128, dtype=np.float32)[:2]
    with_bank = load_paint_data(small_pack, flat_shape, 0, bank)
    config = GeneratorTraining(anchor_share=1.0)
    wanted = wanted_identities(with_bank, rows, own, config, np.random.default_rng(0))
    assert (wanted[~own] @ bank.T).max(1).min() == 1.0
    assert np.allclose(wanted[own], data.identity_unit[rows][own])


def test_distillation_loss_counts_relations() -> None:
    unit = torch.eye(3)
    turned = distillation_loss(unit[[1, 2, 0]], unit)
    assert float(turned["cosine"]) == pytest.approx(1.0)
    assert float(turned["relation"]) == pytest.approx(0.0)  # same angles between the faces


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    state = State({}, 1)

    def step(number: int) -> Mapping[str, float]:
        return {"l1": float("nan") if number == 3 else 1.0}

    with pytest.raises(FloatingPointError, match="step 3: l1"):
        run(state, step, Budget(10), None, Ticks(), Log())


def test_half_cosine() -> None:
    rates = [half_cosine(i, 100, 10) for i in range(101)]
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_run_can_be_asked_to_stop(tmp_path: Path) -> None:
    state = State({}, 1)
    budget = Budget(10, stop=lambda: state.step >= 4)
    run(state, lambda _number: {"l1": 1.0}, budget, tmp_path / "x.pt", Ticks(), Log())
    assert torch.load(tmp_path / "x.pt", weights_only=True)["step"] == 4
