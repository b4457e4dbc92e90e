"""The exercises of the chapter "What it costs"."""

import torch
from torch import Tensor

from ._declare import Function, Number, float64, normal


def _ridge(x: Tensor, y: Tensor, gamma: float, theta_0: Tensor, xi: Tensor) -> Tensor:
    D = torch.diag(1 + xi)
    return torch.linalg.solve(x.T @ x / len(x) + gamma * D, x.T @ y / len(x) + gamma * D @ theta_0)


_VARIANCE, _GAMMA, _THETA_0 = 0.4, 0.1, 0.05
_BILLIONS = 1.5
_X, _BIAS, _XI = normal(12, 4), normal(4, seed=1), 0.4 * normal(4, seed=2).tanh()

check_what_it_costs_shift = Number(
    what="The shift",
    right=_GAMMA / (_VARIANCE + _GAMMA) * _THETA_0,
    praise="A fifth of theta_0: in this direction gamma is not small.",
    mistakes={
        "That is the share of theta_0; by how much does the solution move?": (
            _GAMMA / (_VARIANCE + _GAMMA)
        ),
        "weight_decay is 2 gamma: halve it.": 2 * _GAMMA / (_VARIANCE + 2 * _GAMMA) * _THETA_0,
        "Near, but that is the limit of strong data: gamma adds to the variance below.": (
            _GAMMA / _VARIANCE * _THETA_0
        ),
        "The order is right; the direction's variance is missing.": _GAMMA * _THETA_0,
        "The other way round: strong data hold the solution where it is.": (
            _VARIANCE / (_VARIANCE + _GAMMA) * _THETA_0
        ),
        "Zero is the shift under plain decay.": 0.0,
    },
)

# Two arrays of 4 bytes per parameter.
check_what_it_costs_memory = Number(
    what="The number of gigabytes",
    right=8 * _BILLIONS,
    praise="Half of what AdamW holds already.",
    mistakes={
        "That is theta_0 alone; D is kept too.": 4 * _BILLIONS,
        "That is two bytes per parameter; float32 has four.": 2 * _BILLIONS,
        "That is what AdamW holds already. What does syre add?": 16 * _BILLIONS,
        "That is all together; the question is what comes on top.": 24 * _BILLIONS,
        "Those are bytes; a gigabyte has a billion of them.": 8 * _BILLIONS * 1e9,
        "Those are gibibytes, of 2^30 bytes; here it is 10^9.": 8 * _BILLIONS * 1e9 / 2**30,
    },
)

check_what_it_costs_ridge = Function(
    what="Your solution",
    right=_ridge,
    cases={
        "random data": (_X, normal(12, seed=3), 0.3, _BIAS, _XI),
        "data with a column of zeros": (
            _X * float64(1, 1, 0, 1),
            normal(12, seed=3),
            0.1,
            _BIAS,
            _XI,
        ),
    },
    praise="Where the column is zero, the weight is theta_0, and D has no say.",
    mistakes={
        "That is theta_0 itself: the data have no say.": lambda x, y, g, t, xi: t,
        "That is the basic form; xi is not used.": lambda x, y, g, t, xi: _ridge(
            x, y, g, t, 0 * xi
        ),
        "That decays to 0; where is theta_0?": lambda x, y, g, t, xi: _ridge(x, y, g, 0 * t, xi),
        "D multiplies p - theta_0, so it stands before theta_0 too.": lambda x, y, g, t, xi: _ridge(
            x, y, g, t / (1 + xi), xi
        ),
        "The loss is a mean over the samples: divide x.T @ x and x.T @ y by "
        "their number.": lambda x, y, g, t, xi: _ridge(x, y, g / len(x), t, xi),
        "D is 1 + xi, not xi.": lambda x, y, g, t, xi: _ridge(x, y, g, t, xi - 1),
        "gamma is the factor in the loss already: do not halve it.": lambda x, y, g, t, xi: _ridge(
            x, y, g / 2, t, xi
        ),
        "Both terms of the gradient have the factor 2; it cancels.": lambda x, y, g, t, xi: _ridge(
            x, y, 2 * g, t, xi
        ),
    },
)
