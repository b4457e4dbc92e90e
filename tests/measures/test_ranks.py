"""Ranks of matrices whose singular values are known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_default_tolerance_is_that_of_torch(dtype):
    """The largest dimension times epsilon, relative to the largest value."""
    eps = torch.finfo(dtype).eps
    x = torch.zeros(12, 4, dtype=dtype)
    x[0, 0], x[1, 1], x[2, 2] = 100, 100 * 13 * eps, 100 * 11 * eps
    assert sh.numerical_rank(x) == torch.linalg.matrix_rank(x) == 2


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
