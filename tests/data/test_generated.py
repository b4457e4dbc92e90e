"""Generated data are what they are said to be, and come from a generator of their own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syre_helpers import data

MAKERS = {
    "digits": data.digits,
    "linear": data.linear_regression,
    "teacher": data.teacher_regression,
    "matrix": lambda seed, **more: (data.low_rank_matrix(6, 5, 2, seed, **more),),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_global_random_state_is_neither_read_nor_touched(maker):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        before = torch.random.get_rng_state()
        first = MAKERS[maker](seed=3)
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(2)
        again = MAKERS[maker](seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("maker", MAKERS)
def test_seeds_differ_and_dtypes_agree(maker):
    single, double = MAKERS[maker](seed=0), MAKERS[maker](seed=0, dtype=torch.float64)
    assert not torch.equal(MAKERS[maker](seed=1)[0], single[0])
    assert double[0].dtype == torch.float64
    for a, b in zip(single, double, strict=True):
        torch.testing.assert_close(a, b.to(a.dtype))


@given(n=st.integers(1, 20), m=st.integers(1, 20), d=st.integers(1, 8), seed=st.integers(0, 2**40))
@settings(max_examples=20, deadline=None)
def test_shapes_of_generated_data(n, m, d, seed):
    line = data.linear_regression(n, m, d, 0.1, seed)
    assert [tuple(t.shape) for t in line] == [(n, d), (n,), (m, d), (m,)]
    net = data.teacher_regression(n, m, d, seed=seed)
    assert [tuple(t.shape) for t in net] == [(n, d), (n, 1), (m, d), (m, 1)]


def test_noise_is_on_the_training_targets_only():
    clean, noisy = (data.linear_regression(4000, 10, 5, noise) for noise in (0.0, 0.3))
    assert (noisy.y_train - clean.y_train).std().item() == pytest.approx(0.3, rel=0.05)
    assert torch.equal(noisy.y_test, clean.y_test)
    assert torch.equal(noisy.x_train, clean.x_train)


@pytest.mark.parametrize("activation", ["tanh", "relu", "linear"])
def test_teacher_is_fixed_and_its_targets_are_standardised(activation):
    first = data.teacher_regression(5000, 10, activation=activation, dtype=torch.float64)
    assert first.y_train.mean().abs() < 0.1
    assert first.y_train.var().item() == pytest.approx(1, abs=0.1)
    # the same teacher: what it makes of the same inputs does not depend on how many there are
    other = data.teacher_regression(5000, 99, activation=activation, dtype=torch.float64)
    torch.testing.assert_close(first.y_train, other.y_train)
    another = data.teacher_regression(5000, 10, activation=activation, teacher_seed=1)
    assert torch.equal(another.x_train, first.x_train.float())
    assert (another.y_train - first.y_train).abs().max() > 0.1


@given(
    rows=st.integers(1, 12), columns=st.integers(1, 12), draw=st.data(), seed=st.integers(0, 1000)
)
@settings(max_examples=40, deadline=None)
def test_low_rank_matrix_has_the_singular_values(rows, columns, draw, seed):
    rank = draw.draw(st.integers(1, min(rows, columns)))
    values = draw.draw(st.lists(st.floats(0.1, 10), min_size=rank, max_size=rank))
    matrix = data.low_rank_matrix(
        rows, columns, rank, seed, singular_values=values, dtype=torch.float64
    )
    found = torch.linalg.svdvals(matrix)
    wanted = torch.zeros(min(rows, columns), dtype=torch.float64)
    wanted[:rank] = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


def test_symmetric_matrix_is_positive_semi_definite():
    matrix = data.low_rank_matrix(7, 7, 3, symmetric=True, dtype=torch.float64)
    torch.testing.assert_close(matrix, matrix.T)
    wanted = torch.tensor([0, 0, 0, 0, 1, 1.5, 2], dtype=torch.float64)
    torch.testing.assert_close(torch.linalg.eigvalsh(matrix), wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: data.linear_regression(0), "n_train: 0"),
        (lambda: data.linear_regression(5, -5), "n_test: -5"),
        (lambda: data.linear_regression(d=0), "d: 0"),
        (lambda: data.linear_regression(noise=float("nan")), "noise=nan"),
        (lambda: data.linear_regression(noise=-1), "noise=-1"),
        (lambda: data.linear_regression(seed=0.5), "seed=0.5"),
        (lambda: data.teacher_regression(units=0), "units: 0"),
        (lambda: data.teacher_regression(activation="tan"), "tan.*tanh"),
        (lambda: data.teacher_regression(teacher_seed=-1), "teacher_seed=-1"),
        (lambda: data.low_rank_matrix(3, 4, 4), "rank=4"),
        (lambda: data.low_rank_matrix(3, 4, 2, symmetric=True), "rows == columns"),
        (lambda: data.low_rank_matrix(3, 4, 2, singular_values=[1.0]), "singular_values"),
        (lambda: data.low_rank_matrix(3, 4, 1, singular_values=[float("nan")]), "finite"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
