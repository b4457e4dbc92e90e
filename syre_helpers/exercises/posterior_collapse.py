"""The exercises of the chapter "Posterior collapse"."""

import math

from torch import Tensor

from ._declare import Function, Number, float64


def _price(variance: float, beta: float) -> float:
    if variance <= beta:
        return 0.0
    return variance / 2 - beta / 2 * (1 + math.log(variance / beta))


def _worth(variances: Tensor, beta: float) -> int:
    return int((variances > beta).sum())


def _trapped(variances: Tensor, latents: int, dead: int, beta: float) -> int:
    worth = _worth(variances, beta)
    return min(latents, worth) - min(latents - dead, worth)


_VARIANCES = float64(0.1, 5.0, 3.0, 2.0, 4.0, 0.5)

# Variances 9, 4, 2 and 0.5, three latents, and beta = 3.
check_posterior_collapse_error = Number(
    what="The error",
    right=3 + 3 + 2 + 0.5,
    praise="Only two of the three latents are in use, and that is as it should be.",
    mistakes={
        "The direction without a latent is lost whole: add its variance.": 3 + 3 + 2,
        "A direction under water is lost whole, and that is less than beta.": 3 + 3 + 3 + 0.5,
        "The direction of variance 2 gets no latent: its variance is lost.": 3 + 3 + 0.5,
        "Two directions are under water; what lies in them is lost, too.": 3 + 3,
        "A latent does not save its whole direction: the part under water is lost.": 2 + 0.5,
        "That is what is saved: what stands out of the water.": 6 + 1,
        "Three directions could have a latent, but none of them is kept whole.": 0.5,
    },
)

check_posterior_collapse_price = Function(
    what="The price",
    right=_price,
    cases={
        f"variance {variance} and beta {beta}": (float(variance), float(beta))
        for variance, beta in ((3, 1), (9, 4), (2, 5), (2, 2))
    },
    praise="Near beta the price grows with the square of the distance: a shallow trap.",
    mistakes={
        "That is right where the variance exceeds beta. Below it the dead latent is the optimum, "
        "and the price is 0.": lambda v, b: v / 2 - b / 2 * (1 + math.log(v / b)),
        "That is what the error alone loses; a latent in use also pays a KL divergence.": (
            lambda v, b: (v - b) / 2,
            lambda v, b: max(0.0, v - b) / 2,
        ),
        "The loss has half the error, "
        "and a latent in use also pays a KL divergence.": lambda v, b: max(0.0, v - b),
        "The KL divergence counts beta times in the loss.": lambda v, b: (
            0.0 if v <= b else (v - b) / 2 - math.log(v / b) / 2
        ),
        "Twice too much: the loss has half the squared error.": lambda v, b: 2 * _price(v, b),
        "The dead latent has the higher loss: change the sign.": lambda v, b: -_price(v, b),
    },
)

check_posterior_collapse_trapped = Function(
    what="The number of trapped latents",
    right=_trapped,
    cases={
        "all worth having": (_VARIANCES, 4, 2, 1.0),
        "one of two dead worth having": (_VARIANCES, 4, 2, 2.5),
        "all in use that are worth it": (_VARIANCES, 4, 2, 3.5),
        "fewer latents than directions": (_VARIANCES, 3, 3, 0.3),
        "everything under water": (_VARIANCES, 4, 4, 10.0),
        "few worth having": (_VARIANCES, 4, 1, 4.5),
        "a variance equal to beta": (_VARIANCES, 4, 3, 3.0),
    },
    praise="The rest of the dead latents are where the loss wants them.",
    mistakes={
        "Not every dead latent is trapped: "
        "it may be the optimum to leave it empty.": lambda v, n, dead, b: dead,
        "The living latents already have the largest directions: "
        "leave those out.": lambda v, n, dead, b: min(dead, _worth(v, b)),
        "There may be more directions above the water than the model has "
        "latents.": lambda v, n, dead, b: max(0, _worth(v, b) - (n - dead)),
        "The number cannot be negative: some of the living latents may be "
        "empty, too.": lambda v, n, dead, b: min(n, _worth(v, b)) - (n - dead),
        "At a variance of exactly beta a latent has nothing to gain: "
        "it is not trapped.": lambda v, n, dead, b: _trapped(v, n, dead, b - 1e-9),
    },
)
