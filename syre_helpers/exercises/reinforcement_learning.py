"""The exercises of the chapter "Reinforcement learning"."""

import math

from ._declare import Function, Number

_LONGEST = 8
_UPDATES = math.log(0.5) / math.log1p(-1e-4)  # until half of the distance is gone
_PER_ROLLOUT = 10 * 2048 / 128


def _return(p: float, first: int = 1, last: int = _LONGEST) -> float:
    return sum(p**k for k in range(first, last + 1))


def _noise(std: float, left: float) -> float:
    """Return the width of which the logarithm has shrunk to a share."""
    return math.exp(math.log(std) * left)


check_reinforcement_learning_return = Function(
    what="The expected return",
    right=_return,
    cases=[(0.5,), (0.1,), (0.9,), (1.0,), (0.0,)],
    praise="It rises steeply near p = 1: half of the buttons right earn 1 of 8.",
    mistakes={
        "After a wrong button the episode is over: "
        "the later rewards need all the earlier ones.": lambda p: _LONGEST * p,
        "That is without an end: the eighth right button ends the episode, too.": lambda p: (
            p / (1 - p) if p < 1 else math.inf
        ),
        "The first button has to be right as well: the sum begins with p, not with 1.": lambda p: (
            _return(p, first=0)
        ),
        "Look at the ends of the sum: it has the powers 1 to 8.": lambda p: _return(p, 0, 7),
        "The last reward is missing: eight right buttons earn 8.": lambda p: _return(p, last=7),
        "Each right button earns 1: add the chances that each reward is earned at all.": lambda p: (
            sum(k * p**k for k in range(1, _LONGEST + 1))
        ),
        "That counts only the episodes in which all is right; "
        "the others earn something, too.": lambda p: _LONGEST * p**_LONGEST,
    },
)

check_reinforcement_learning_memory = Number(
    what="The number of steps",
    right=_UPDATES / _PER_ROLLOUT * 2048,
    praise="That is one twentieth of the time between two changes of the floor.",
    mistakes={
        "Those are updates; turn them into steps of the ant: "
        "one rollout brings several updates.": _UPDATES,
        "Those are rollouts; each has 2048 steps.": _UPDATES / _PER_ROLLOUT,
        "The 10 passes over a rollout are 10 times as many updates.": _UPDATES * 128,
        "One rollout brings more than one update: 10 passes of 2048 / 128 batches.": (
            _UPDATES * 2048
        ),
        "Divide the updates by those of one rollout.": _UPDATES * _PER_ROLLOUT,
        "After 1 / (lr * weight_decay) updates 37% are left; half is gone sooner.": (
            1e4 / _PER_ROLLOUT * 2048
        ),
        "Each update takes its share of what is left, not of the beginning.": (
            0.5e4 / _PER_ROLLOUT * 2048
        ),
    },
)

check_reinforcement_learning_noise = Function(
    what="The width",
    right=lambda std, lr, decay, updates: _noise(std, (1 - lr * decay) ** updates),
    cases=[(0.5, 0.01, 1.0, 50), (0.1, 1e-3, 0.5, 1000), (2.0, 0.03, 1.0, 10), (0.3, 0.1, 1.0, 0)],
    rtol=1e-2,
    praise="A narrow noise grows wide again, a wide one narrow: decay pulls the width to 1.",
    mistakes={
        "The optimizer holds log_std: decay shrinks the logarithm, "
        "not the width.": lambda std, lr, wd, n: std * (1 - lr * wd) ** n,
        "That is log_std after the updates; its exponential is the width.": lambda std, lr, wd, n: (
            math.log(std) * (1 - lr * wd) ** n
        ),
        "That is the width after one update.": lambda std, lr, wd, n: _noise(std, 1 - lr * wd),
        "Each update takes off the share lr * weight_decay, "
        "not weight_decay.": lambda std, lr, wd, n: _noise(std, (1 - wd) ** n),
        "Each update takes its share of what is left: "
        "a power, not a product.": lambda std, lr, wd, n: _noise(std, 1 - lr * wd * n),
    },
)
