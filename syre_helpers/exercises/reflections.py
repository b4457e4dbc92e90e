"""The exercises of the chapter "Reflections and mirror planes"."""

import math
from typing import Any

from torch import Tensor

from ..symmetry import Parameters, Reflection
from ._declare import Choice, Function, Judged, Mistake, float64


def _state(u: float, w: float) -> Parameters:
    return {"u": float64(u)[0], "w": float64(w)[0]}


def _loss(p: Parameters, centre: float = 3) -> Tensor:
    return (p["u"] * (p["w"] - centre) - 1) ** 2


def _judge_centre(answer: Any) -> None:
    """Raise Mistake unless the map is (u, w) -> (-u, 6 - w), with 3 as the centre of w."""
    if not isinstance(answer, Reflection):
        raise Mistake(
            "The answer should be a sh.Reflection(involution, centre=...), but it is of type "
            f"{type(answer).__name__}."
        )
    state = _state(0.7, 1.6)
    again = answer(answer(state))
    if any(not math.isclose(again[name], state[name], abs_tol=1e-9) for name in state):
        raise Mistake("Done twice, your map does not give the parameters back.")
    if answer.violation(_loss, state) > 1e-9:
        if answer.linear_part().violation(lambda p: _loss(p, 0), state) > 1e-9:
            raise Mistake("The loss changes: flip both u and what is left of w beyond the centre.")
        if not answer.distance(_state(0, 0)):
            where = "this mirror stands at the origin. The centre has w = 3."
        else:
            where = "the centre is at another place. Where do both factors vanish?"
        raise Mistake(f"The loss changes: {where}")
    # Reflection itself refuses a map that is affine or not orthogonal, and says what to do.
    if answer.rank(state) != 2:
        raise Mistake(
            f"That is a reflection of this loss, but of rank {answer.rank(state)}; wanted is the "
            "one that flips both numbers."
        )


def _step_factor(u: float, w: float, lr: float, gamma: float, slope: float = 2) -> float:
    return (1 - 2 * lr * gamma) ** 2 - (slope * lr * (u * w - 1)) ** 2


check_reflections_which = Choice(
    what="The reflections",
    right="bcd",
    praise="A half turn of the plane counts too: its mirror plane is a point.",
    messages={
        "a": "a keeps the loss, but done twice it turns by half: it does not undo itself.",
        "b": "What you chose is right. What about b, is a * a + b * b not the same after it?",
        "c": "What you chose is right. What about c, does the loss see the sign of a?",
        "d": "What you chose is right. What about d, where is a point after two half turns?",
        "e": "e undoes nothing when done twice, and it changes a * a + b * b.",
    },
)

check_reflections_centre = Judged(
    what="Your reflection",
    right=Reflection(lambda p: {"u": -p["u"], "w": -p["w"]}, {"w": _state(0, 3)["w"]}),
    judged_by=_judge_centre,
    praise="Its mirror plane is the point u = 0, w = 3: a dead unit, shifted.",
)

# By what one step of gradient descent multiplies u^2 - w^2.
check_reflections_step_factor = Function(
    what="Your factor",
    right=_step_factor,
    cases=[(0.5, -1.2, 0.1, 0.3), (1.5, 0.4, 0.05, 0.0), (0.2, 0.1, 0.2, 1.0)],
    praise="To first order in lr it is 1 - 4 lr gamma: the law of the flow.",
    mistakes={
        "That is right to first order in lr; "
        "the exact factor has terms with lr squared.": lambda u, w, lr, g: 1 - 4 * lr * g,
        "That is the factor of gradient flow over a time lr; "
        "a finite step differs.": lambda u, w, lr, g: math.exp(-4 * lr * g),
        "The terms with g = 2 (u w - 1) cancel in the flow, "
        "but a finite step leaves their square.": lambda u, w, lr, g: (1 - 2 * lr * g) ** 2,
        "The derivative of (u w - 1)^2 by u is 2 (u w - 1) w: g holds a 2.": lambda u, w, lr, g: (
            _step_factor(u, w, lr, g, slope=1)
        ),
        "Nearly: check the signs of (keep + lr g) (keep - lr g).": lambda u, w, lr, g: (
            (1 - 2 * lr * g) ** 2 + (2 * lr * (u * w - 1)) ** 2
        ),
    },
)
