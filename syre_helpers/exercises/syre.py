"""The exercises of the chapter "Syre in one line"."""

import math

import torch
from torch import Tensor

from ._declare import Function, Number, normal

_LENGTH = 0.05  # of (0.03, 0.04)


def _step(
    p: Tensor, gradient: Tensor, theta_0: Tensor, xi: Tensor, lr: float, decay: float
) -> Tensor:
    diff = p - theta_0
    return p - lr * (gradient + decay * (diff + diff * xi))


def _wait(decay: float, lr: float = 0.05) -> float:
    """Return the extra wait after 1000 more steps of shrinking, from the factors per step."""
    return -1000 * math.log1p(-lr * decay) / math.log1p(lr * (2 - decay))


check_syre_pull_length = Number(
    what="The length of the pull",
    right=0.2 * _LENGTH,
    praise="Small, but it never fades.",
    mistakes={
        "That is the length of P theta_0 itself; the pull has weight_decay in front.": _LENGTH,
        "The length of a vector is the root of the sum of its squares.": 0.2 * 0.07,
        "That is the square of theta_0's length times the decay; take the root.": 0.2 * _LENGTH**2,
        "weight_decay already is 2 gamma: do not double it again.": 0.4 * _LENGTH,
        "weight_decay is 2 gamma, not gamma: do not halve it.": 0.1 * _LENGTH,
        "Zero is the pull of plain decay; syre pulls towards theta_0.": 0.0,
    },
)

# In float32 1 + 5e-8 is 1, so a step of rate 1 from p would land on 0 exactly; p + p * 5e-8 is the
# number after p, where p is close below a power of two. The tolerance tells it from 0.
check_syre_advanced_step = Function(
    what="Your step",
    right=_step,
    cases={
        "three random weights": (
            normal(3),
            *normal(2, 3, seed=1),
            0.3 * normal(3, seed=2),
            0.1,
            0.5,
        ),
        "a tiny xi in float32": (*torch.tensor([[1.9999], [0.0], [0.0], [5e-8]]), 1.0, 1.0),
    },
    atol=6e-8,
    praise="This is how the library does it.",
    mistakes={
        "Your step leaves p as it was: subtract lr times (gradient + pull).": lambda p, *rest: p,
        "Your step ignores xi: that is the basic form.": lambda p, g, t, xi, lr, wd: _step(
            p, g, t, 0 * xi, lr, wd
        ),
        "Your step goes uphill: the gradient and the pull are "
        "subtracted.": lambda p, g, t, xi, lr, wd: _step(p, g, t, xi, -lr, wd),
        "The pull goes to theta_0, so it holds p - theta_0, not p.": lambda p, g, t, xi, lr, wd: (
            _step(p, g, 0 * t, xi, lr, wd)
        ),
        "D is 1 + xi: the plain difference is missing.": lambda p, g, t, xi, lr, wd: (
            p - lr * (g + wd * xi * (p - t))
        ),
        "Right on paper, but float32 cannot tell 1 + 5e-8 from 1: do not form 1 + xi, add diff * "
        "xi to diff.": lambda p, g, t, xi, lr, wd: p - lr * (g + wd * (1 + xi) * (p - t)),
    },
)

check_syre_longer_wait = Number(
    what="The number of steps",
    right={"exact": _wait(0.5), "first-order": 1000 * 0.5 / 1.5, "measured": 350.3},
    rtol=0.05,
    praise="Stronger decay digs deeper.",
    mistakes={
        "That is the answer for a decay of 0.2; the question has 0.5.": (
            _wait(0.2),
            1000 * 0.2 / 1.8,
        ),
        "That is the wait for one step of the first phase; there are 1000.": (
            _wait(0.5) / 1000,
            0.5 / 1.5,
        ),
        "While U grows the decay is still there: it grows at 2 - decay.": 1000 * 0.5 / 2,
        "The other way round: shrinking is slow, growing is fast.": 1000 * 1.5 / 0.5,
    },
)
