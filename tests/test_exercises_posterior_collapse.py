"""Checks of the chapter "Posterior collapse": right answers pass, usual mistakes are told apart."""

import math

import pytest

from syre_helpers import exercises
from syre_helpers.experiments import linear_vae


def price(variance, beta):
    if variance <= beta:
        return 0.0
    return variance / 2 - beta / 2 * (1 + math.log(variance / beta))


def trapped(variances, latents, dead, beta):
    worth = int((variances > beta).sum())
    return min(latents, worth) - min(latents - dead, worth)


def loss(variances, latents, beta):
    error, kl = linear_vae.oracle(variances, latents, beta)
    return error / 2 + beta * kl


def test_right_answers():
    assert exercises.check_posterior_collapse_error(8.5)
    assert exercises.check_posterior_collapse_error(linear_vae.oracle([9, 4, 2, 0.5], 3, 3)[0])
    assert exercises.check_posterior_collapse_price(price)
    assert exercises.check_posterior_collapse_trapped(trapped)


def test_the_oracle_gives_the_same_answers():
    assert exercises.check_posterior_collapse_price(
        lambda variance, beta: variance / 2 - loss([variance], 1, beta)
    )

    def by_loss(variances, latents, dead, beta):
        """Return how many latents must be added until the loss falls no further."""
        best = loss(variances, latents, beta)
        return min(k for k in range(dead + 1) if loss(variances, latents - dead + k, beta) <= best)

    assert exercises.check_posterior_collapse_trapped(by_loss)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (8, "without a latent"),
        (9.5, "less than beta"),
        (6.5, "no latent"),
        (6, "under water"),
        (2.5, "whole direction"),
        (7, "saved"),
        (0.5, "kept whole"),
        (12, "high"),
        (float("nan"), "NaN"),
    ],
)
def test_wrong_errors(answer, words):
    verdict = exercises.check_posterior_collapse_error(answer)
    assert not verdict
    assert words in verdict.message
    assert "8.5" not in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda v, b: v / 2 - b / 2 * (1 + math.log(v / b)), "Below it"),
        (lambda v, b: (v - b) / 2, "KL"),
        (lambda v, b: max(0, v - b) / 2, "KL"),
        (lambda v, b: max(0, v - b), "half the error"),
        (lambda v, b: 0 if v <= b else (v - b) / 2 - math.log(v / b) / 2, "beta times"),
        (lambda v, b: 2 * price(v, b), "Twice"),
        (lambda v, b: -price(v, b), "sign"),
        (lambda v, b: 1 / 0, "ZeroDivisionError"),
        (lambda v, b: None, "end with a return"),
    ],
)
def test_wrong_prices(mistake, words):
    verdict = exercises.check_posterior_collapse_price(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda v, n, dead, b: dead, "optimum to leave it"),
        (lambda v, n, dead, b: min(dead, int((v > b).sum())), "largest directions"),
        (lambda v, n, dead, b: max(0, int((v > b).sum()) - (n - dead)), "than the model has"),
        (lambda v, n, dead, b: min(n, int((v > b).sum())) - (n - dead), "negative"),
        (
            lambda v, n, dead, b: min(n, int((v >= b).sum())) - min(n - dead, int((v >= b).sum())),
            "exactly beta",
        ),
        (lambda v, n, dead, b: v.sort().values, "no number"),
        (lambda v, n, dead, b: v.sub_(b).sum(), "work on a copy"),
    ],
)
def test_wrong_counts(mistake, words):
    verdict = exercises.check_posterior_collapse_trapped(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_posterior_collapse_error,
        exercises.check_posterior_collapse_price,
        exercises.check_posterior_collapse_trapped,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("eight").message
