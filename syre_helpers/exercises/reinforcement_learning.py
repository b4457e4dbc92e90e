"""Checks for the chapter "Reinforcement learning"."""

from __future__ import annotations

import math

from .base import Verdict, check_function, check_number

_LONGEST = 8


def check_reinforcement_learning_return(answer: object) -> Verdict:
    r"""Check the porter's expected return of exercise 1, :math:`\sum_{k=1}^8 p^k`.

    Parameters
    ----------
    answer : object
        The reader's function of p.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_reinforcement_learning_return(lambda p: 8 * p)
    Not yet. After a wrong button the episode is over: the later rewards need all the earlier ones.
    """
    return check_function(
        answer,
        _return,
        [(0.5,), (0.1,), (0.9,), (1.0,), (0.0,)],
        what="The expected return",
        hints=[
            (
                lambda p: _LONGEST * p,
                "After a wrong button the episode is over: the later rewards need all the earlier "
                "ones.",
            ),
            (
                lambda p: p / (1 - p) if p < 1 else math.inf,
                "That is without an end: the eighth right button ends the episode, too.",
            ),
            (
                lambda p: 1 + _return(p),
                "The first button has to be right as well: the sum begins with p, not with 1.",
            ),
            (
                lambda p: sum(p**k for k in range(_LONGEST)),
                "Look at the ends of the sum: it has the powers 1 to 8.",
            ),
            (
                lambda p: sum(p**k for k in range(1, _LONGEST)),
                "The last reward is missing: eight right buttons earn 8.",
            ),
            (
                lambda p: sum(k * p**k for k in range(1, _LONGEST + 1)),
                "Each right button earns 1: add the chances that each reward is earned at all.",
            ),
            (
                lambda p: _LONGEST * p**_LONGEST,
                "That counts only the episodes in which all is right; the others earn something, "
                "too.",
            ),
        ],
        right="It rises steeply near p = 1: half of the buttons right earn 1 of 8.",
    )


def check_reinforcement_learning_memory(answer: object) -> Verdict:
    """Check the number of steps of exercise 2.

    Parameters
    ----------
    answer : object
        The reader's number of steps of the environment.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_reinforcement_learning_memory(6931)
    Not yet. Those are updates; turn them into steps of the ant: one rollout brings several updates.
    """
    updates = math.log(0.5) / math.log(1 - 1e-4)
    a_rollout = 10 * 2048 / 128
    return check_number(
        answer,
        updates / a_rollout * 2048,
        what="The number of steps",
        hints=[
            (
                updates,
                "Those are updates; turn them into steps of the ant: one rollout brings several "
                "updates.",
            ),
            (updates / a_rollout, "Those are rollouts; each has 2048 steps."),
            (updates * 128, "The 10 passes over a rollout are 10 times as many updates."),
            (
                updates * 2048,
                "One rollout brings more than one update: 10 passes of 2048 / 128 batches.",
            ),
            (updates * a_rollout, "Divide the updates by those of one rollout."),
            (
                1e4 / a_rollout * 2048,
                "After 1 / (lr * weight_decay) updates 37% are left; half is gone sooner.",
            ),
            (
                0.5e4 / a_rollout * 2048,
                "Each update takes its share of what is left, not of the beginning.",
            ),
        ],
        right="That is one twentieth of the time between two changes of the floor.",
    )


def check_reinforcement_learning_noise(answer: object) -> Verdict:
    """Check the width of the noise of exercise 3, under decay of its logarithm.

    Parameters
    ----------
    answer : object
        The reader's function of (std, lr, weight_decay, updates).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_reinforcement_learning_noise(lambda std, lr, wd, n: std * (1 - lr * wd) ** n)
    Not yet. The optimizer holds log_std: decay shrinks the logarithm, not the width.
    """
    return check_function(
        answer,
        lambda std, lr, weight_decay, updates: math.exp(
            math.log(std) * (1 - lr * weight_decay) ** updates
        ),
        [(0.5, 0.01, 1.0, 50), (0.1, 1e-3, 0.5, 1000), (2.0, 0.03, 1.0, 10), (0.3, 0.1, 1.0, 0)],
        what="The width",
        rtol=1e-2,
        hints=[
            (
                lambda std, lr, weight_decay, updates: std * (1 - lr * weight_decay) ** updates,
                "The optimizer holds log_std: decay shrinks the logarithm, not the width.",
            ),
            (
                lambda std, lr, weight_decay, updates: (
                    math.log(std) * (1 - lr * weight_decay) ** updates
                ),
                "That is log_std after the updates; its exponential is the width.",
            ),
            (
                lambda std, lr, weight_decay, updates: math.exp(
                    math.log(std) * (1 - lr * weight_decay)
                ),
                "That is the width after one update.",
            ),
            (
                lambda std, lr, weight_decay, updates: math.exp(
                    math.log(std) * (1 - weight_decay) ** updates
                ),
                "Each update takes off the share lr * weight_decay, not weight_decay.",
            ),
            (
                lambda std, lr, weight_decay, updates: math.exp(
                    math.log(std) * (1 - lr * weight_decay * updates)
                ),
                "Each update takes its share of what is left: a power, not a product.",
            ),
        ],
        right="A narrow noise grows wide again, a wide one narrow: decay pulls the width to 1.",
    )


def _return(p: float) -> float:
    return sum(p**k for k in range(1, _LONGEST + 1))
