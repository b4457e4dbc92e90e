"""Checks of the chapter "Syre in one line": right answers pass, usual mistakes are told apart."""

import pytest
import torch

from syre_helpers import exercises


def advanced_step(p, gradient, theta_0, xi, lr, weight_decay):
    diff = p - theta_0
    return p - lr * (gradient + weight_decay * (diff + diff * xi))


def naive_step(p, gradient, theta_0, xi, lr, weight_decay):
    return p - lr * (gradient + weight_decay * (1 + xi) * (p - theta_0))


def test_right_answers():
    assert exercises.check_syre_pull_length(0.01)
    assert exercises.check_syre_pull_length(torch.tensor(0.01))
    assert exercises.check_syre_advanced_step(advanced_step)
    assert exercises.check_syre_longer_wait(333)


@pytest.mark.parametrize(
    ("answer", "words"),
    [(0.05, "weight_decay in front"), (0.014, "root of the sum"), (0, "plain decay"), (3, "high")],
)
def test_wrong_lengths(answer, words):
    verdict = exercises.check_syre_pull_length(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda *a: a[0], "leaves p as it was"),
        (lambda *a: advanced_step(*a[:3], 0 * a[3], *a[4:]), "ignores xi"),
        (lambda *a: advanced_step(a[0], a[1], 0 * a[2], *a[3:]), "goes to theta_0"),
        (lambda *a: advanced_step(*a[:4], -a[4], a[5]), "uphill"),
        (lambda *a: a[0] - a[4] * (a[1] + a[5] * a[3] * (a[0] - a[2])), "D is 1 + xi"),
        (naive_step, "float32"),
        (lambda *a: 1 / 0, "ZeroDivisionError"),
        (lambda *a: a[0][:1], "shape"),
    ],
)
def test_wrong_steps(change, words):
    verdict = exercises.check_syre_advanced_step(change)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"), [(111, "0.2"), (1 / 3, "there are 1000"), (250, "grows"), (3000, "slow")]
)
def test_wrong_waits(answer, words):
    verdict = exercises.check_syre_longer_wait(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_syre_pull_length,
        exercises.check_syre_advanced_step,
        exercises.check_syre_longer_wait,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("a tenth").message
