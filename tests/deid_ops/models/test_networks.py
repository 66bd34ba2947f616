"""The networks: shapes, and the properties that make them learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from deid_ops.diffuse import denoiser
from deid_ops.errors import SetupError
from deid_ops.models.attributes import AttributeNet
from deid_ops.models.blocks import MappingNetwork, init_glorot, scaled_identity
from deid_ops.models.discriminator import (
    FeatureCritic,
    PatchDiscriminator,
    fooling_loss,
    hinge_critic,
    logistic_critic,
)
from deid_ops.models.encoder import CompactEncoder, TeacherEncoder, freeze, load_teacher
from deid_ops.models.facedancer import Affa, FaceDancer, FaceDancerConfig
from deid_ops.models.generator import (
    GeneratorConfig,
    HeatMaps,
    LeakProofGenerator,
    scalars_for,
)
from deid_ops.models.light import (
    as_colourful_as,
    as_strong_as,
    cell_means,
    coarse_light,
    detail_strengths,
    enlarge_cells,
    look_of_footage,
    missing_colour,
    without_cell_means,
    without_chequers,
)
from deid_ops.models.refine import RIGHT_EYE
from deid_ops.swap import conditions
from deid_ops.swap.conditions import detail_of
from deid_ops.swap.crop import INNER_MASK
from deid_ops.swap.face_mask import part_rows
from deid_ops.swap.layout import GROUP_NAMES, N_POINTS, group_slice

SMALL = GeneratorConfig(style=16, channels=(8, 8, 16, 16), blocks=(0, 1, 1, 1))


def _random_biases(net: nn.Module) -> None:
    for p in net.parameters():
        if p.dim() == 1:
            nn.init.normal_(p, std=0.1)


def _inputs(n: int = 2) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(0)
    return (
        torch.rand((n, 3, 128, 128), generator=g),
        torch.rand((n, 3, 128, 128), generator=g) * 2 - 1,
        torch.rand((n, N_POINTS, 2), generator=g) * 128,
        torch.nn.functional.normalize(torch.randn((n, 128), generator=g)),
    )


def test_identity_reaches_the_style_after_glorot_but_hardly_with_defaults() -> None:
    """The trap of the PyTorch port: with default initialisation the style ignores the identity."""
    z = torch.randn(256, 128, generator=torch.Generator().manual_seed(1))
    spread = {}
    for name in ("default", "glorot"):
        torch.manual_seed(2)
        net = nn.Sequential(MappingNetwork(128, 128, 4), nn.Linear(128, 64))
        if name == "glorot":
            init_glorot(net)
        unit = torch.nn.functional.normalize(z)
        fed = scaled_identity(z) if name == "glorot" else unit
        spread[name] = float(net(fed).std(0).mean())
    assert spread["glorot"] > 0.15
    assert spread["default"] < 0.02


def test_scaled_identity_has_unit_variance() -> None:
    out = scaled_identity(torch.randn(5, 128) * 7)
    assert torch.allclose(out.norm(dim=1), torch.full((5,), 128**0.5), atol=1e-4)


def test_heat_maps_peak_at_the_point() -> None:
    points = torch.full((1, N_POINTS, 2), -500.0)
    points[0, group_slice("nose").start] = torch.tensor([80.5, 30.5])
    maps = HeatMaps()(points)
    row, column = divmod(int(maps[0, GROUP_NAMES.index("nose")].argmax()), 64)
    assert (column, row) == (40, 15)  # crop pixel 80.5 is the centre of map pixel 40
    assert maps[0, GROUP_NAMES.index("left_eye")].max() == 0


def _masks(n: int) -> torch.Tensor:
    return torch.from_numpy(INNER_MASK.astype(np.float32)).expand(n, 1, -1, -1)


def _parts(n: int) -> torch.Tensor:
    return _masks(n) * torch.from_numpy(part_rows())[None, :, :, None]


def test_generator_ignores_surroundings_input_inside_the_mask() -> None:
    net = LeakProofGenerator(SMALL)
    _random_biases(net)
    nn.init.normal_(net.out.weight, std=0.1)
    images, inside, points, identity = _inputs()
    masks = _masks(2).clone()
    masks[1, :, :50] = 0.0  # faces have masks of their own
    hidden = torch.where(masks > 0, torch.rand_like(images), images)
    scalars, told = scalars_for(2, None), torch.full((2, 6), 0.1)
    a, b = (net(x, masks, inside, points, told, identity, scalars) for x in (images, hidden))
    assert torch.equal(a, b)
    assert torch.equal(a * (1 - masks), images * (1 - masks))
    other = net(images, masks, inside, points, told, identity.flip(0), scalars)
    inner = INNER_MASK[50:].copy()
    assert (other - a)[:, :, 50:][:, :, inner].abs().mean() > 1e-4  # the identity decides
    noised = net(images, masks, inside, points, told, identity, scalars_for(2, 2.0))
    assert not torch.allclose(noised, a)


def test_untrained_generator_paints_the_light() -> None:
    net = LeakProofGenerator(SMALL)
    _, _, points, identity = _inputs()
    ramp = torch.linspace(0.2, 0.7, 128)[None, None, None] * torch.ones(2, 3, 128, 1)
    light = functional.avg_pool2d(ramp, 16)
    told, scalars = torch.full((2, 6), 0.1), scalars_for(2, None)
    out = net(ramp, _masks(2), enlarge_cells(light * 2 - 1), points, told, identity, scalars)
    assert torch.allclose(functional.avg_pool2d(out, 16)[..., 1:-1], light[..., 1:-1], atol=0.01)


def test_a_hazy_picture_gets_a_hazy_face() -> None:
    draw = torch.Generator().manual_seed(5)
    images = (
        torch.rand(2, 3, 16, 16, generator=draw).repeat_interleave(8, 2).repeat_interleave(8, 3)
    )
    mask = _masks(2)
    looks = []
    for depth in (1.0, 0.5):
        surroundings = (images * 2 - 1) * depth
        light = functional.avg_pool2d(surroundings, 16)
        told = torch.full((2, 6), 0.2 * depth)
        looks.append(look_of_footage(surroundings, light, told, mask))
    assert looks[0].shape == (2, 10)
    # half the contrast: logarithms of a mean difference (halved) and of variances (quartered)
    fall = (looks[0] - looks[1])[:, 1:]
    assert torch.allclose(fall[:, 2], torch.full((2,), 0.3466), atol=0.02)
    assert (fall[:, :2] > 0.3).all()
    assert torch.allclose(fall[:, 3:], torch.full((2, 6), 0.6931), atol=0.01)


def test_detail_is_no_stronger_than_the_original_s() -> None:
    draw = torch.Generator().manual_seed(6)
    painted = torch.randn(3, 3, 128, 128, generator=draw)
    parts = _parts(3)
    told = torch.tensor([[0.1] * 3 + [0.05] * 3, [0.04] * 3 + [0.2] * 3, [0.2] * 3 + [0.06] * 3])
    got = detail_strengths(as_strong_as(told, painted, parts), parts)
    assert (got <= told * 1.35 + 1e-3).all()  # the bands overlap a little
    assert (got[:, 3:] > 0.3 * told[:, 3:]).all()
    faint = as_strong_as(told, painted * 1e-3, parts)
    chin = faint[:, :, 90:110, 40:88], painted[:, :, 90:110, 40:88] * 1e-3
    gain = (told[:, 0] / 0.145).clamp(max=1.5).reshape(-1, 1, 1, 1)
    assert torch.allclose(chin[0], chin[1] * gain, atol=1e-6)


def test_a_bare_forehead_stays_bare() -> None:
    draw = torch.Generator().manual_seed(7)
    painted = torch.randn(1, 3, 128, 128, generator=draw)
    parts = _parts(1)
    told = torch.tensor([[0.01, 0.2, 0.2, 0.01, 0.2, 0.2]])
    shown = as_strong_as(told, painted, parts)[0, :, :, 40:88]
    assert shown[:, 14:27].std() < 0.1 * shown[:, 45:70].std()


def test_strengths_are_the_same_in_training_and_in_the_job() -> None:
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(8))
    parts = _parts(2)
    masks = np.stack([INNER_MASK, INNER_MASK])
    assert np.allclose(detail_strengths(images, parts), detail_of(images.numpy(), masks), atol=1e-5)


@pytest.mark.parametrize("ratio", [1.5, 3.0])
def test_coarse_light_sees_the_light_through_the_noise(ratio: float) -> None:
    draw = torch.Generator().manual_seed(3)
    clean = torch.rand(4, 3, 8, 8, generator=draw).repeat_interleave(16, 2).repeat_interleave(16, 3)
    masks = _masks(4)
    noise = without_cell_means(torch.randn(clean.shape, generator=draw), masks)
    inner = INNER_MASK.copy()
    # one of 256 degrees of freedom a cell is taken away, more at the rim
    assert 0.95 < float(noise[:, :, inner].std()) < 1.0
    assert noise[:, :, ~inner].abs().max() == 0
    alpha = 1 / (1 + ratio**2) ** 0.5
    light = coarse_light(alpha * clean + alpha * ratio * noise, masks, scalars_for(4, ratio))
    assert torch.allclose(light, cell_means(clean, masks, 16), atol=1e-4)
    middle = functional.avg_pool2d(clean, 16)[..., 3:5, 3:5]
    assert torch.allclose(light[..., 3:5, 3:5], middle, atol=0.05)


def test_noise_without_cell_means_is_the_same_in_training_and_in_the_job() -> None:
    noise = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(4))
    masks = np.stack([INNER_MASK, np.roll(INNER_MASK, 5, axis=1)])
    at_run_time = denoiser.without_cell_means(noise.numpy(), masks)
    in_training = without_cell_means(noise, torch.from_numpy(masks[:, None].astype("f4")))
    assert np.allclose(at_run_time, in_training.numpy(), atol=1e-5)


@pytest.mark.parametrize("cells", [8, 32])
def test_cell_means_are_the_same_in_training_and_in_the_job(cells: int) -> None:
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(9))
    masks = np.stack([INNER_MASK, np.roll(INNER_MASK, 5, axis=1)])
    at_run_time = conditions.cell_means(images.numpy(), masks, cells)
    in_training = cell_means(images, torch.from_numpy(masks[:, None].astype("f4")), 128 // cells)
    assert np.allclose(at_run_time, in_training.numpy(), atol=1e-5)


def test_attribute_net_starts_at_the_mean_face() -> None:
    mean = torch.rand(N_POINTS, 2) * 100
    net = AttributeNet(mean).eval()
    nn.init.zeros_(net.head[-1].weight)
    nn.init.zeros_(net.head[-1].bias)
    points, pose, expression, first = net.with_first_look(torch.rand(2, 3, 128, 128))
    assert torch.allclose(first[1], mean)
    for look in (net.looks.eye, net.looks.mouth):
        nn.init.zeros_(look.head[-1].weight)
    points = net(torch.rand(2, 3, 128, 128))[0]
    # the right eye is seen as a left one, which it is not in a face of random points
    rest = [i for i in range(N_POINTS) if i not in RIGHT_EYE.points]
    assert torch.allclose(points[1, rest], mean[rest], atol=1e-2)
    assert pose.shape == (2, 3)
    assert expression.shape == (2, 52)


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


def test_affa_chooses_between_its_inputs() -> None:
    fuse = Affa(16)
    e, d = torch.zeros(1, 16, 8, 8), torch.ones(1, 16, 8, 8)
    last = fuse.mask[3]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 20.0)
    assert torch.allclose(fuse(e, d), d, atol=1e-4)
    nn.init.constant_(last.bias, -20.0)
    assert torch.allclose(fuse(e, d), e, atol=1e-4)


def test_facedancer_depends_on_target_and_identity() -> None:
    net = FaceDancer(FaceDancerConfig(style=32, channels=(8, 8, 16, 16, 16)))
    images, _, _, identity = _inputs()
    out = net(images, identity)
    assert out.shape == images.shape
    assert (net(images, identity.flip(0)) - out).abs().mean() > 1e-3
    assert (net(images.flip(0), identity) - out).abs().mean() > 1e-3


def test_a_facedancer_is_read_back_as_wide_as_it_was() -> None:
    assert FaceDancerConfig.of_width(32) == FaceDancerConfig()
    for config in (FaceDancerConfig.of_width(8), FaceDancerConfig(style=32, mapping_depth=2)):
        assert FaceDancerConfig.of_weights(FaceDancer(config).state_dict()) == config


def test_critic_prefers_what_it_is_told_is_real() -> None:
    torch.manual_seed(0)
    critic = PatchDiscriminator(16)
    assert critic(torch.rand(2, 3, 128, 128)).shape == (2, 1, 8, 8)
    real, fake = torch.full((2, 1), 3.0), torch.full((2, 1), -3.0)
    assert float(hinge_critic(real, fake)) == 0.0
    assert float(hinge_critic(fake, real)) == 8.0


def test_feature_critic_learns_what_tells_two_kinds_apart() -> None:
    """Kinds that differ in one of two maps only, and in strength, which does not count."""
    torch.manual_seed(0)
    critic = FeatureCritic((3, 5))
    optimiser = torch.optim.Adam(critic.parameters(), 2e-3)

    def kinds(n: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        real, fake = ([torch.randn(n, 3, 8, 8), torch.randn(n, 5, 4, 4)] for _ in range(2))
        fake[1][:, 0] += 1.5
        return real, [10.0 * m for m in fake]

    for _ in range(150):
        real, fake = kinds(16)
        loss = logistic_critic(critic(real), critic(fake))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    real, fake = kinds(64)
    seen_real, seen_fake = critic(real), critic(fake)
    assert [tuple(v.shape[1:]) for v in seen_fake] == [(1, 8, 8), (1, 4, 4)]
    right = [((r > 0).float().mean() + (f < 0).float().mean()) / 2
             for r, f in zip(seen_real, seen_fake, strict=True)]  # fmt: skip
    assert right[1] > 0.7
    assert right[0] < 0.55
    assert fooling_loss(seen_fake) > fooling_loss(seen_real)


def test_logistic_critic_without_an_opinion() -> None:
    none = [torch.zeros(2, 1, 3, 3)]
    assert float(logistic_critic(none, none)) == pytest.approx(2 * math.log(2))
    assert float(fooling_loss(none)) == pytest.approx(math.log(2))
    sure = [torch.full((2, 1, 3, 3), 20.0)]
    assert float(logistic_critic(sure, [-sure[0]])) < 1e-6


def test_monochrome_footage_stays_monochrome() -> None:
    torch.manual_seed(0)
    net = LeakProofGenerator(GeneratorConfig(channels=(8, 8, 8, 8), blocks=(0, 0, 0, 1))).eval()
    torch.nn.init.normal_(net.out.weight, std=0.3)
    images, light, points, identity = _inputs()
    grey, grey_light = (v.mean(1, keepdim=True).expand_as(v) for v in (images, light))
    with torch.no_grad():
        told, scalars = torch.full((len(images), 6), 0.1), scalars_for(len(images), None)
        masks = _masks(len(images))
        out = net(grey, masks, grey_light, points, told, identity, scalars)
        tinted = net(images, masks, light, points, told, identity, scalars)
    assert (out - out.mean(1, keepdim=True)).abs().max() < 1e-5
    assert (out - grey).abs().max() > 0.1  # something was painted
    assert (tinted - tinted.mean(1, keepdim=True)).abs().max() > 0.01


def test_detail_is_no_more_colourful_than_the_light_allows() -> None:
    light, detail = torch.zeros(3, 3, 8, 8), torch.zeros(3, 3, 128, 128)
    light[1, 0], light[2, 0] = 0.03, 0.6
    detail[:, 0] = 0.15
    features = torch.zeros(3, 1, 128, 128)
    features[..., 64:] = 1.0
    found, vivid = as_colourful_as(light, detail, features).split(64, dim=3)
    detail = detail[..., :64]
    assert torch.allclose(found.mean(1), detail.mean(1), atol=1e-6)  # brightness stays
    grey, pale, skin = (found[:, 0] - found.mean(1)).abs().amax((1, 2)).tolist()
    assert grey < 1e-6
    assert pale < 0.01
    assert 0.05 < skin <= 0.0605  # of 0.1
    assert 0.08 < (vivid[2, 0] - vivid[2].mean(0)).min() < 0.1  # eyes and lips
    assert (vivid[0, 0] - vivid[0].mean(0)).abs().max() < 1e-6


def test_tints_are_taken_away_and_brightness_is_not() -> None:
    cells = torch.full((1, 3, 8, 8), 0.3)
    assert missing_colour(torch.zeros(1, 3, 8, 8), cells).abs().max() < 1e-6
    cells[:, 0] += 0.3
    fixed = cells + missing_colour(torch.zeros(1, 3, 8, 8), cells)
    assert torch.allclose(fixed, fixed.mean(1, keepdim=True).expand_as(fixed), atol=1e-6)
    assert fixed.mean() == pytest.approx(0.4, abs=1e-5)


def test_chequers_are_stopped_and_flat_parts_kept() -> None:
    flat = torch.full((1, 3, 16, 16), 0.7)
    assert torch.allclose(without_chequers(flat), flat)
    ramp = torch.arange(16.0)
    chequer = flat + 0.5 * (-1.0) ** (ramp[:, None] + ramp[None])
    assert torch.allclose(without_chequers(chequer)[..., 2:-2, 2:-2], flat[..., 2:-2, 2:-2])
