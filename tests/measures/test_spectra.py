"""The standard ranks of features, on matrices whose spectra are known, and against the SVD."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import syre_helpers as sh
from syre_helpers.measures import squared_spectrum

relaxed = settings(deadline=None, max_examples=25, derandomize=True)


def features(spectrum, rows=80, seed=0):
    """Return centred features with the given singular values."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randn(rows, len(spectrum), generator=generator, dtype=torch.float64)
    left = torch.linalg.qr(wide - wide.mean(0))[0]
    right = torch.linalg.qr(torch.randn(len(spectrum), len(spectrum), generator=generator))[0]
    return left * torch.tensor(spectrum, dtype=torch.float64) @ right.double()


@relaxed
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_the_gram_matrix_gives_the_squared_singular_values(rows, columns, seed):
    x = torch.randn(2, rows, columns, generator=torch.Generator().manual_seed(seed)).double()
    torch.testing.assert_close(squared_spectrum(x), torch.linalg.svdvals(x).square())


@relaxed
@given(st.lists(st.floats(0.1, 10), min_size=1, max_size=7), st.integers(0, 1000))
def test_each_is_its_function_of_the_spectrum(values, seed):
    h = features(values, seed=seed)
    ordered = sorted(values, reverse=True)
    largest = [sum(ordered[:k]) / sum(ordered) for k in range(1, len(values) + 1)]
    for delta in (0.02, 0.3):
        if min(abs(share - (1 - delta)) for share in largest) > 1e-6:  # no tie
            expected = next(k for k, share in enumerate(largest, 1) if share >= 1 - delta)
            assert sh.srank(h, delta) == expected
    squares = [v**2 for v in values]
    ratio = sum(squares) ** 2 / sum(s**2 for s in squares)
    assert sh.participation_ratio(h + 3).item() == pytest.approx(ratio), "the mean does not count"
    sizes = [v / math.sqrt(len(h)) for v in values]
    for epsilon in (0.011, 0.5):
        assert sh.feature_rank(h, epsilon) == sum(size > epsilon for size in sizes)


def test_at_the_ends():
    zero = torch.zeros(6, 4)
    assert [f(zero).item() for f in (sh.srank, sh.feature_rank, sh.participation_ratio)] == [0] * 3
    assert sh.srank(torch.eye(4), delta=0) == 4
    assert sh.participation_ratio(features([1e-100] * 3)).item() == pytest.approx(3)


@relaxed
@given(st.floats(0.2, 3), st.floats(1e-3, 1e3))
def test_the_exponent_of_a_power_law(exponent, scale):
    h = features([scale * j ** (-exponent / 2) for j in range(1, 61)])
    assert sh.alpha_req(h).item() == pytest.approx(exponent, rel=1e-6)
    assert sh.alpha_req(h, 1, 60).item() == pytest.approx(exponent, rel=1e-6)


def test_the_exponent_is_fitted_in_its_range_and_needs_two_eigenvalues():
    broken = [1.0] * 10 + [(j / 10) ** -1.0 for j in range(11, 31)]  # flat, then alpha = 2
    assert sh.alpha_req(features(broken), 1, 10).item() == pytest.approx(0, abs=1e-6)
    assert sh.alpha_req(features(broken), 11, 30).item() == pytest.approx(2, rel=1e-6)
    assert math.isnan(sh.alpha_req(features([1.0, 0.5, 0.2, 0.1, 0.05])))  # one, the fifth
    assert not math.isnan(sh.alpha_req(features([1.0, 0.5, 0.2, 0.1, 0.05, 0.02])))


def test_dormant_units_are_judged_next_to_the_others():
    h = torch.tensor([[1.0, -3.0, 0.05, 0.0], [1.0, 3.0, 0.05, 0.0]])
    # Scores 1, 3, .05 and 0, over their mean 1.0125.
    assert sh.dormant_ratio(h) == 0.25
    assert sh.dormant_ratio(h, tau=0.1) == sh.dormant_ratio(1e6 * h, tau=0.1) == 0.5
    assert sh.dormant_ratio(h, tau=0) == 0.25
    assert sh.dormant_ratio(torch.zeros(3, 2)) == 1
    assert torch.equal(sh.dormant_ratio(torch.stack([h, 0 * h])), torch.tensor([0.25, 1.0]))
