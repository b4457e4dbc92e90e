"""The exercises of the chapter "Dead neurons"."""

import torch
from torch import Tensor

from ._declare import Function, Number, float64


def _share(mask: Tensor) -> Tensor:
    return mask.double().mean()


def _unused(u: Tensor, w: Tensor, tol: float) -> Tensor:
    size = (u * w).abs()
    return _share(size <= tol * size.max())


check_dead_neurons_still_dead = Number(
    what="The dead share",
    right=0.8 * 0.75**2,
    praise="A quarter of the weights frozen, and more than half of the dead pairs stay dead.",
    mistakes={
        "A pair has two weights, and either may be the one that is frozen.": 0.8 * 0.75,
        "On the page half of the pairs start dead; here more do.": 0.5 * 0.75**2,
        "That is the share of the dead pairs that stay dead; count all pairs.": 0.75**2,
        "These pairs have both weights frozen; a dead one has neither.": 0.8 * 0.25**2,
        "One frozen weight is enough to revive a pair.": 0.8 * (1 - 0.25**2),
        "That is the share that is revived.": 0.8 * (1 - 0.75**2),
        "Give a share between 0 and 1, not a percentage.": 45,
    },
)

# The first case has large negative coefficients and unbalanced pairs (one weight large, the other
# nearly 0); in the second a coefficient lies on the tolerance.
check_dead_neurons_unused = Function(
    what="The share",
    right=_unused,
    cases={
        "seven pairs with tol = 0.01": (
            float64(2.0, -1.0, 0.5, 1e-3, 3.0, 0.0, 0.1),
            float64(2.0, 3.0, 0.5, 1e-3, 1e-4, 0.0, 0.2),
            0.01,
        ),
        "a coefficient on the tolerance": (
            float64(1.0, 0.5, -4.0, 0.125, 1.0),
            float64(2.0, 1.0, -1.0, 1.0, 1.0),
            0.125,
        ),
    },
    praise="Adding a tiny noise to the weights does not fool this measure.",
    mistakes={
        "A large negative coefficient counts as unused: "
        "compare sizes, without the sign.": lambda u, w, tol: _share(u * w <= tol * (u * w).max()),
        "That is the distance to the mirror plane again: begin with the "
        "product u * w.": lambda u, w, tol: _unused(torch.hypot(u, w), torch.ones_like(u), tol),
        "The tolerance is relative: multiply it by the largest coefficient.": lambda u, w, tol: (
            _share((u * w).abs() <= tol)
        ),
        "That is the share that the model does use.": lambda u, w, tol: 1 - _unused(u, w, tol),
        "That is the number of unused coefficients: "
        "divide by how many there are.": lambda u, w, tol: len(u) * _unused(u, w, tol),
        "A coefficient of exactly the tolerance counts as unused: "
        "at most, not below.": lambda u, w, tol: _share((u * w).abs() < tol * (u * w).abs().max()),
    },
)

# Where q (1 - s)^2 + s^2 is smallest.
check_dead_neurons_best_share = Function(
    what="The share",
    right=lambda q: q / (1 + q),
    cases=[(0.5,), (0.2,), (1.0,), (0.0,)],
    rtol=1e-3,
    atol=1e-3,
    praise="Even then a share of q / (1 + q) of the pairs cannot learn.",
    mistakes={
        "With all weights frozen no pair is dead, and none can learn either.": lambda q: 1.0,
        "That is right for half of the pairs dead; let the share depend on q.": lambda q: 1 / 3,
        "A pair that starts dead cannot learn either if both weights are frozen: "
        "count these among all pairs.": lambda q: q,
        "That leaves out the dead pairs, and counts those that are alive: "
        "swap the two.": lambda q: (1 - q) / (2 - q),
    },
)
