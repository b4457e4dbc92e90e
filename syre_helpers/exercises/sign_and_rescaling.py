"""Checks for the chapter "Sign flips and rescaling: dead neurons"."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_sign_and_rescaling_rank(answer: object) -> Verdict:
    r"""Check rank(P) of the sign flip of a unit in front of a BatchNorm, exercise 1.

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
    >>> check_sign_and_rescaling_rank(26)
    Not yet. The outgoing weights stay: the norm's gain takes the minus sign back.
    """
    inputs, outputs = 20, 5
    return check_number(
        answer,
        inputs + 1 + 1,
        what="The rank",
        rtol=0,
        hints=[
            (
                inputs + 1 + outputs,
                "The outgoing weights stay: the norm's gain takes the minus sign back.",
            ),
            (
                inputs + 1 + 1 + outputs,
                "Inputs, bias and gain already make two minus signs; the outgoing weights stay.",
            ),
            (inputs, "The bias is negated as well, and something must take the minus sign back."),
            (
                inputs + 1,
                "That negates what enters the norm; what takes the minus sign back behind it?",
            ),
            (
                inputs + 3,
                "The running mean is no parameter, and the norm's own bias keeps its sign.",
            ),
            (0, "Behind a BatchNorm even a ReLU unit has a sign flip."),
        ],
        right="The outgoing weights are not among them.",
    )


def check_sign_and_rescaling_balance(answer: object) -> Verdict:
    """Check the function of exercise 2, which returns the cheapest pairs with the same products.

    Parameters
    ----------
    answer : object
        The reader's function of two tensors (u, w).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_sign_and_rescaling_balance(lambda u, w: (u, w))
    Not yet. Your function leaves the pairs as they are; only those with |u| = |w| are cheapest.
    """
    generator = torch.Generator().manual_seed(0)
    u, w = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    alive = (torch.tensor([4.0, 0.5]).double(), torch.tensor([1.0, 8.0]).double())
    dead = (torch.tensor([0.0, -3.0]).double(), torch.tensor([2.0, 0.0]).double())
    return check_function(
        answer,
        _balance,
        {"positive pairs": alive, "pairs of both signs": (u, w), "pairs with product 0": dead},
        what="Your function",
        hints=[
            (
                lambda u, w: (u, w),
                "Your function leaves the pairs as they are; only those with |u| = |w| are "
                "cheapest.",
            ),
            (
                _without_signs,
                "Both of your factors are positive, but a negative product must stay negative.",
            ),
            (
                lambda u, w: ((u * w).sqrt(), (u * w).sqrt()),
                "Your function gives NaN where the product is negative: take the root of its size.",
            ),
            (
                lambda u, w: (u.sign() * (u * w).abs(), w.sign() * (u * w).abs()),
                "The product of your factors is the square of the old one: a root is missing.",
            ),
            (
                lambda u, w: (
                    u.sign() * (u.abs() + w.abs()) / 2,
                    w.sign() * (u.abs() + w.abs()) / 2,
                ),
                "The mean of |u| and |w| changes the product; which mean keeps it?",
            ),
            (
                lambda u, w: (u.sign() * (u * w).abs().sqrt(), (u * w).abs().sqrt()),
                "Your w is never negative: give it back its sign.",
            ),
        ],
        right="It costs 2 gamma |u w|, and no other pair with this product costs less.",
    )


def check_sign_and_rescaling_trapped(answer: object) -> Verdict:
    r"""Check the function of exercise 3: which dead pairs have :math:`|g| > 2 \gamma`.

    Parameters
    ----------
    answer : object
        The reader's function of (gradient, weight_decay), a tensor and a number.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_sign_and_rescaling_trapped(lambda gradient, weight_decay: gradient > weight_decay)
    Not yet. A negative gradient pulls as hard as a positive one: take its size.
    """
    gradient = torch.tensor([0.0, 0.15, -0.15, 0.3, -0.3, 0.5, -0.5], dtype=torch.float64)
    return check_function(
        answer,
        lambda gradient, weight_decay: gradient.abs() > weight_decay,
        {
            "weight_decay=0.2": (gradient, 0.2),
            "weight_decay=0.4": (gradient, 0.4),
            "no decay": (gradient, 0.0),
        },
        what="Your function",
        hints=[
            (
                lambda gradient, weight_decay: gradient > weight_decay,
                "A negative gradient pulls as hard as a positive one: take its size.",
            ),
            (
                lambda gradient, weight_decay: gradient.abs() > 2 * weight_decay,
                "weight_decay already is 2 gamma: do not double it again.",
            ),
            (
                lambda gradient, weight_decay: gradient.abs() > weight_decay / 2,
                "The border is 2 gamma, and that is weight_decay: do not halve it.",
            ),
            (
                lambda gradient, weight_decay: gradient.abs() <= weight_decay,
                "Those are the pairs that the optimum wants dead; the trapped ones are the others.",
            ),
            (
                lambda gradient, weight_decay: gradient != 0,
                "A small gradient loses against decay: compare it with weight_decay.",
            ),
        ],
        right="On a trained model this tells you which zeros to worry about.",
    )


def _balance(u: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    size = (u * w).abs().sqrt()
    return u.sign() * size, w.sign() * size


def _without_signs(u: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    size = (u * w).abs().sqrt()
    return size, size
