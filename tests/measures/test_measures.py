"""Measures against matrices and states whose answer is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, vmap

import syre_helpers as sh

relaxed = settings(deadline=None, max_examples=25, derandomize=True)


def matrix_with(spectrum, rows=9, columns=7, seed=0):
    """Return a matrix with the given singular values."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(rows, rows, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(columns, columns, generator=generator).double())[0]
    k = len(spectrum)
    return left[:, :k] @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ right[:k]


@relaxed
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=7), st.integers(0, 1000))
def test_ranks_are_functions_of_the_spectrum(spectrum, seed):
    x = matrix_with(spectrum, seed=seed)
    p = [s / sum(spectrum) for s in spectrum]
    assert sh.effective_rank(x).item() == pytest.approx(
        math.exp(-sum(q * math.log(q) for q in p)), rel=1e-9
    )
    squares = [s**2 for s in spectrum]
    assert sh.stable_rank(x).item() == pytest.approx(sum(squares) / max(squares), rel=1e-9)
    assert sh.numerical_rank(x, rtol=1e-3).item() == len(spectrum)


def test_numerical_rank_counts_above_its_tolerance():
    x = matrix_with([1.0, 1e-2, 1e-4, 1e-9])
    assert [sh.numerical_rank(x, rtol=t).item() for t in (0.1, 1e-3, 1e-6, 1e-12)] == [1, 2, 3, 4]
    assert sh.numerical_rank(matrix_with([1.0, 0.5])).item() == 2, "rounding must not count"


def test_a_small_random_matrix_gives_full_numerical_rank():
    """The trap that the book warns of: the numerical rank cannot tell collapse plus noise."""
    collapsed = matrix_with([1.0])
    noisy = collapsed + 1e-3 * torch.randn(9, 7, generator=torch.Generator().manual_seed(0))
    assert sh.numerical_rank(noisy).item() == 7
    assert sh.effective_rank(noisy).item() < 1.2
    assert sh.stable_rank(noisy).item() < 1.01


def test_zero_matrices_and_batches():
    zero = torch.zeros(3, 4)
    assert sh.effective_rank(zero) == sh.stable_rank(zero) == sh.numerical_rank(zero) == 0
    batch = torch.stack([matrix_with([1.0, 1.0]), matrix_with([3.0])])
    for measure in (sh.effective_rank, sh.stable_rank, sh.numerical_rank):
        one_by_one = torch.stack([measure(x) for x in batch])
        assert torch.allclose(measure(batch), one_by_one)
        assert torch.allclose(vmap(measure)(batch), one_by_one)


def test_dead_fraction():
    x = torch.tensor([[0.0, 1.0, -2.0, 0.0], [0.0, 0.5, 2.0, 1e-9]])
    assert sh.dead_fraction(x) == 0.5
    assert sh.dead_fraction(x, tol=0) == 0.25
    assert sh.dead_fraction(torch.tensor([3.0, 0.0, 1.0])) == pytest.approx(1 / 3)
    assert sh.dead_fraction(torch.zeros(4, 2)) == 1
    assert torch.equal(sh.dead_fraction(torch.stack([x, 0 * x])), torch.tensor([0.5, 1.0]))


@relaxed
@given(st.lists(st.integers(0, 4), min_size=1, max_size=9))
def test_duplicate_fraction_counts_copies(labels):
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = 1 - len(set(labels)) / len(labels)
    assert sh.duplicate_fraction(rows[labels]).item() == pytest.approx(expected)


def test_active_latents():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(500, 4, generator=generator) * torch.tensor([1.0, 0.3, 0.05, 0.0])
    assert sh.active_latents(means).item() == 2
    assert sh.active_latents(means + 5, threshold=1e-4).item() == 3


def test_degree_of_symmetry():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    swaps = [sh.permutation_reflection(model, "0", 0, j) for j in (1, 2, 3)]
    params = {n: p.detach() for n, p in model.named_parameters()}
    assert sh.degree_of_symmetry(swaps, params) == 0
    assert sh.degree_of_symmetry(swaps, swaps[1].nearest(params)) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="reflections is empty"):
        sh.degree_of_symmetry([], params)


def test_escape_force():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
    swap = sh.permutation_reflection(model, "0", 1, 2)
    params = {n: p.detach() for n, p in model.named_parameters()}
    symmetric = swap.nearest(params)

    def loss_fn(p):
        return functional_call(model, dict(p), (x,)).square().mean()

    assert sh.escape_force(swap, loss_fn, params) > 1e-4
    # The gradient of identical units is identical up to the order of summation.
    assert sh.escape_force(swap, loss_fn, symmetric) < 1e-16
    syre = sh.Syre(0.2, sigma_ratio=0.3)
    pull = syre.pull(symmetric)
    force = sh.escape_force(swap, lambda p: loss_fn(p) + pull.penalty(p), symmetric)
    # At a symmetric point P grad is exactly -weight_decay P theta_0.
    assert force == pytest.approx(0.2 * swap.linear_part().distance(pull.centre), rel=1e-10)


def test_escape_force_ignores_the_centre_of_the_reflection():
    mirror = sh.Reflection(lambda p: {"u": -p["u"]}, {"u": torch.tensor(2.0)})
    force = sh.escape_force(mirror, lambda p: (p["u"] - 2) ** 2, {"u": torch.tensor(5.0)})
    assert force == 6


def test_loss_barrier():
    a, b = {"w": torch.tensor([-1.0])}, {"w": torch.tensor([1.0])}
    # A double well with minima at +-1 and height 1 between; a bowl has no barrier.
    assert sh.loss_barrier(lambda p: (p["w"] ** 2 - 1).square().sum(), a, b) == pytest.approx(1)
    assert sh.loss_barrier(lambda p: p["w"].square().sum(), a, b) == 0
    # The barrier is measured against the line between the ends, not against 0.
    tilted = sh.loss_barrier(lambda p: ((p["w"] ** 2 - 1) ** 2 + 5 * p["w"] + 9).sum(), a, b)
    assert tilted == pytest.approx(1)


def test_loss_barrier_resets_statistics():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    ends = [{n: t.detach().clone() for n, t in state.items()} for _ in range(2)]
    seen = []

    def reset(params):
        seen.append(params["1.num_batches_tracked"].dtype)
        return {**params, "1.running_mean": torch.full((3,), 7.0)}

    barrier = sh.loss_barrier(lambda p: p["1.running_mean"].sum(), *ends, points=5, reset=reset)
    assert barrier == 0
    assert seen == [torch.int64] * 5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: sh.effective_rank(torch.ones(3)), "(3,)"),
        (lambda: sh.stable_rank(torch.ones(0, 3)), "(0, 3)"),
        (lambda: sh.effective_rank(torch.ones(2, 3, dtype=torch.int64)), "int64"),
        (lambda: sh.effective_rank(torch.full((2, 2), torch.nan)), "NaN"),
        (lambda: sh.numerical_rank(torch.ones(2, 2), rtol=-1), "rtol=-1"),
        (lambda: sh.dead_fraction(torch.ones(0)), "empty"),
        (lambda: sh.dead_fraction(torch.ones(2, 2), tol=-1.0), "tol=-1.0"),
        (lambda: sh.duplicate_fraction(torch.ones(4)), "(4,)"),
        (lambda: sh.active_latents(torch.ones(1, 4)), "1 sample"),
        (lambda: sh.loss_barrier(lambda p: p, {}, {}, points=2), "points=2"),
        (lambda: sh.loss_barrier(lambda p: p, {"a": torch.ones(1)}, {}), "same names"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=r".") as caught:
        call()
    assert words in str(caught.value)
