"""Checks of the chapter "Mode connectivity": right answers pass, usual mistakes are told apart."""

import itertools
import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment

from syre_helpers import exercises


def barrier(losses):
    share = torch.linspace(0, 1, len(losses), dtype=losses.dtype)
    return (losses - torch.lerp(losses[0], losses[-1], share)).max()


def order(w, t):
    return linear_sum_assignment((t @ w.T).numpy(), maximize=True)[1].tolist()


def test_right_answers():
    assert exercises.check_mode_connectivity_forgetting(4605)
    assert exercises.check_mode_connectivity_forgetting(math.log(0.01) / math.log(0.999))
    assert exercises.check_mode_connectivity_barrier(barrier)
    assert exercises.check_mode_connectivity_barrier(lambda losses: barrier(losses).item())
    assert exercises.check_mode_connectivity_order(order)
    assert exercises.check_mode_connectivity_order(lambda w, t: torch.tensor(order(w, t)))


def test_the_order_is_the_nearest_of_all():
    def by_search(w, t):
        orders = [list(o) for o in itertools.permutations(range(len(w)))]
        return min(orders, key=lambda o: (w[o] - t).square().sum().item())

    assert exercises.check_mode_connectivity_order(by_search)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (1000, "37%"),
        (46052, "Momentum"),
        (9210, "half of it"),
        (2303, "not twice"),
        (2000, "natural"),
        (10.05, "1% is gone"),
        (7000, "high"),
        (float("nan"), "NaN"),
    ],
)
def test_wrong_numbers_of_steps(answer, words):
    verdict = exercises.check_mode_connectivity_forgetting(answer)
    assert not verdict
    assert words in verdict.message
    assert "4605" not in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda v: v.max(), "highest loss"),
        (lambda v: v.max() - (v[0] + v[-1]) / 2, "mean of the ends"),
        (lambda v: v.max() - max(v[0], v[-1]), "worse end"),
        (lambda v: v.max() - min(v[0], v[-1]), "better end"),
        (lambda v: v[len(v) // 2] - (v[0] + v[-1]) / 2, "middle"),
        (lambda v: -barrier(v), "too low"),
        (lambda v: None, "end with a return"),
        (lambda v: v.sub_(1).max(), "work on a copy"),
    ],
)
def test_wrong_barriers(mistake, words):
    verdict = exercises.check_mode_connectivity_barrier(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda w, t: list(range(len(w))), "as they are"),
        (lambda w, t: (t @ w.T).argmax(1).tolist(), "used twice"),
        (lambda w, t: torch.cdist(t, w).argmin(1).tolist(), "used twice"),
        (lambda w, t: torch.tensor(order(w, t)).argsort().tolist(), "asked for"),
        (lambda w, t: linear_sum_assignment((t @ w.T).numpy())[1].tolist(), "farthest"),
        (lambda w, t: order(w, t)[:-1], "values"),
        (lambda w, t: w[order(w, t)], "place"),
        (lambda w, t: 1 / 0, "ZeroDivisionError"),
        (lambda w, t: None, "end with a return"),
    ],
)
def test_wrong_orders(mistake, words):
    verdict = exercises.check_mode_connectivity_order(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_mode_connectivity_forgetting,
        exercises.check_mode_connectivity_barrier,
        exercises.check_mode_connectivity_order,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("half").message
