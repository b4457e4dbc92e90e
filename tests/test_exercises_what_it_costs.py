"""Checks of the chapter "What it costs": right answers pass, usual mistakes are told apart."""

import pytest
import torch

from syre_helpers import exercises


def ridge(x, y, gamma, theta_0, xi):
    D = torch.diag(1 + xi)
    return torch.linalg.solve(x.T @ x / len(x) + gamma * D, x.T @ y / len(x) + gamma * D @ theta_0)


def test_right_answers():
    assert exercises.check_what_it_costs_shift(0.01)
    assert exercises.check_what_it_costs_shift(torch.tensor(0.01))
    assert exercises.check_what_it_costs_memory(12)
    assert exercises.check_what_it_costs_ridge(ridge)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (0.2, "share of theta_0"),
        (0.2 / 0.6 * 0.05, "halve it"),
        (0.0125, "limit of strong data"),
        (0.005, "variance is missing"),
        (0.04, "other way round"),
        (0, "plain decay"),
        (7, "too high"),
    ],
)
def test_wrong_shifts(answer, words):
    verdict = exercises.check_what_it_costs_shift(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (6, "D is kept"),
        (3, "float32"),
        (24, "already"),
        (36, "on top"),
        (1.2e10, "bytes"),
        (11.1759, "gibibytes"),
    ],
)
def test_wrong_gigabytes(answer, words):
    verdict = exercises.check_what_it_costs_memory(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y, g, t, xi: t, "theta_0 itself"),
        (lambda x, y, g, t, xi: ridge(x, y, g, t, 0 * xi), "xi is not used"),
        (lambda x, y, g, t, xi: ridge(x, y, g, 0 * t, xi), "decays to 0"),
        (lambda x, y, g, t, xi: ridge(x, y, g, t / (1 + xi), xi), "before theta_0"),
        (lambda x, y, g, t, xi: ridge(x, y, g / len(x), t, xi), "mean over the samples"),
        (lambda x, y, g, t, xi: ridge(x, y, g, t, xi - 1), "not xi"),
        (lambda x, y, g, t, xi: ridge(x, y, g / 2, t, xi), "do not halve"),
        (lambda x, y, g, t, xi: ridge(x, y, 2 * g, t, xi), "cancels"),
        (lambda x, y, g, t, xi: ridge(x, y, -g, t, xi), "goes wrong for random data"),
        (lambda x, y, g, t, xi: torch.linalg.solve(x, y), "stops for random data"),
        (lambda x, y, g, t, xi: ridge(x, y, g, t, xi)[:, None], "shape"),
    ],
)
def test_wrong_ridges(change, words):
    verdict = exercises.check_what_it_costs_ridge(change)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_what_it_costs_shift,
        exercises.check_what_it_costs_memory,
        exercises.check_what_it_costs_ridge,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("much").message
