"""Checks for the chapter "How strong, and how to choose"."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_how_strong_extra_steps(answer: object) -> Verdict:
    r"""Check the extra steps of exercise 1, :math:`\ln(100) / (2 \eta \lambda)`.

    Parameters
    ----------
    answer : object
        The reader's number of steps; one step off is near enough.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_how_strong_extra_steps(20)
    Not yet. The logarithm is the natural one: growth is counted in factors of e.
    """
    rate = 2 * 0.05 * 1.0
    return check_number(
        answer,
        math.log(100) / rate,
        what="The number of steps",
        rtol=0.0,
        atol=1.0,
        hints=[
            (2 / rate, "The logarithm is the natural one: growth is counted in factors of e."),
            (
                math.log(100) / rate * 2,
                "U grows at 2 * lr * lambda, since the gradient of the loss has a factor 2.",
            ),
            (math.log(10) / rate, "That is for ten times weaker; here it is a hundred times."),
            (100.0, "The strength enters through a logarithm only."),
            (
                math.log(1e4) / rate,
                "Only the change counts: sigma_0 is 100 times smaller than the default.",
            ),
        ],
        right="A hundred times weaker, and not even fifty steps.",
    )


def check_how_strong_weakest_swap(answer: object) -> Verdict:
    r"""Check the function of exercise 2: the smallest :math:`\|P \theta_0\|` over all swaps.

    Parameters
    ----------
    answer : object
        The reader's function of a matrix with one row a unit.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_how_strong_weakest_swap(lambda units: torch.pdist(units).min())
    Not yet. That is the distance of the two units; P takes half of it into each of the two.
    """
    generator = torch.Generator().manual_seed(0)
    cases = {
        f"{units} units with {scalars} weights each": (
            torch.randn(units, scalars, generator=generator, dtype=torch.float64),
        )
        for units, scalars in ((2, 3), (5, 4), (8, 1))
    }
    return check_function(
        answer,
        _weakest_swap,
        cases,
        what="Your function",
        hints=[
            (
                lambda units: torch.pdist(units).min(),
                "That is the distance of the two units; P takes half of it into each of the two.",
            ),
            (
                lambda units: torch.pdist(units).min() / 2,
                "That is one unit's half of P theta_0; its length counts both units.",
            ),
            (
                lambda units: torch.cdist(units, units).min(),
                "The smallest distance is that of a unit to itself; leave those pairs out.",
            ),
            (
                lambda units: torch.cdist(units, units).min() / 2**0.5,
                "The smallest distance is that of a unit to itself; leave those pairs out.",
            ),
            (
                lambda units: torch.pdist(units).max() / 2**0.5,
                "That is the strongest of the swaps; the weakest is asked for.",
            ),
            (
                lambda units: units.norm(dim=1).min(),
                "That is the weakest sign flip; here two units are swapped.",
            ),
        ],
        right="This is how unlucky the unluckiest pair is.",
    )


def check_how_strong_planes(answer: object) -> Verdict:
    r"""Check the number of planes of exercise 3, :math:`2^{r/2} \Gamma(r/2 + 1) / 0.1^r` at 10.

    Parameters
    ----------
    answer : object
        The reader's number; 5% off is near enough.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_how_strong_planes(32 * 720 * 1e10)
    Not yet. Gamma(6) is 5!, not 6!.
    """
    right = 2**5 * math.gamma(6) * 10.0**10
    return check_number(
        answer,
        right,
        what="The number of planes",
        rtol=0.05,
        hints=[
            (
                1e10,
                "The volume of the ball and the height of the Gaussian are missing: "
                "2^(r/2) Gamma(r/2+1).",
            ),
            (1 / right, "That is the probability for one plane; how many make one expected hit?"),
            (2**5 * math.gamma(5) * 1e10, "Gamma(6) is 5!, which is 120."),
            (2**5 * math.gamma(7) * 1e10, "Gamma(6) is 5!, not 6!."),
            (2**10 * math.gamma(11) * 1e10, "r is 10, and the formula has r/2."),
            ((2 * right) ** 0.5, "That is about the number of units; the planes are asked for."),
        ],
        right="That takes a layer of nine million units.",
    )


def _weakest_swap(units: Tensor) -> Tensor:
    return torch.pdist(units).min() / 2**0.5
