import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="attacks need the extra 'train'")

from deid_ops.attacks.learn import (  # noqa: E402
    LearnOptions,
    as_crops,
    as_input,
    fgsm,
    learn_regressor,
    learn_reverser,
    regress,
    reverse,
)
from deid_ops.attacks.networks import AttackerSize, EmbeddingRegressor  # noqa: E402
from deid_ops.errors import InvariantError  # noqa: E402
from deid_ops.judge.verification import checked_unit_rows  # noqa: E402

TINY = AttackerSize((8, 8, 8, 8), (8, 8, 8, 8))


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads that wait for each other are slow on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def options(steps, **other):
    return LearnOptions(steps=steps, batch=4, learning_rate=5e-3, size=TINY, **other)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (12, 6, 6, 3), dtype=np.uint8)
    return np.stack([cv2.resize(p, (128, 128), interpolation=cv2.INTER_CUBIC) for p in small])


def test_pictures_survive_the_round_trip(pictures):
    assert np.array_equal(as_crops(as_input(pictures)), pictures)


def test_an_invertible_defence_is_reversed(pictures):
    protected = (255 - pictures)[None]
    net = learn_reverser(protected, pictures, options(60))
    before = np.abs(protected[0].astype(int) - pictures).mean()
    after = np.abs(reverse(net, protected[0]).astype(int) - pictures).mean()
    assert after < 0.75 * before


def test_nothing_is_learnt_from_nothing(pictures):
    grey = np.full_like(pictures, 128)[None]
    net = learn_reverser(grey, pictures, options(20))
    guesses = reverse(net, grey[0])
    assert np.array_equal(guesses[0], guesses[1])


def test_the_critic_takes_part(pictures):
    plain = learn_reverser(pictures[None], pictures, options(3))
    critic = learn_reverser(pictures[None], pictures, options(3, adversarial_weight=1.0))
    assert not np.array_equal(reverse(plain, pictures), reverse(critic, pictures))


def test_the_regressor_reads_a_trace(pictures):
    rng = np.random.default_rng(1)
    vectors = checked_unit_rows(rng.normal(size=(12, 8)).astype(np.float32))
    blind = np.full((2, 12, 8), 8**-0.5, np.float32)  # the encoder sees nothing: pixels must do
    net = learn_regressor(np.stack([pictures, pictures[:, :, ::-1]]), blind, vectors, options(80))
    guessed = regress(net, pictures, blind[0])
    assert np.linalg.norm(guessed, axis=1) == pytest.approx(np.ones(12), abs=1e-4)
    right = (guessed @ vectors.T).argmax(axis=1) == np.arange(12)
    assert right.mean() > 0.5


def test_the_regressor_starts_from_the_encoder_and_undoes_a_negation(pictures):
    vectors = checked_unit_rows(np.random.default_rng(1).normal(size=(12, 8)).astype(np.float32))
    fresh = EmbeddingRegressor(8, TINY)
    assert regress(fresh, pictures, -vectors) == pytest.approx(-vectors, abs=1e-6)
    alike = np.repeat(pictures[:1], 12, axis=0)  # pixels say nothing: the vectors must do
    net = learn_regressor(alike[None], -vectors[None], vectors, options(5))
    assert (
        (regress(net, alike, -vectors) @ vectors.T).argmax(axis=1) == np.arange(12)
    ).mean() > 0.8


def test_training_follows_the_seed(pictures):
    nets = [learn_reverser(pictures[None], pictures, options(2, seed=s)) for s in (1, 1, 2)]
    out = [next(n.parameters()).detach().numpy() for n in nets]
    assert np.array_equal(out[0], out[1])
    assert not np.array_equal(out[0], out[2])


def test_fgsm_moves_the_reverser_by_at_most_eps(pictures):
    net = learn_reverser((255 - pictures)[None], pictures, options(10))
    moved = fgsm(net, pictures[:4], 0.15)
    change = np.abs(moved.astype(int) - pictures[:4])
    assert 0 < change.max() <= 20

    def drift(x):
        return np.abs(reverse(net, x).astype(int) - pictures[:4]).mean()

    assert drift(moved) > drift(pictures[:4])


def test_progress_is_told_and_wrong_shapes_are_refused(pictures):
    told = []
    learn_reverser(pictures[None], pictures, options(12), progress=lambda *a: told.append(a))
    assert [t[:2] for t in told] == [(10, 12), (12, 12)]
    with pytest.raises(InvariantError, match="originals"):
        learn_reverser(pictures[None], pictures[:-1], options(1))
