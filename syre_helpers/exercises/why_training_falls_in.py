"""Checks for the chapter "Why training falls in"."""

from __future__ import annotations

import math

from .base import Verdict, check_function, check_number


def check_why_training_falls_in_threshold(answer: object) -> Verdict:
    r"""Check the :math:`\gamma^*` of exercise 1, for the loss :math:`(u w - 3)^2`.

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
    >>> check_why_training_falls_in_threshold(6)
    Not yet. That is the size of the eigenvalue; decay adds 2 gamma to it, so half is enough.
    """
    return check_number(
        answer,
        3.0,
        what="The threshold",
        hints=[
            (
                6.0,
                "That is the size of the eigenvalue; decay adds 2 gamma to it, so half is enough.",
            ),
            (-6.0, "That is the eigenvalue itself; ask which gamma brings it up to 0."),
            (-3.0, "Decay cannot be negative: the eigenvalue is, and gamma has to outweigh it."),
            (1.0, "That is the answer for (u w - 1)^2; here the cross term is three times that."),
            (0.0, "Without decay the origin is a saddle: one eigenvalue is negative."),
            (12.0, "The penalty's second derivative is 2 gamma, so gamma is halved, not doubled."),
        ],
        right="As PyTorch's weight_decay, which is 2 gamma, it is twice that.",
    )


def check_why_training_falls_in_longer_plateau(answer: object) -> Verdict:
    r"""Check the extra steps of exercise 2, :math:`\ln 10^6 / \ln(1 + \eta |\lambda|)`.

    Parameters
    ----------
    answer : object
        The reader's number of steps; 2% off is near enough, so that both forms of the law pass.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_why_training_falls_in_longer_plateau(1200)
    Not yet. You took the logarithm to base 10; growth by a factor a step needs the natural one.
    """
    rate = 0.01 * 0.5
    log = math.log(1e6)
    return check_number(
        answer,
        log / math.log1p(rate),
        what="The number of steps",
        rtol=0.02,
        hints=[
            (
                6 / rate,
                "You took the logarithm to base 10; growth by a factor a step needs the natural "
                "one.",
            ),
            (log / 0.5, "The learning rate is missing: a step moves lr times the gradient."),
            (log / 0.01, "The curvature is missing: the factor a step is 1 + lr |lambda|."),
            (
                math.log(1e9) / rate,
                "That is about the whole plateau; the question is by how much it got longer.",
            ),
            (
                log / (2 * rate),
                "There is no factor 2 here: the distance itself grows at this rate.",
            ),
            (1e6, "The wait grows with the logarithm of the ratio of the distances, not with it."),
            (lambda steps: steps < 0, "The plateau gets longer, so the number is positive."),
        ],
        right="A million times nearer, and the wait grows by a constant.",
    )


def check_why_training_falls_in_growth(answer: object) -> Verdict:
    r"""Check the growth of exercise 3, with noise and decay together.

    Parameters
    ----------
    answer : object
        The reader's function of (a, s, lr, gamma).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_why_training_falls_in_growth(lambda a, s, lr, gamma: 0.0)
    Not yet. Your growth goes wrong for a = 0.5, s = 2, lr = 0.2, gamma = 0: ...
    """
    return check_function(
        answer,
        _growth,
        {
            "a = 0.5, s = 2, lr = 0.2, gamma = 0": (0.5, 2.0, 0.2, 0.0),
            "a = 0.5, s = 2, lr = 0.2, gamma = 0.1": (0.5, 2.0, 0.2, 0.1),
            "no noise": (0.3, 0.0, 0.1, 0.05),
            "large steps, where the product is negative": (0.5, 8.0, 0.2, 0.1),
        },
        what="Your growth",
        hints=[
            (
                lambda a, s, lr, gamma: _growth(a, s, lr, 0.0),
                "Your function ignores gamma: that is the growth without decay.",
            ),
            (
                lambda a, s, lr, gamma: _growth(a, s, lr, gamma / 2),
                "The gradient of gamma u^2 is 2 gamma u: decay takes 2 gamma off a, not gamma.",
            ),
            (
                lambda a, s, lr, gamma: _growth(a, s, lr, -gamma),
                "Your decay helps to leave: it should take 2 gamma off a.",
            ),
            (
                lambda a, s, lr, gamma: 2 * _growth(a, s, lr, gamma),
                "That is the growth over both signs of the noise; a step has the mean of the two.",
            ),
            (
                lambda a, s, lr, gamma: math.log(abs(1 + lr * (a - 2 * gamma))),
                "That is the growth of the mean over runs: it does not see the noise at all.",
            ),
            (
                lambda a, s, lr, gamma: lr * (a - 2 * gamma) - 0.5 * (lr * s) ** 2,
                "That is right for small steps; the logarithm of the product is exact.",
            ),
        ],
        right="The two causes add up: each needs less where the other is at work.",
    )


def _growth(a: float, s: float, lr: float, gamma: float) -> float:
    mean = 1 + lr * (a - 2 * gamma)
    return 0.5 * math.log(abs(mean**2 - (lr * s) ** 2))
