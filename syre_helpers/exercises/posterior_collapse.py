"""Checks for the chapter "Posterior collapse"."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_posterior_collapse_error(answer: object) -> Verdict:
    """Check the expected squared error of exercise 1: variances 9, 4, 2, 0.5, and beta 3.

    Parameters
    ----------
    answer : object
        The reader's number.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_posterior_collapse_error(8.0)
    Not yet. The direction without a latent is lost whole: add its variance.
    """
    return check_number(
        answer,
        3 + 3 + 2 + 0.5,
        what="The error",
        hints=[
            (3 + 3 + 2, "The direction without a latent is lost whole: add its variance."),
            (3 + 3 + 3 + 0.5, "A direction under water is lost whole, and that is less than beta."),
            (3 + 3 + 0.5, "The direction of variance 2 gets no latent: its variance is lost."),
            (3 + 3, "Two directions are under water; what lies in them is lost, too."),
            (2 + 0.5, "A latent does not save its whole direction: the part under water is lost."),
            (6 + 1, "That is what is saved: what stands out of the water."),
            (0.5, "Three directions could have a latent, but none of them is kept whole."),
        ],
        right="Only two of the three latents are in use, and that is as it should be.",
    )


def check_posterior_collapse_price(answer: object) -> Verdict:
    r"""Check the price of a trapped latent of exercise 2.

    Parameters
    ----------
    answer : object
        The reader's function of (variance, beta).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_posterior_collapse_price(lambda v, b: (v - b) / 2)
    Not yet. That is what the error alone loses; a latent in use also pays a KL divergence.
    """
    return check_function(
        answer,
        _price,
        {
            "variance 3 and beta 1": (3.0, 1.0),
            "variance 9 and beta 4": (9.0, 4.0),
            "variance 2 and beta 5": (2.0, 5.0),
            "variance 2 and beta 2": (2.0, 2.0),
        },
        what="The price",
        hints=[
            (
                lambda v, b: v / 2 - b / 2 * (1 + math.log(v / b)),
                "That is right where the variance exceeds beta. Below it the dead latent is the "
                "optimum, and the price is 0.",
            ),
            (
                lambda v, b: (v - b) / 2,
                "That is what the error alone loses; a latent in use also pays a KL divergence.",
            ),
            (
                lambda v, b: max(0.0, v - b) / 2,
                "That is what the error alone loses; a latent in use also pays a KL divergence.",
            ),
            (
                lambda v, b: max(0.0, v - b),
                "The loss has half the error, and a latent in use also pays a KL divergence.",
            ),
            (
                lambda v, b: 0.0 if v <= b else (v - b) / 2 - math.log(v / b) / 2,
                "The KL divergence counts beta times in the loss.",
            ),
            (lambda v, b: 2 * _price(v, b), "Twice too much: the loss has half the squared error."),
            (lambda v, b: -_price(v, b), "The dead latent has the higher loss: change the sign."),
        ],
        right="Near beta the price grows with the square of the distance: a shallow trap.",
    )


def check_posterior_collapse_trapped(answer: object) -> Verdict:
    """Check the number of trapped latents of exercise 3.

    Parameters
    ----------
    answer : object
        The reader's function of (variances, latents, dead, beta).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_posterior_collapse_trapped(lambda variances, latents, dead, beta: dead)
    Not yet. Not every dead latent is trapped: it may be the optimum to leave it empty.
    """
    variances = torch.tensor([0.1, 5.0, 3.0, 2.0, 4.0, 0.5], dtype=torch.float64)
    return check_function(
        answer,
        _trapped,
        {
            "all worth having": (variances, 4, 2, 1.0),
            "one of two dead worth having": (variances, 4, 2, 2.5),
            "all in use that are worth it": (variances, 4, 2, 3.5),
            "fewer latents than directions": (variances, 3, 3, 0.3),
            "everything under water": (variances, 4, 4, 10.0),
            "few worth having": (variances, 4, 1, 4.5),
            "a variance equal to beta": (variances, 4, 3, 3.0),
        },
        what="The number of trapped latents",
        hints=[
            (
                lambda variances, latents, dead, beta: dead,
                "Not every dead latent is trapped: it may be the optimum to leave it empty.",
            ),
            (
                lambda variances, latents, dead, beta: min(dead, _worth(variances, beta)),
                "The living latents already have the largest directions: leave those out.",
            ),
            (
                lambda variances, latents, dead, beta: max(
                    0, _worth(variances, beta) - (latents - dead)
                ),
                "There may be more directions above the water than the model has latents.",
            ),
            (
                lambda variances, latents, dead, beta: (
                    min(latents, _worth(variances, beta)) - (latents - dead)
                ),
                "The number cannot be negative: some of the living latents may be empty, too.",
            ),
            (
                lambda variances, latents, dead, beta: (
                    min(latents, int((variances >= beta).sum()))
                    - min(latents - dead, int((variances >= beta).sum()))
                ),
                "At a variance of exactly beta a latent has nothing to gain: it is not trapped.",
            ),
        ],
        right="The rest of the dead latents are where the loss wants them.",
    )


def _price(variance: float, beta: float) -> float:
    if variance <= beta:
        return 0.0
    return variance / 2 - beta / 2 * (1 + math.log(variance / beta))


def _worth(variances: Tensor, beta: float) -> int:
    return int((variances > beta).sum())


def _trapped(variances: Tensor, latents: int, dead: int, beta: float) -> int:
    worth = _worth(variances, beta)
    return min(latents, worth) - min(latents - dead, worth)
