"""Checks of the chapter "Reinforcement learning": right answers pass, mistakes are told apart."""

import math

import numpy as np
import pytest
import torch

from syre_helpers import exercises

RETURN = exercises.check_reinforcement_learning_return
MEMORY = exercises.check_reinforcement_learning_memory
NOISE = exercises.check_reinforcement_learning_noise


def noise_after(std, lr, weight_decay, updates):
    return std ** ((1 - lr * weight_decay) ** updates)


def test_right_answers():
    assert RETURN(lambda p: sum(p**k for k in range(1, 9)))
    assert RETURN(lambda p: 8 if p == 1 else p * (1 - p**8) / (1 - p))
    assert MEMORY(math.log(2) * 1e4 / 160 * 2048)
    assert MEMORY(torch.tensor(88_718.0))
    assert NOISE(noise_after)
    assert NOISE(lambda *a: np.float64(noise_after(*a)))
    assert NOISE(lambda s, lr, wd, n: math.exp(math.log(s) * math.exp(-lr * wd * n)))


def test_the_return_is_that_of_simulated_episodes():
    generator = np.random.default_rng(0)
    right = generator.random((200_000, 8)) < 0.7
    earned = right.cumprod(1).sum(1).mean()
    assert earned == pytest.approx(sum(0.7**k for k in range(1, 9)), rel=0.01)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda p: 8 * p, "over"),
        (lambda p: p / (1 - p) if p < 1 else math.inf, "eighth"),
        (lambda p: sum(p**k for k in range(9)), "not with 1"),
        (lambda p: sum(p**k for k in range(8)), "ends of the sum"),
        (lambda p: sum(p**k for k in range(1, 8)), "last reward"),
        (lambda p: sum(k * p**k for k in range(1, 9)), "earns 1"),
        (lambda p: 8 * p**8, "all is right"),
        (lambda p: p / (1 - p), "ZeroDivisionError"),
        (lambda p: None, "end with a return"),
    ],
)
def test_wrong_returns(mistake, words):
    verdict = RETURN(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (6931, "updates"),
        (43.3, "rollouts"),
        (887_200, "10 passes"),
        (14_195_000, "more than one"),
        (1_108_960, "Divide"),
        (128_000, "37%"),
        (64_000, "what is left"),
        (90_000, "high"),
    ],
)
def test_wrong_numbers_of_steps(answer, words):
    verdict = MEMORY(answer)
    assert not verdict
    assert words in verdict.message
    assert "88" not in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda s, lr, wd, n: s * (1 - lr * wd) ** n, "not the width"),
        (lambda s, lr, wd, n: math.log(s) * (1 - lr * wd) ** n, "exponential"),
        (lambda s, lr, wd, n: s ** (1 - lr * wd), "one update"),
        (lambda s, lr, wd, n: s ** ((1 - wd) ** n), "lr * weight_decay"),
        (lambda s, lr, wd, n: s ** (1 - lr * wd * n), "power"),
    ],
)
def test_wrong_widths(mistake, words):
    verdict = NOISE(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize("check", [RETURN, MEMORY, NOISE])
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("half").message
