"""The exercises of the chapter "What exactly is proved"."""

import torch
from torch import Tensor

from ._declare import Choice, Function, Number, normal

_DECAY, _CURVATURE, _ACROSS = 0.1, -0.3, 0.02


def _projection(rank: int) -> Tensor:
    q = torch.linalg.qr(normal(5, rank, seed=rank))[0]
    return q @ q.T


def _change(p: Tensor, P: Tensor, c: Tensor, theta_0: Tensor, gamma: float) -> Tensor:
    return 4 * gamma * (p - c) @ P @ (theta_0 - c)


def _distance(decay: float, curvature: float = _CURVATURE) -> float:
    return abs(decay / (curvature + decay)) * _ACROSS


check_what_is_proved_change = Function(
    what="Your change",
    right=_change,
    cases={
        "centre 0": (normal(5), _projection(2), torch.zeros(5).double(), normal(5, seed=7), 0.3),
        "another centre": (normal(5), _projection(1), normal(5, seed=8), normal(5, seed=9), 0.1),
        "no decay": (normal(5), _projection(3), normal(5, seed=8), normal(5, seed=9), 0.0),
    },
    praise="Linear in p, and zero for all p only if P theta_0 is P c.",
    mistakes={
        "The constant is wrong: two terms with a 4 are left of the square, "
        "and they do not cancel.": lambda p, P, c, t, g: _change(p, P, c, t, g / 2),
        "The sign is wrong: away from theta_0 the penalty grows.": lambda p, P, c, t, g: (
            -_change(p, P, c, t, g)
        ),
        "Your change is right for the centre 0 only.": (
            lambda p, P, c, t, g: _change(p, P, 0 * c, t, g),
            lambda p, P, c, t, g: 4 * g * (p - c) @ P @ t,
            lambda p, P, c, t, g: 4 * g * p @ P @ (t - c),
        ),
        "P is missing: only the parts across the plane count.": lambda p, P, c, t, g: (
            4 * g * (p - c) @ (t - c)
        ),
        "That is without gamma.": lambda p, P, c, t, g: _change(p, P, c, t, 1.0),
        "There is a change wherever theta_0 is not on the plane; "
        "zero is for plain decay.": lambda p, P, c, t, g: 0 * _change(p, P, c, t, g),
    },
)

check_what_is_proved_distance = Number(
    what="The distance",
    right=_distance(_DECAY),
    praise="On the other side of the plane, and still a saddle.",
    mistakes={
        "The size is right; a distance has no sign.": -_distance(_DECAY),
        "weight_decay already is 2 gamma: do not double it again.": _distance(2 * _DECAY),
        "weight_decay is 2 gamma, not gamma: do not halve it.": _distance(_DECAY / 2),
        "The curvature is negative: it is taken off the decay.": _distance(_DECAY, -_CURVATURE),
        "That is where theta_0 is; the critical point goes there only "
        "if the curvature is zero.": _ACROSS,
        "That is without the decay in the denominator.": _DECAY / 0.3 * _ACROSS,
        "That is the fraction; it multiplies n . theta_0.": 0.5,
        "Plain decay leaves it on the plane; syre does not.": 0.0,
    },
)

check_what_is_proved_left = Choice(
    what="The losses",
    right="bcf",
    praise="b gains a mirror, that of c only moves, and f is blind along (1, 1).",
    messages={
        "a": "The one mirror of a stands at 0, also after a linear term is taken off. Theta_0 is "
        "not 0.",
        "b": "What about b? Complete the square of 3u + gamma (u - theta_0)^2.",
        "c": "What about c? The sum of two parabolas is a parabola.",
        "d": "The mirrors of d stand at the multiples of pi, which are countably many.",
        "e": "The reflections of e are three, all with the centre 0.",
        "f": "What about f? Add the same number to u and w, and the loss stays as it is.",
    },
)
