"""Checks of the chapter "Dead neurons": right answers pass, usual mistakes are told apart."""

import pytest
import torch

from syre_helpers import exercises


def unused(u, w, tol):
    size = (u * w).abs()
    return (size <= tol * size.max()).double().mean()


def test_right_answers():
    assert exercises.check_dead_neurons_still_dead(0.45)
    assert exercises.check_dead_neurons_still_dead(torch.tensor(0.45))
    assert exercises.check_dead_neurons_unused(unused)
    assert exercises.check_dead_neurons_unused(lambda *a: unused(*a).item())
    assert exercises.check_dead_neurons_best_share(lambda q: q / (1 + q))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (0.6, "either"),
        (0.28125, "more do"),
        (0.5625, "count all pairs"),
        (0.05, "has neither"),
        (0.75, "enough to revive"),
        (0.35, "is revived"),
        (45, "percentage"),
        (0.9, "high"),
        (float("nan"), "NaN"),
    ],
)
def test_wrong_shares(answer, words):
    verdict = exercises.check_dead_neurons_still_dead(answer)
    assert not verdict
    assert words in verdict.message
    assert "0.45" not in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda u, w, tol: (u * w <= tol * (u * w).max()).double().mean(), "negative"),
        (lambda u, w, tol: unused(torch.hypot(u, w), torch.ones_like(u), tol), "mirror plane"),
        (lambda u, w, tol: ((u * w).abs() <= tol).double().mean(), "relative"),
        (lambda *a: 1 - unused(*a), "does use"),
        (lambda *a: unused(*a) * len(a[0]), "divide"),
        (lambda u, w, tol: ((u * w).abs() < tol * (u * w).abs().max()).double().mean(), "at most"),
        (lambda u, w, tol: (u * w).abs() <= tol * (u * w).abs().max(), "no number"),
        (lambda u, w, tol: u.mul_(w).mean(), "work on a copy"),
        (lambda u, w, tol: 1 / 0, "ZeroDivisionError"),
        (lambda u, w, tol: None, "end with a return"),
    ],
)
def test_wrong_measures(mistake, words):
    verdict = exercises.check_dead_neurons_unused(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda q: 1.0, "none can learn"),
        (lambda q: 1 / 3, "depend on q"),
        (lambda q: (1 - q) / (2 - q), "swap"),
        (lambda q: q, "these among all"),
        (lambda q: q / (1 + q) + 0.1, "too high"),
    ],
)
def test_wrong_best_shares(mistake, words):
    verdict = exercises.check_dead_neurons_best_share(mistake)
    assert not verdict
    assert words in verdict.message


def test_the_best_share_is_the_minimum():
    s = torch.linspace(0, 1, 10_001, dtype=torch.float64)

    def by_search(q):
        return s[(q * (1 - s) ** 2 + s**2).argmin()].item()

    assert exercises.check_dead_neurons_best_share(by_search)


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_dead_neurons_still_dead,
        exercises.check_dead_neurons_unused,
        exercises.check_dead_neurons_best_share,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("half").message
