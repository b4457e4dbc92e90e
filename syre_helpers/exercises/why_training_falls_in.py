"""The exercises of the chapter "Why training falls in"."""

import math

from ._declare import Function, Number

_RATE = 0.01 * 0.5
_RATIO = math.log(1e6)


def _growth(h: float, s: float, lr: float, gamma: float) -> float:
    return 0.5 * math.log(abs((1 - lr * (h + 2 * gamma)) ** 2 - (lr * s) ** 2))


# The loss (u w - 3)^2.
check_why_training_falls_in_threshold = Number(
    what="The threshold",
    right=3.0,
    praise="As PyTorch's weight_decay, which is 2 gamma, it is twice that.",
    mistakes={
        "That is the size of the eigenvalue; decay adds 2 gamma to it, so half is enough.": 6.0,
        "That is the eigenvalue itself; ask which gamma brings it up to 0.": -6.0,
        "Decay cannot be negative: the eigenvalue is, and gamma has to outweigh it.": -3.0,
        "That is the answer for (u w - 1)^2; here the cross term is three times that.": 1.0,
        "Without decay the origin is a saddle: one eigenvalue is negative.": 0.0,
        "The penalty's second derivative is 2 gamma, so gamma is halved, not doubled.": 12.0,
    },
)

check_why_training_falls_in_longer_plateau = Number(
    what="The number of steps",
    right={"exact": _RATIO / math.log1p(_RATE), "first-order": _RATIO / _RATE},
    rtol=0.02,
    praise="A million times nearer, and the wait grows by a constant.",
    mistakes={
        "You took the logarithm to base 10; growth by a factor per step needs the natural one.": (
            6 / _RATE
        ),
        "The learning rate is missing: a step moves lr times the gradient.": _RATIO / 0.5,
        "That is half of it: the curvature counts, but without a further 2. "
        "The factor per step is 1 + lr |h|.": _RATIO / (2 * _RATE),
        "That is about the whole plateau; the question is by how much it got longer.": (
            math.log(1e9) / _RATE
        ),
        "The wait grows with the logarithm of the ratio of the distances, not with it.": 1e6,
        "The plateau gets longer, so the number is positive.": -_RATIO / _RATE,
    },
)

check_why_training_falls_in_growth = Function(
    what="Your growth",
    right=_growth,
    cases={
        "h = -0.5, s = 2, lr = 0.2, gamma = 0": (-0.5, 2.0, 0.2, 0.0),
        "h = -0.5, s = 2, lr = 0.2, gamma = 0.1": (-0.5, 2.0, 0.2, 0.1),
        "no noise": (-0.3, 0.0, 0.1, 0.05),
        "large steps, where the product is negative": (-0.5, 8.0, 0.2, 0.1),
    },
    praise="The two causes add up: each needs less where the other is at work.",
    mistakes={
        "Your function ignores gamma: that is the growth without decay.": lambda h, s, lr, g: (
            _growth(h, s, lr, 0)
        ),
        "The gradient of gamma u^2 is 2 gamma u: "
        "decay adds 2 gamma to h, not gamma.": lambda h, s, lr, g: _growth(h, s, lr, g / 2),
        "Your decay helps to leave: it should add 2 gamma to h.": lambda h, s, lr, g: _growth(
            h, s, lr, -g
        ),
        "h is negative at a saddle: the step has 1 - lr (h + 2 gamma).": lambda h, s, lr, g: (
            _growth(-h, s, lr, g)
        ),
        "You take the decay off the growth. It acts in the same step as the noise: add 2 gamma "
        "to h, within the logarithm.": (
            (
                lambda h, s, lr, g: _growth(h, s, lr, 0) - 2 * lr * g,
                lambda h, s, lr, g: _growth(h, s, lr, 0) - lr * g,
                lambda h, s, lr, g: _growth(h, s, lr, 0) + math.log(1 - 2 * lr * g),
            )
        ),
        "That is the growth over both signs of the noise; "
        "a step has the mean of the two.": lambda h, s, lr, g: 2 * _growth(h, s, lr, g),
        "That is the growth of the mean over runs: it does not see the "
        "noise at all.": lambda h, s, lr, g: math.log(abs(1 - lr * (h + 2 * g))),
        "That is right for small steps; the logarithm of the product "
        "is exact.": lambda h, s, lr, g: -lr * (h + 2 * g) - 0.5 * (lr * s) ** 2,
    },
)
