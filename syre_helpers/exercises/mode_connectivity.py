"""The exercises of the chapter "Mode connectivity"."""

import math
from typing import Any

import torch
from torch import Tensor

from ._declare import Function, Number, float64, normal

_RATE = 0.05 / (1 - 0.9) * 0.002  # the share of the distance that is lost per step
# The factor per step, exactly: the larger root of z^2 - (1 + 0.9 - 0.05 * 0.002) z + 0.9.
_FACTOR = (1.8999 + math.sqrt(1.8999**2 - 4 * 0.9)) / 2


def _rise(losses: Tensor, falling: bool = False) -> Tensor:
    share = torch.linspace(0, 1, len(losses), dtype=losses.dtype)
    return losses - torch.lerp(losses[0], losses[-1], share.flip(0) if falling else share)


def _matched(likeness: Tensor, maximize: bool = True) -> list[int]:
    from scipy.optimize import linear_sum_assignment

    order: list[int] = linear_sum_assignment(likeness.numpy(), maximize=maximize)[1].tolist()
    return order


def _as_list(order: Any, w: Tensor, t: Tensor) -> Any:
    """Take a tensor or an array of whole numbers for the list that it holds."""
    return order.tolist() if hasattr(order, "tolist") else order


def _disordered(units: int, noise: float) -> tuple[Tensor, Tensor]:
    t = normal(units, 4, seed=2)
    return (t + noise * normal(units, 4, seed=3))[normal(units, seed=4).argsort()], t


check_mode_connectivity_forgetting = Number(
    what="The number of steps",
    right={"exact": -math.log(100) / math.log(_FACTOR), "first-order": math.log(100) / _RATE},
    rtol=0.05,
    praise="And that is with the data out of the way; they may hold a network where it is.",
    mistakes={
        "After so many steps about 37% is left; the question is after how many 1% is.": 1 / _RATE,
        "Momentum 0.9 makes each step as good as ten.": 10 * math.log(100) / _RATE,
        "The gradient of the pull is weight_decay times the distance; gamma is half of it.": (
            2 * math.log(100) / _RATE
        ),
        "The pull is weight_decay times the distance, and not twice that.": (
            math.log(100) / _RATE / 2
        ),
        "Take the natural logarithm of 100.": math.log10(100) / _RATE,
        "After so many steps 1% is gone; the question is after how many 1% is left.": (
            -math.log(0.99) / _RATE
        ),
    },
)

check_mode_connectivity_barrier = Function(
    what="The barrier",
    right=lambda losses: _rise(losses).max(),
    cases={
        "ends of equal loss": (float64(0.2, 0.9, 0.4, 0.2),),
        "ends of different losses": (float64(1.0, 1.2, 0.4, 0.2, 0.0),),
        "a line that only falls": (float64(0.9, 0.1, 0.05, 0.0),),
    },
    praise="The ends themselves lie on the line, so a barrier is never below 0.",
    mistakes={
        "That is the highest loss; "
        "the barrier is how far it lies above the line of the ends.": lambda losses: losses.max(),
        "That compares with the mean of the ends everywhere; near a bad end the line "
        "is higher.": lambda losses: losses.max() - (losses[0] + losses[-1]) / 2,
        "That compares with the worse end everywhere; the line falls to the "
        "better one.": lambda losses: losses.max() - torch.maximum(losses[0], losses[-1]),
        "That compares with the better end everywhere; the line rises to the "
        "worse one.": lambda losses: losses.max() - torch.minimum(losses[0], losses[-1]),
        "That looks at the middle only; the barrier may be highest elsewhere.": lambda losses: (
            losses[len(losses) // 2] - (losses[0] + losses[-1]) / 2
        ),
        "Your line runs the wrong way: it must begin with the first loss.": lambda losses: _rise(
            losses, falling=True
        ).max(),
        "These are the heights at all positions: return the largest.": _rise,
        "That is the mean height; the barrier is the largest.": lambda losses: _rise(losses).mean(),
    },
)

# In the last case the nearest row of w is the same for both rows of t.
check_mode_connectivity_order = Function(
    what="The order",
    right=lambda w, t: _matched(t @ w.T),
    view=_as_list,
    cases={
        "five units in disorder": _disordered(5, 0.1),
        "units that are not very alike": _disordered(6, 1.0),
        "two units that want the same place": (
            float64([3.0, 0.0], [1.0, 0.5]),
            float64([1.0, 0.0], [2.0, 0.0]),
        ),
    },
    praise="With theta_0 shared, two networks prefer the same order of their units.",
    mistakes={
        "That leaves the units as they are.": lambda w, t: list(range(len(w))),
        "A unit is used twice and another not at all: each must go to one place.": (
            lambda w, t: (t @ w.T).argmax(1),
            lambda w, t: torch.cdist(t, w).argmin(1),
        ),
        "That is the order of t that is nearest to w: w[order] is asked for.": lambda w, t: (
            _matched(w @ t.T)
        ),
        "That is the farthest of all orders: a small distance is a large inner "
        "product.": lambda w, t: _matched(t @ w.T, maximize=False),
    },
)
