"""Checks for the chapter "Syre in one line"."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_syre_pull_length(answer: object) -> Verdict:
    r"""Check the length of the pull :math:`\lambda \|P \theta_0\|` of exercise 1.

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
    >>> check_syre_pull_length(0.05)
    Not yet. That is the length of P theta_0 itself; the pull has weight_decay in front.
    """
    length = 0.05  # of (0.03, 0.04)
    return check_number(
        answer,
        0.2 * length,
        what="The length of the pull",
        hints=[
            (length, "That is the length of P theta_0 itself; the pull has weight_decay in front."),
            (0.2 * 0.07, "The length of a vector is the root of the sum of its squares."),
            (
                0.2 * length**2,
                "That is the square of theta_0's length times the decay; take the root.",
            ),
            (0.4 * length, "weight_decay already is 2 gamma: do not double it again."),
            (0.1 * length, "weight_decay is 2 gamma, not gamma: do not halve it."),
            (0.0, "Zero is the pull of plain decay; syre pulls towards theta_0."),
        ],
        right="Small, but it never fades.",
    )


def check_syre_advanced_step(answer: object) -> Verdict:
    r"""Check the step with :math:`D = 1 + \xi` of exercise 2.

    Parameters
    ----------
    answer : object
        The reader's function of (p, gradient, theta_0, xi, lr, weight_decay).

    Returns
    -------
    Verdict
        Whether it is right in float64 and keeps tiny entries of xi apart in float32.

    Examples
    --------
    >>> check_syre_advanced_step(lambda p, gradient, theta_0, xi, lr, weight_decay: p)
    Not yet. Your step leaves p as it was: subtract lr times (gradient + pull).
    """
    generator = torch.Generator().manual_seed(0)
    p, gradient, theta_0, xi = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    generic = (p, gradient, theta_0, 0.3 * xi, 0.1, 0.5)
    # In float32 1 + 5e-8 is 1, so a step of rate 1 from p would land on 0 exactly; p + p * 5e-8 is
    # the number after p, where p is close below a power of two.
    single = [torch.tensor([value]) for value in (1.9999, 0.0, 0.0, 5e-8)]
    verdict = check_function(
        answer,
        _advanced_step,
        {"three random weights": generic},
        what="Your step",
        hints=[
            (
                lambda p, *rest: p,
                "Your step leaves p as it was: subtract lr times (gradient + pull).",
            ),
            (_without_xi, "Your step ignores xi: that is the basic form."),
            (_wrong_sign, "Your step goes uphill: the gradient and the pull are subtracted."),
            (_centred_at_zero, "The pull goes to theta_0, so it holds p - theta_0, not p."),
            (_xi_alone, "D is 1 + xi: the plain difference is missing."),
        ],
    )
    if not verdict or not callable(answer):
        return verdict
    if not bool(torch.as_tensor(answer(*single, 1.0, 1.0)).any()):
        return Verdict(
            False,
            "Right on paper, but float32 cannot tell 1 + 5e-8 from 1: do not form 1 + xi, add "
            "diff * xi to diff.",
        )
    return Verdict(True, "This is how the library does it.")


def check_syre_longer_wait(answer: object) -> Verdict:
    r"""Check the extra steps of exercise 3, :math:`1000 \lambda / (2 - \lambda)` at 0.5.

    Parameters
    ----------
    answer : object
        The reader's number of steps; 5% off is near enough.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_syre_longer_wait(111)
    Not yet. That is the answer for a decay of 0.2; the question has 0.5.
    """
    return check_number(
        answer,
        1000 * 0.5 / 1.5,
        what="The number of steps",
        rtol=0.05,
        hints=[
            (1000 * 0.2 / 1.8, "That is the answer for a decay of 0.2; the question has 0.5."),
            (0.5 / 1.5, "That is the wait for one step of the first phase; there are 1000."),
            (1000 * 0.5 / 2, "While U grows the decay is still there: it grows at 2 - decay."),
            (1000 * 1.5 / 0.5, "The other way round: shrinking is slow, growing is fast."),
        ],
        right="Stronger decay digs deeper.",
    )


def _advanced_step(
    p: Tensor, gradient: Tensor, theta_0: Tensor, xi: Tensor, lr: float, weight_decay: float
) -> Tensor:
    diff = p - theta_0
    return p - lr * (gradient + weight_decay * (diff + diff * xi))


def _without_xi(
    p: Tensor, gradient: Tensor, theta_0: Tensor, xi: Tensor, lr: float, weight_decay: float
) -> Tensor:
    return _advanced_step(p, gradient, theta_0, 0 * xi, lr, weight_decay)


def _wrong_sign(
    p: Tensor, gradient: Tensor, theta_0: Tensor, xi: Tensor, lr: float, weight_decay: float
) -> Tensor:
    return _advanced_step(p, gradient, theta_0, xi, -lr, weight_decay)


def _centred_at_zero(
    p: Tensor, gradient: Tensor, theta_0: Tensor, xi: Tensor, lr: float, weight_decay: float
) -> Tensor:
    return _advanced_step(p, gradient, 0 * theta_0, xi, lr, weight_decay)


def _xi_alone(
    p: Tensor, gradient: Tensor, theta_0: Tensor, xi: Tensor, lr: float, weight_decay: float
) -> Tensor:
    return p - lr * (gradient + weight_decay * xi * (p - theta_0))
