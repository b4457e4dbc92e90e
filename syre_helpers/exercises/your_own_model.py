"""The exercises of the chapter "Your own model: from diagnosis to cure"."""

import math

import torch
from torch import Tensor

from ._declare import Function, Number, float64

_RATE = 0.1 * 1e-4  # what the pull takes off the distance to theta_0 per step
_BIAS, _CENTRE = -7.0, 0.01


def _opened(bias: Tensor, gain: Tensor, dead: Tensor) -> Tensor:
    return torch.where(dead, gain.abs(), bias)


_DEAD = torch.tensor([True, False, True, False])
_CASES = {
    "positive gains": (float64(-7.0, 0.3, -2.0, -1.0), float64(0.2, 1.0, 0.5, 0.8), _DEAD),
    "gains of both signs": (float64(-7.0, 0.3, -2.0, -1.0), float64(-0.2, 1.0, 0.5, -0.8), _DEAD),
    "no dead unit": (float64(-7.0, 0.3), float64(0.2, 1.0), torch.tensor([False, False])),
}

check_your_own_model_open = Function(
    what="The bias",
    right=_opened,
    cases=_CASES,
    praise="Half of the cure. The other half is to leave zero.",
    mistakes={
        "The living units keep their bias.": lambda bias, gain, dead: gain.abs(),
        "It is the dead units whose gates are to be opened.": lambda bias, gain, dead: torch.where(
            dead, bias, gain.abs()
        ),
        "With a negative gain your gate stays shut: take the size of the gain.": (
            lambda bias, gain, dead: torch.where(dead, gain, bias)
        ),
        "A bias that is negative shuts the gate.": lambda bias, gain, dead: torch.where(
            dead, -gain.abs(), bias
        ),
        "One standard deviation is the size of the gain, not 1.": (
            lambda bias, gain, dead: torch.where(dead, torch.ones_like(bias), bias)
        ),
        "At zero half of the inputs pass; one standard deviation more is asked for.": (
            lambda bias, gain, dead: torch.where(dead, torch.zeros_like(bias), bias)
        ),
        "Do not add: put the bias where the gate is open, wherever it was.": (
            lambda bias, gain, dead: torch.where(dead, bias + gain.abs(), bias)
        ),
    },
)

check_your_own_model_wait = Number(
    what="The number of steps",
    right={
        "exact": math.log((_CENTRE - _BIAS) / _CENTRE) / -math.log(1 - _RATE),
        "first-order": math.log((_CENTRE - _BIAS) / _CENTRE) / _RATE,
    },
    praise="That is far longer than most trainings; opening the gate by hand takes one line.",
    mistakes={
        "The distance to theta_0 shrinks by a constant factor, and not by a constant amount.": (
            -_BIAS / _RATE,
            (_CENTRE - _BIAS) / _RATE,
            -_BIAS / _RATE / _CENTRE,
        ),
        "weight_decay is not doubled: it is twice gamma already.": (
            math.log((_CENTRE - _BIAS) / _CENTRE) / _RATE / 2
        ),
        "weight_decay is not halved: it stands in the step as it is.": (
            math.log((_CENTRE - _BIAS) / _CENTRE) / _RATE * 2
        ),
        "The learning rate multiplies the decay, too.": (
            math.log((_CENTRE - _BIAS) / _CENTRE) / 1e-4
        ),
        "After so many steps the distance is 37% of what it was.": 1 / _RATE,
        "The logarithm to the base e is asked for.": (
            math.log10((_CENTRE - _BIAS) / _CENTRE) / _RATE
        ),
    },
)
