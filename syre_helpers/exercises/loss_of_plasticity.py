"""The exercises of the chapter "Loss of plasticity"."""

import math

import torch
from torch import Tensor

from ._declare import Function, float64, normal


def _half_life(lr: float, decay: float, momentum: float) -> float:
    return math.log(2) * (1 - momentum) / (lr * decay)


def _score(h: Tensor) -> Tensor:
    return h.abs().mean(0) / h.abs().mean()


# Columns: silent; a little; once, strongly; always.
_OUTPUTS = float64(
    [0.0, 0.08, 0.0, 1.0], [0.0, 0.08, 4.0, 1.0], [0.0, 0.0, 0.0, 1.5], [0.0, 0.16, 0.0, 1.5]
)
_WEIGHT, _P, _Q = normal(3, 6), torch.tensor([4, 2, 0, 5, 1, 3]), torch.tensor([1, 5, 3, 4, 0, 2])

# Exact eigenvalues, whole steps and rounded logarithms are all right: 6%.
check_loss_of_plasticity_half_life = Function(
    what="The number of steps",
    right=_half_life,
    cases=[(0.05, 0.01, 0.9), (0.01, 0.001, 0.9), (0.02, 0.01, 0.5), (0.1, 1e-3, 0.0)],
    rtol=0.06,
    praise="With the page's settings about 139 steps, less than two tasks.",
    mistakes={
        "That leaves out the momentum: "
        "it makes every push count several times.": lambda lr, wd, mu: _half_life(lr, wd, 0),
        "Momentum makes the pull stronger, so the half-life is shorter, "
        "not longer.": lambda lr, wd, mu: math.log(2) / (lr * wd * (1 - mu)),
        "After so many steps a share 1/e is left; a half is left earlier.": lambda lr, wd, mu: (
            (1 - mu) / (lr * wd)
        ),
        "Here weight_decay is PyTorch's, which is 2 gamma already.": lambda lr, wd, mu: _half_life(
            lr, 2 * wd, mu
        ),
        "A push counts 1 / (1 - momentum) times, in all: 1 + mu + mu^2 + ...": lambda lr, wd, mu: (
            math.log(2) * mu / (lr * wd)
        ),
    },
)

check_loss_of_plasticity_dormant = Function(
    what="The mask",
    right=lambda h, tau: _score(h) <= tau,
    cases={
        "four units with tau = 0.1": (_OUTPUTS, 0.1),
        "the same units, ten times as active": (10 * _OUTPUTS, 0.1),
        "a unit on the threshold": (float64([1.0, 3.0, 8.0], [1.0, 5.0, 0.0]), 1 / 3),
        "outputs of both signs": (float64([1.0, -3.0, 2.0], [-1.0, -3.0, 2.0]), 0.5),
    },
    praise="ReDo gives these units new incoming weights, and outgoing weights of zero.",
    mistakes={
        "The score is relative: divide by the layer's mean activity.": (
            lambda h, tau: h.abs().mean(0) <= tau,
            lambda h, tau: h.mean(0) <= tau,
        ),
        "Outputs may be negative with other activations than ReLU: "
        "take their size first.": lambda h, tau: h.mean(0) / h.mean() <= tau,
        "A unit with a score of exactly tau is dormant: at most, not below.": lambda h, tau: (
            _score(h) < tau
        ),
        "Divide by the mean of the layer's units, not by the largest.": lambda h, tau: (
            h.abs().mean(0) <= tau * h.abs().mean(0).max()
        ),
        "Those are the units that are not dormant.": lambda h, tau: _score(h) > tau,
        "That is the score: return which units have one of at most tau.": lambda h, tau: _score(h),
    },
)

check_loss_of_plasticity_carry_over = Function(
    what="The weights",
    right=lambda w, p, q: w[:, p.argsort()[q]],
    cases={
        "six pixels": (_WEIGHT, _P, _Q),
        "the other way round": (_WEIGHT, _Q, _P),
        "a first task in the original order": (_WEIGHT, torch.arange(6), _Q),
    },
    praise="One relabelling of the inputs, and the old network solves the new task.",
    mistakes={
        "That is right only if the pixels of the old task are in their "
        "original order.": lambda w, p, q: w[:, q],
        "p has to be undone: "
        "the position of pixel i in the old task is p.argsort()[i].": lambda w, p, q: w[:, p][:, q],
        "That is for images in their original order; "
        "the new task shuffles them by q.": lambda w, p, q: w[:, p.argsort()],
        "You have swapped the tasks: "
        "these weights lead from the new one to the old one.": lambda w, p, q: w[:, q.argsort()[p]],
        "Look up the pixel first, by q, and then its old position.": lambda w, p, q: w[:, q][
            :, p.argsort()
        ],
    },
)
