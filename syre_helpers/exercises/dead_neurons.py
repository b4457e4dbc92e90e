"""Checks for the chapter "Dead neurons"."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_dead_neurons_still_dead(answer: object) -> Verdict:
    r"""Check the dead share of exercise 1, :math:`0.8 \, (1 - 0.25)^2`.

    Parameters
    ----------
    answer : object
        The reader's share of all pairs.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_dead_neurons_still_dead(0.6)
    Not yet. A pair has two weights, and either may be the one that is frozen.
    """
    return check_number(
        answer,
        0.8 * 0.75**2,
        what="The dead share",
        hints=[
            (0.8 * 0.75, "A pair has two weights, and either may be the one that is frozen."),
            (0.5 * 0.75**2, "On the page half of the pairs start dead; here more do."),
            (0.75**2, "That is the share of the dead pairs that stay dead; count all pairs."),
            (0.8 * 0.25**2, "These pairs have both weights frozen; a dead one has neither."),
            (0.8 * (1 - 0.25**2), "One frozen weight is enough to revive a pair."),
            (0.8 * (1 - 0.75**2), "That is the share that is revived."),
            (45, "Give a share between 0 and 1, not a percentage."),
        ],
        right="A quarter of the weights frozen, and more than half of the dead pairs stay dead.",
    )


def check_dead_neurons_unused(answer: object) -> Verdict:
    """Check the share of coefficients that are not used, of exercise 2.

    Parameters
    ----------
    answer : object
        The reader's function of (u, w, tol).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> def signed(u, w, tol):
    ...     c = u * w
    ...     return (c <= tol * c.max()).double().mean()
    >>> check_dead_neurons_unused(signed)
    Not yet. A large negative coefficient counts as unused: compare sizes, without the sign.
    """
    # Large negative coefficients, unbalanced pairs (one weight large, the other nearly 0), and one
    # coefficient that lies on the tolerance.
    mixed = (
        torch.tensor([2.0, -1.0, 0.5, 1e-3, 3.0, 0.0, 0.1], dtype=torch.float64),
        torch.tensor([2.0, 3.0, 0.5, 1e-3, 1e-4, 0.0, 0.2], dtype=torch.float64),
        0.01,
    )
    edge = (
        torch.tensor([1.0, 0.5, -4.0, 0.125, 1.0], dtype=torch.float64),
        torch.tensor([2.0, 1.0, -1.0, 1.0, 1.0], dtype=torch.float64),
        0.125,
    )
    return check_function(
        answer,
        _unused,
        {"seven pairs with tol = 0.01": mixed, "a coefficient on the tolerance": edge},
        what="The share",
        hints=[
            (
                lambda u, w, tol: _share(u * w <= tol * (u * w).max()),
                "A large negative coefficient counts as unused: compare sizes, without the sign.",
            ),
            (
                lambda u, w, tol: _share(torch.hypot(u, w) <= tol * torch.hypot(u, w).max()),
                "That is the distance to the mirror plane again: begin with the product u * w.",
            ),
            (
                lambda u, w, tol: _share((u * w).abs() <= tol),
                "The tolerance is relative: multiply it by the largest coefficient.",
            ),
            (
                lambda u, w, tol: 1 - _unused(u, w, tol),
                "That is the share that the model does use.",
            ),
            (
                lambda u, w, tol: len(u) * _unused(u, w, tol),
                "That is the number of unused coefficients: divide by how many there are.",
            ),
            (
                lambda u, w, tol: _share((u * w).abs() < tol * (u * w).abs().max()),
                "A coefficient of exactly the tolerance counts as unused: at most, not below.",
            ),
        ],
        right="Adding a tiny noise to the weights does not fool this measure.",
    )


def check_dead_neurons_best_share(answer: object) -> Verdict:
    r"""Check the share of exercise 3, which minimises :math:`q (1 - s)^2 + s^2`.

    Parameters
    ----------
    answer : object
        The reader's function of q.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_dead_neurons_best_share(lambda q: 1.0)
    Not yet. With all weights frozen no pair is dead, and none can learn either.
    """
    return check_function(
        answer,
        lambda q: q / (1 + q),
        [(0.5,), (0.2,), (1.0,), (0.0,)],
        what="The share",
        rtol=1e-3,
        atol=1e-3,
        hints=[
            (lambda q: 1.0, "With all weights frozen no pair is dead, and none can learn either."),
            (
                lambda q: 1 / 3,
                "That is right for half of the pairs dead; let the share depend on q.",
            ),
            (
                lambda q: q,
                "A pair that starts dead cannot learn either if both weights are frozen: count "
                "these among all pairs.",
            ),
            (
                lambda q: (1 - q) / (2 - q),
                "That leaves out the dead pairs, and counts those that are alive: swap the two.",
            ),
        ],
        right="Even then a share of q / (1 + q) of the pairs cannot learn.",
    )


def _share(mask: Tensor) -> Tensor:
    return mask.double().mean()


def _unused(u: Tensor, w: Tensor, tol: float) -> Tensor:
    size = (u * w).abs()
    return _share(size <= tol * size.max())
