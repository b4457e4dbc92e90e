"""Checks for the chapter "What it costs"."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_what_it_costs_shift(answer: object) -> Verdict:
    r"""Check the shift of exercise 1, :math:`\gamma / (\lambda + \gamma)` of 0.05.

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
    >>> check_what_it_costs_shift(0.2)
    Not yet. That is the share of theta_0; by how much does the solution move?
    """
    variance, gamma, theta_0 = 0.4, 0.1, 0.05
    return check_number(
        answer,
        gamma / (variance + gamma) * theta_0,
        what="The shift",
        hints=[
            (
                gamma / (variance + gamma),
                "That is the share of theta_0; by how much does the solution move?",
            ),
            (2 * gamma / (variance + 2 * gamma) * theta_0, "weight_decay is 2 gamma: halve it."),
            (
                gamma / variance * theta_0,
                "Near, but that is the limit of strong data: gamma adds to the variance below.",
            ),
            (gamma * theta_0, "The order is right; the direction's variance is missing."),
            (
                variance / (variance + gamma) * theta_0,
                "The other way round: strong data hold the solution where it is.",
            ),
            (0.0, "Zero is the shift under plain decay."),
        ],
        right="A fifth of theta_0: in this direction gamma is not small.",
    )


def check_what_it_costs_memory(answer: object) -> Verdict:
    """Check the gigabytes of exercise 2: two arrays of 4 bytes for 1.5 billion parameters.

    Parameters
    ----------
    answer : object
        The reader's number of gigabytes.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_what_it_costs_memory(6)
    Not yet. That is theta_0 alone; D is kept too.
    """
    billions = 1.5
    return check_number(
        answer,
        8 * billions,
        what="The number of gigabytes",
        hints=[
            (4 * billions, "That is theta_0 alone; D is kept too."),
            (2 * billions, "That is two bytes a parameter; float32 has four."),
            (16 * billions, "That is what AdamW holds already. What does syre add?"),
            (24 * billions, "That is all together; the question is what comes on top."),
            (8 * billions * 1e9, "Those are bytes; a gigabyte has a billion of them."),
            (8 * billions * 1e9 / 2**30, "Those are gibibytes, of 2^30 bytes; here it is 10^9."),
        ],
        right="Half of what AdamW holds already.",
    )


def check_what_it_costs_ridge(answer: object) -> Verdict:
    """Check the ridge regression with D of exercise 3.

    Parameters
    ----------
    answer : object
        The reader's function of (x, y, gamma, theta_0, xi).

    Returns
    -------
    Verdict
        Whether it is right, on data of full rank and with a column of zeros.

    Examples
    --------
    >>> check_what_it_costs_ridge(lambda x, y, gamma, theta_0, xi: theta_0)
    Not yet. That is theta_0 itself: the data have no say.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 4, generator=generator, dtype=torch.float64)
    y = torch.randn(12, generator=generator, dtype=torch.float64)
    theta_0, xi = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    blind = x.clone()
    blind[:, 2] = 0
    return check_function(
        answer,
        _ridge,
        {
            "random data": (x, y, 0.3, theta_0, 0.4 * xi.tanh()),
            "data with a column of zeros": (blind, y, 0.1, theta_0, 0.4 * xi.tanh()),
        },
        what="Your solution",
        hints=[
            (
                lambda x, y, gamma, theta_0, xi: theta_0,
                "That is theta_0 itself: the data have no say.",
            ),
            (
                lambda x, y, gamma, theta_0, xi: _ridge(x, y, gamma, theta_0, 0 * xi),
                "That is the basic form; xi is not used.",
            ),
            (
                lambda x, y, gamma, theta_0, xi: _ridge(x, y, gamma, 0 * theta_0, xi),
                "That decays to 0; where is theta_0?",
            ),
            (
                lambda x, y, gamma, theta_0, xi: _ridge(x, y, gamma, theta_0 / (1 + xi), xi),
                "D multiplies p - theta_0, so it stands before theta_0 too.",
            ),
            (
                lambda x, y, gamma, theta_0, xi: _ridge(x, y, gamma / len(x), theta_0, xi),
                "The loss is a mean over the samples: divide x.T @ x and x.T @ y by their number.",
            ),
            (
                lambda x, y, gamma, theta_0, xi: _ridge(x, y, gamma, theta_0, xi - 1),
                "D is 1 + xi, not xi.",
            ),
            (
                lambda x, y, gamma, theta_0, xi: _ridge(x, y, gamma / 2, theta_0, xi),
                "gamma is the factor in the loss already: do not halve it.",
            ),
            (
                lambda x, y, gamma, theta_0, xi: _ridge(x, y, 2 * gamma, theta_0, xi),
                "Both terms of the gradient have the factor 2; it cancels.",
            ),
        ],
        right="Where the column is zero, the weight is theta_0, and D has no say.",
    )


def _ridge(x: Tensor, y: Tensor, gamma: float, theta_0: Tensor, xi: Tensor) -> Tensor:
    metric = torch.diag(1 + xi)
    moments = x.T @ x / len(x) + gamma * metric
    return torch.linalg.solve(moments, x.T @ y / len(x) + gamma * metric @ theta_0)
