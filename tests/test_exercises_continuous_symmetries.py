"""Checks of the chapter on D: right answers pass, usual mistakes are told apart."""

import pytest
import torch

from syre_helpers import exercises


def survivor(U_0, V_0):
    return torch.linalg.svd(torch.cat([U_0, V_0.T]))[2][-1]


def another_survivor(U_0, V_0):
    """Project a vector on what is orthogonal to all rows of S."""
    stacked = torch.cat([U_0, V_0.T])
    n = torch.ones(U_0.shape[1], dtype=U_0.dtype)
    n = n - torch.linalg.pinv(stacked) @ (stacked @ n)
    return -n / n.norm()


def quiet_place(n, theta_0, D):
    t = D * n - (n @ (D * n)) * n
    return (n @ (D * theta_0)) * t / (t @ t)


def test_right_answers():
    assert exercises.check_continuous_symmetries_threshold(12)
    assert exercises.check_continuous_symmetries_survivor(survivor)
    assert exercises.check_continuous_symmetries_survivor(another_survivor)
    assert exercises.check_continuous_symmetries_quiet_place(quiet_place)


def test_the_quiet_place_is_on_the_plane_and_quiet():
    generator = torch.Generator().manual_seed(1)
    n, theta_0, D = torch.randn(3, 6, generator=generator).double()
    n, D = n / n.norm(), 1 + 0.1 * D
    p = quiet_place(n, theta_0, D)
    assert abs(float(n @ p)) < 1e-12
    assert abs(float(n @ (D * (p - theta_0)))) < 1e-12


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (11, "only the solution zero"),
        (9, "U U^T"),
        (8, "more rows than U"),
        (4, "U brings"),
        (3, "largest rank"),
        (24, "add up"),
        (13, "high"),
    ],
)
def test_wrong_thresholds(answer, words):
    verdict = exercises.check_continuous_symmetries_threshold(answer)
    assert not verdict
    assert words in verdict.message


def svd(U_0, V_0, **options):
    return torch.linalg.svd(torch.cat([U_0, V_0.T]), **options)[2]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda U_0, V_0: 0 * U_0[0], "no direction"),
        (lambda U_0, V_0: 2 * survivor(U_0, V_0), "divide it by its norm"),
        (lambda U_0, V_0: torch.linalg.svd(U_0)[2][-1], "U_0 n = 0 only"),
        (lambda U_0, V_0: torch.linalg.svd(V_0.T)[2][-1], "V_0^T n = 0 only"),
        (lambda U_0, V_0: svd(U_0, V_0)[0], "feels most"),
        (lambda U_0, V_0: svd(U_0, V_0)[:, -1], "column"),
        (lambda U_0, V_0: svd(U_0, V_0, full_matrices=False)[-1], "full_matrices"),
        (lambda U_0, V_0: U_0[:, 0], "n should have shape"),
        (lambda U_0, V_0: None, "end with a return"),
        (lambda U_0, V_0: U_0 @ V_0 @ U_0, "RuntimeError"),
    ],
)
def test_wrong_survivors(function, words):
    verdict = exercises.check_continuous_symmetries_survivor(function)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda n, theta_0, D: theta_0, "not on the mirror plane"),
        (lambda n, theta_0, D: theta_0 - (n @ theta_0) * n, "closest to theta_0"),
        (
            lambda n, theta_0, D: D * n * (n @ (D * theta_0)) / (D * n).square().sum(),
            "take from D n",
        ),
        (lambda n, theta_0, D: -quiet_place(n, theta_0, D), "sign"),
        (lambda n, theta_0, D: quiet_place(n, theta_0 / D, D), "multiplied by D"),
        (lambda n, theta_0, D: 0 * theta_0, "At zero"),
        (lambda n, theta_0, D: quiet_place(n, theta_0, D)[:1], "shape"),
    ],
)
def test_wrong_places(function, words):
    verdict = exercises.check_continuous_symmetries_quiet_place(function)
    assert not verdict
    assert words in verdict.message


def test_a_place_divided_by_the_length():
    def wrong(n, theta_0, D):
        t = D * n - (n @ (D * n)) * n
        return (n @ (D * theta_0)) * t / t.norm()

    assert (
        "square of the length" in exercises.check_continuous_symmetries_quiet_place(wrong).message
    )


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_continuous_symmetries_threshold,
        exercises.check_continuous_symmetries_survivor,
        exercises.check_continuous_symmetries_quiet_place,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("twelve").message
