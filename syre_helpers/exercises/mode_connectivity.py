"""Checks for the chapter "Mode connectivity"."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_mode_connectivity_forgetting(answer: object) -> Verdict:
    r"""Check the number of steps of exercise 1, :math:`\ln 100 / (0.5 \cdot 0.002)`.

    Parameters
    ----------
    answer : object
        The reader's number of steps.

    Returns
    -------
    Verdict
        Whether it is right, to 5%, else which usual mistake was made.

    Examples
    --------
    >>> check_mode_connectivity_forgetting(1000)
    Not yet. After so many steps about 37% is left; the question is after how many 1% is.
    """
    per_step = 0.05 / (1 - 0.9) * 0.002
    return check_number(
        answer,
        math.log(100) / per_step,
        what="The number of steps",
        rtol=0.05,
        hints=[
            (
                1 / per_step,
                "After so many steps about 37% is left; the question is after how many 1% is.",
            ),
            (math.log(100) / (0.05 * 0.002), "Momentum 0.9 makes each step as good as ten."),
            (
                2 * math.log(100) / per_step,
                "The gradient of the pull is weight_decay times the distance; gamma is half of it.",
            ),
            (
                math.log(100) / per_step / 2,
                "The pull is weight_decay times the distance, and not twice that.",
            ),
            (math.log10(100) / per_step, "Take the natural logarithm of 100."),
            (
                0.99 / per_step,
                "The pull grows weaker on the way: the distance shrinks by a factor.",
            ),
            (
                -math.log(0.99) / per_step,
                "After so many steps 1% is gone; the question is after how many 1% is left.",
            ),
        ],
        right="And that is with the data out of the way; they may hold a network where it is.",
    )


def check_mode_connectivity_barrier(answer: object) -> Verdict:
    """Check the loss barrier of exercise 2.

    Parameters
    ----------
    answer : object
        The reader's function of the losses along a line.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_mode_connectivity_barrier(lambda losses: losses.max())
    Not yet. That is the highest loss; the barrier is how far it lies above the line of the ends.
    """
    cases = {
        "ends of equal loss": ([0.2, 0.9, 0.4, 0.2],),
        "ends of different losses": ([1.0, 1.2, 0.4, 0.2, 0.0],),
        "a line that only falls": ([0.9, 0.1, 0.05, 0.0],),
    }
    return check_function(
        answer,
        _barrier,
        {name: (torch.tensor(c[0], dtype=torch.float64),) for name, c in cases.items()},
        what="The barrier",
        hints=[
            (
                lambda losses: losses.max(),
                "That is the highest loss; the barrier is how far it lies above the line of the "
                "ends.",
            ),
            (
                lambda losses: losses.max() - (losses[0] + losses[-1]) / 2,
                "That compares with the mean of the ends everywhere; near a bad end the line is "
                "higher.",
            ),
            (
                lambda losses: losses.max() - torch.maximum(losses[0], losses[-1]),
                "That compares with the worse end everywhere; the line falls to the better one.",
            ),
            (
                lambda losses: losses.max() - torch.minimum(losses[0], losses[-1]),
                "That compares with the better end everywhere; the line rises to the worse one.",
            ),
            (
                lambda losses: losses[len(losses) // 2] - (losses[0] + losses[-1]) / 2,
                "That looks at the middle only; the barrier may be highest elsewhere.",
            ),
            (
                lambda losses: _rise(losses, falling=True).max(),
                "Your line runs the wrong way: it must begin with the first loss.",
            ),
            (
                lambda losses: _rise(losses),
                "These are the heights at all positions: return the largest.",
            ),
            (
                lambda losses: _rise(losses).mean(),
                "That is the mean height; the barrier is the largest.",
            ),
        ],
        right="The ends themselves lie on the line, so a barrier is never below 0.",
    )


def check_mode_connectivity_order(answer: object) -> Verdict:
    """Check the order of exercise 3: that of the rows of ``w`` that is nearest to ``t``.

    Parameters
    ----------
    answer : object
        The reader's function of (w, t).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_mode_connectivity_order(lambda w, t: list(range(len(w))))
    Not yet. That leaves the units as they are.
    """
    generator = torch.Generator().manual_seed(2)
    cases = {
        "five units in disorder": _disordered(5, 0.1, generator),
        "units that are not very alike": _disordered(6, 1.0, generator),
        # The nearest row of w is the same for both rows of t.
        "two units that want the same place": (
            torch.tensor([[3.0, 0.0], [1.0, 0.5]], dtype=torch.float64),
            torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64),
        ),
    }

    def as_list(w: Tensor, t: Tensor) -> Any:
        return _as_list(answer(w, t))  # type: ignore[operator]

    return check_function(
        as_list if callable(answer) else answer,
        _order,
        cases,
        what="The order",
        hints=[
            (lambda w, t: list(range(len(w))), "That leaves the units as they are."),
            (
                lambda w, t: (t @ w.T).argmax(1).tolist(),
                "A unit is used twice and another not at all: each must go to one place.",
            ),
            (
                lambda w, t: torch.cdist(t, w).argmin(1).tolist(),
                "A unit is used twice and another not at all: each must go to one place.",
            ),
            (
                lambda w, t: torch.tensor(_order(w, t)).argsort().tolist(),
                "That is the order of t that is nearest to w: w[order] is asked for.",
            ),
            (
                lambda w, t: _matched(t @ w.T, maximize=False),
                "That is the farthest of all orders: a small distance is a large inner product.",
            ),
            (lambda w, t: _matched(w @ w.T, maximize=True), "That compares w with itself."),
        ],
        right="With theta_0 shared, two networks prefer the same order of their units.",
    )


def _barrier(losses: Tensor) -> Tensor:
    return _rise(losses).max()


def _rise(losses: Tensor, falling: bool = False) -> Tensor:
    share = torch.linspace(0, 1, len(losses), dtype=losses.dtype)
    if falling:
        share = share.flip(0)
    return losses - torch.lerp(losses[0], losses[-1], share)


def _disordered(units: int, noise: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    t = torch.randn(units, 4, generator=generator, dtype=torch.float64)
    order = torch.randperm(units, generator=generator)
    change = torch.randn(units, 4, generator=generator, dtype=torch.float64)
    return (t + noise * change)[order], t


def _order(w: Tensor, t: Tensor) -> list[int]:
    return _matched(t @ w.T, maximize=True)


def _matched(likeness: Tensor, maximize: bool) -> list[int]:
    from scipy.optimize import linear_sum_assignment

    _, order = linear_sum_assignment(likeness.numpy(), maximize=maximize)
    return [int(k) for k in order]


def _as_list(order: Any) -> Any:
    """Take a tensor or an array of whole numbers for the list that it holds."""
    if hasattr(order, "tolist"):
        order = order.tolist()
    return order
