"""Checks for the chapter "Loss of plasticity"."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Verdict, check_function


def check_loss_of_plasticity_half_life(answer: object) -> Verdict:
    r"""Check the half-life of exercise 1, :math:`\ln 2 \, (1 - \mu) / (\eta \lambda)`.

    Parameters
    ----------
    answer : object
        The reader's function of (lr, weight_decay, momentum).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_loss_of_plasticity_half_life(
    ...     lambda lr, weight_decay, momentum: 0.69 / (lr * weight_decay)
    ... )
    Not yet. That leaves out the momentum: it makes every push count several times.
    """
    return check_function(
        answer,
        lambda lr, decay, momentum: math.log(2) * (1 - momentum) / (lr * decay),
        [(0.05, 0.01, 0.9), (0.01, 0.001, 0.9), (0.02, 0.01, 0.5), (0.1, 1e-3, 0.0)],
        what="The number of steps",
        # Exact eigenvalues, whole steps and rounded logarithms are all right.
        rtol=0.06,
        hints=[
            (
                lambda lr, decay, momentum: math.log(2) / (lr * decay),
                "That leaves out the momentum: it makes every push count several times.",
            ),
            (
                lambda lr, decay, momentum: math.log(2) / (lr * decay * (1 - momentum)),
                "Momentum makes the pull stronger, so the half-life is shorter, not longer.",
            ),
            (
                lambda lr, decay, momentum: (1 - momentum) / (lr * decay),
                "After so many steps a share 1/e is left; a half is left earlier.",
            ),
            (
                lambda lr, decay, momentum: math.log(2) * (1 - momentum) / (2 * lr * decay),
                "Here weight_decay is PyTorch's, which is 2 gamma already.",
            ),
            (
                lambda lr, decay, momentum: math.log(2) * momentum / (lr * decay),
                "A push counts 1 / (1 - momentum) times, in all: 1 + mu + mu^2 + ...",
            ),
        ],
        right="With the page's settings about 139 steps, less than two tasks.",
    )


def check_loss_of_plasticity_dormant(answer: object) -> Verdict:
    """Check the dormant units of exercise 2.

    Parameters
    ----------
    answer : object
        The reader's function of (h, tau).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_loss_of_plasticity_dormant(lambda h, tau: h.mean(0) <= tau)
    Not yet. The score is relative: divide by the layer's mean activity.
    """
    # Columns: silent; a little; once, strongly; always.
    h = torch.tensor(
        [[0.0, 0.08, 0.0, 1.0], [0.0, 0.08, 4.0, 1.0], [0.0, 0.0, 0.0, 1.5], [0.0, 0.16, 0.0, 1.5]],
        dtype=torch.float64,
    )
    edge = torch.tensor([[1.0, 3.0, 8.0], [1.0, 5.0, 0.0]], dtype=torch.float64)
    signed = torch.tensor([[1.0, -3.0, 2.0], [-1.0, -3.0, 2.0]], dtype=torch.float64)
    cases = {
        "four units with tau = 0.1": (h, 0.1),
        "the same units, ten times as active": (10 * h, 0.1),
        "a unit on the threshold": (edge, 1 / 3),
        "outputs of both signs": (signed, 0.5),
    }
    return check_function(
        answer,
        _dormant,
        cases,
        what="The mask",
        hints=[
            (
                lambda h, tau: h.abs().mean(0) <= tau,
                "The score is relative: divide by the layer's mean activity.",
            ),
            (
                lambda h, tau: h.mean(0) <= tau,
                "The score is relative: divide by the layer's mean activity.",
            ),
            (
                lambda h, tau: h.mean(0) / h.mean() <= tau,
                "Outputs may be negative with other activations than ReLU: take their size first.",
            ),
            (
                lambda h, tau: _score(h) < tau,
                "A unit with a score of exactly tau is dormant: at most, not below.",
            ),
            (
                lambda h, tau: h.abs().mean(0) <= tau * h.abs().mean(0).max(),
                "Divide by the mean of the layer's units, not by the largest.",
            ),
            (
                lambda h, tau: ~_dormant(h, tau),
                "Those are the units that are not dormant.",
            ),
            (
                lambda h, tau: _score(h),
                "That is the score: return which units have one of at most tau.",
            ),
        ],
        right="ReDo gives these units new incoming weights, and outgoing weights of zero.",
    )


def check_loss_of_plasticity_carry_over(answer: object) -> Verdict:
    """Check the weights of exercise 3, which undo one shuffle and do another.

    Parameters
    ----------
    answer : object
        The reader's function of (weight, p, q).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_loss_of_plasticity_carry_over(lambda weight, p, q: weight[:, q])
    Not yet. That is right only if the pixels of the old task are in their original order.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    p, q = (torch.randperm(6, generator=generator) for _ in range(2))
    return check_function(
        answer,
        _carried_over,
        {
            "six pixels": (weight, p, q),
            "the other way round": (weight, q, p),
            "a first task in the original order": (weight, torch.arange(6), q),
        },
        what="The weights",
        hints=[
            (
                lambda w, p, q: w[:, q],
                "That is right only if the pixels of the old task are in their original order.",
            ),
            (
                lambda w, p, q: w[:, p][:, q],
                "p has to be undone: the position of pixel i in the old task is p.argsort()[i].",
            ),
            (
                lambda w, p, q: w[:, p.argsort()],
                "That is for images in their original order; the new task shuffles them by q.",
            ),
            (
                lambda w, p, q: w[:, q.argsort()[p]],
                "You have swapped the tasks: these weights lead from the new one to the old one.",
            ),
            (
                lambda w, p, q: w[:, q][:, p.argsort()],
                "Look up the pixel first, by q, and then its old position.",
            ),
        ],
        right="One relabelling of the inputs, and the old network solves the new task.",
    )


def _score(h: Tensor) -> Tensor:
    return h.abs().mean(0) / h.abs().mean()


def _dormant(h: Tensor, tau: float) -> Tensor:
    return _score(h) <= tau


def _carried_over(weight: Tensor, p: Tensor, q: Tensor) -> Tensor:
    return weight[:, p.argsort()[q]]
