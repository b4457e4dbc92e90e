"""Checks of the chapter "Why training falls in": right answers pass, mistakes are told apart."""

import math

import pytest
import torch

from syre_helpers import exercises

threshold = exercises.check_why_training_falls_in_threshold
plateau = exercises.check_why_training_falls_in_longer_plateau
growth = exercises.check_why_training_falls_in_growth


def right_growth(a, s, lr, gamma):
    mean = 1 + lr * (a - 2 * gamma)
    return 0.5 * math.log(abs(mean**2 - (lr * s) ** 2))


def test_right_answers():
    assert threshold(3)
    assert threshold(torch.tensor(3.0))
    # Both forms of the law are near enough.
    assert plateau(math.log(1e6) / 0.005)
    assert plateau(math.log(1e6) / math.log(1.005))
    assert growth(right_growth)
    assert growth(lambda *case: torch.tensor(right_growth(*case)).double())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (6, "half is enough"),
        (-6, "brings it up to 0"),
        (-3, "cannot be negative"),
        (1, "three times"),
        (0, "saddle"),
        (12, "halved"),
        (4, "high"),
    ],
)
def test_wrong_thresholds(answer, words):
    verdict = threshold(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (1200, "base 10"),
        (27.6, "learning rate is missing"),
        (1382, "curvature is missing"),
        (4145, "whole plateau"),
        (1e6, "logarithm of the ratio"),
        (-2763, "positive"),
        (5000, "high"),
    ],
)
def test_wrong_plateaus(answer, words):
    verdict = plateau(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a, s, lr, gamma: right_growth(a, s, lr, 0), "ignores gamma"),
        (lambda a, s, lr, gamma: right_growth(a, s, lr, gamma / 2), "2 gamma off a, not gamma"),
        (lambda a, s, lr, gamma: right_growth(a, s, lr, -gamma), "helps to leave"),
        (lambda *case: 2 * right_growth(*case), "mean of the two"),
        (lambda a, s, lr, gamma: math.log(abs(1 + lr * (a - 2 * gamma))), "mean over runs"),
        (lambda a, s, lr, gamma: lr * (a - 2 * gamma) - (lr * s) ** 2 / 2, "small steps"),
        (lambda a, s, lr, gamma: math.log((1 + lr * a) ** 2 - (lr * s) ** 2), "ValueError"),
        (lambda *case: None, "return"),
        (lambda *case: "much", "no number"),
    ],
)
def test_wrong_growths(change, words):
    verdict = growth(change)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize("check", [threshold, plateau, growth])
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("three").message
