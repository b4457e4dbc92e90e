"""Checks for the chapter "Reflections and mirror planes"."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..symmetry import Parameters, Reflection
from .base import NO_ANSWER, Verdict, check_choice, check_function


def check_reflections_which(answer: object) -> Verdict:
    """Check which maps of exercise 1 are reflections of a loss of ``a**2 + b**2``.

    Parameters
    ----------
    answer : object
        The reader's letters.

    Returns
    -------
    Verdict
        Whether they are right, else what one of them does.

    Examples
    --------
    >>> check_reflections_which(["a", "b", "c", "d"])
    Not yet. a keeps the loss, but done twice it turns by half: it does not undo itself.
    """
    return check_choice(
        answer,
        {"b", "c", "d"},
        ["a", "b", "c", "d", "e"],
        {
            "a": "a keeps the loss, but done twice it turns by half: it does not undo itself.",
            "b": "What you chose is right. What about b, is a * a + b * b not the same after it?",
            "c": "What you chose is right. What about c, does the loss see the sign of a?",
            "d": "What you chose is right. What about d, where is a point after two half turns?",
            "e": "e undoes nothing when done twice, and it changes a * a + b * b.",
        },
        right="A half turn of the plane counts too: its mirror plane is a point.",
    )


def check_reflections_centre(answer: object) -> Verdict:
    """Check the sign reflection of ``(u * (w - 3) - 1) ** 2`` of exercise 2.

    Parameters
    ----------
    answer : object
        The reader's `Reflection`.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_reflections_centre(Reflection(lambda p: {"u": -p["u"], "w": -p["w"]}))
    Not yet. The loss changes: this mirror stands at the origin. The centre has w = 3.
    """
    if answer is None or answer is Ellipsis:
        return Verdict(False, NO_ANSWER)
    if not isinstance(answer, Reflection):
        return Verdict(
            False,
            "The answer should be a sh.Reflection(involution, centre=...), but it is of type "
            f"{type(answer).__name__}.",
        )
    state = {
        "u": torch.tensor(0.7, dtype=torch.float64),
        "w": torch.tensor(1.6, dtype=torch.float64),
    }
    try:
        problem = _problem_with_centre(answer, state)
    except Exception as error:  # whatever the reader's own code does
        reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
        return Verdict(False, f"Your reflection stops: {reason}")
    if problem:
        return Verdict(False, problem)
    return Verdict(True, "Its mirror plane is the point u = 0, w = 3: a dead unit, shifted.")


def check_reflections_step_factor(answer: object) -> Verdict:
    r"""Check by what one step of gradient descent multiplies :math:`u^2 - w^2`, of exercise 3.

    Parameters
    ----------
    answer : object
        The reader's function of (u, w, lr, gamma).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_reflections_step_factor(lambda u, w, lr, gamma: 1 - 4 * lr * gamma)
    Not yet. That is right to first order in lr; the exact factor has terms with lr squared.
    """
    return check_function(
        answer,
        _step_factor,
        [(0.5, -1.2, 0.1, 0.3), (1.5, 0.4, 0.05, 0.0), (0.2, 0.1, 0.2, 1.0)],
        what="Your factor",
        hints=[
            (
                lambda u, w, lr, gamma: 1 - 4 * lr * gamma,
                "That is right to first order in lr; the exact factor has terms with lr squared.",
            ),
            (
                lambda u, w, lr, gamma: math.exp(-4 * lr * gamma),
                "That is the factor of gradient flow over a time lr; a finite step differs.",
            ),
            (
                lambda u, w, lr, gamma: (1 - 2 * lr * gamma) ** 2,
                "The terms with a = 2 (u w - 1) cancel in the flow, but a finite step leaves their "
                "square.",
            ),
            (_half_gradient, "The derivative of (u w - 1)^2 by u is 2 (u w - 1) w: a holds a 2."),
            (_plus, "Nearly: check the signs of (keep + lr a) (keep - lr a)."),
        ],
        right="To first order in lr it is 1 - 4 lr gamma: the law of the flow.",
    )


def _problem_with_centre(answer: Reflection, state: Parameters) -> str:
    reflected = answer(state)
    missing = [name for name in state if name not in reflected]
    if missing:
        return f"The involution must return all parameters; {missing[0]!r} is missing."
    again = answer(reflected)
    if any(not math.isclose(float(again[n]), float(state[n]), abs_tol=1e-9) for n in state):
        return "Done twice, your map does not give the parameters back."
    if answer.violation(_shifted_loss, state) > 1e-9:
        if answer.linear_part().violation(_plain_loss, state) > 1e-9:
            return "The loss changes: flip both u and what is left of w beyond the centre."
        at_zero = not answer.distance({name: torch.zeros_like(p) for name, p in state.items()})
        if at_zero:
            return "The loss changes: this mirror stands at the origin. The centre has w = 3."
        return "The loss changes: the centre is at another place. Where do both factors vanish?"
    if answer.rank(state) != 2:
        return (
            f"That is a reflection of this loss, but of rank {answer.rank(state)}; wanted is the "
            "one that flips both numbers."
        )
    return ""


def _plain_loss(p: Parameters) -> Tensor:
    return (p["u"] * p["w"] - 1) ** 2


def _shifted_loss(p: Parameters) -> Tensor:
    return (p["u"] * (p["w"] - 3) - 1) ** 2


def _step_factor(u: float, w: float, lr: float, gamma: float) -> float:
    return (1 - 2 * lr * gamma) ** 2 - (2 * lr * (u * w - 1)) ** 2


def _half_gradient(u: float, w: float, lr: float, gamma: float) -> float:
    return (1 - 2 * lr * gamma) ** 2 - (lr * (u * w - 1)) ** 2


def _plus(u: float, w: float, lr: float, gamma: float) -> float:
    return (1 - 2 * lr * gamma) ** 2 + (2 * lr * (u * w - 1)) ** 2
