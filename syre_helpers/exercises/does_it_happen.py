"""The exercises of the chapter "Does it happen?"."""

import math

import torch
from torch import Tensor

from ._declare import Function, Number, float64

_RATE = 0.1 * 0.002  # what decay takes off a weight per step


def _gate(bias: Tensor, gain: Tensor) -> Tensor:
    return -bias / gain.abs()


check_does_it_happen_gate = Function(
    what="The gate",
    right=_gate,
    cases={
        "positive gains": (float64(-2.0, 1.0, -0.5), float64(0.5, 2.0, 1.0)),
        "gains of both signs": (float64(-2.0, 1.0, -0.5), float64(-0.5, 2.0, -1.0)),
        "a bias of zero": (float64(0.0, -3.0), float64(1.5, 0.5)),
    },
    praise="It needs the weights alone: no data, no forward pass.",
    mistakes={
        "A negative gain turns the distribution around, and its spread stays: "
        "divide by the size of the gain.": lambda bias, gain: -bias / gain,
        "A negative bias shuts the gate, so that a large positive number must come out.": (
            lambda bias, gain: bias / gain.abs()
        ),
        "In units of the standard deviation: divide by the gain's size.": lambda bias, gain: -bias,
        "Upside down: how many standard deviations is the bias below zero?": (
            lambda bias, gain: gain.abs() / -bias
        ),
        "The gain is a standard deviation, not a variance.": (
            lambda bias, gain: -bias / gain.square()
        ),
        "A gate may also be open by so many standard deviations: keep the sign.": (
            lambda bias, gain: bias.abs() / gain.abs()
        ),
        "A number per unit is asked for, not whether it is above 4.": (
            lambda bias, gain: (_gate(bias, gain) > 4).to(torch.float64)
        ),
    },
)

check_does_it_happen_shrinking = Number(
    what="The number of steps",
    right={"exact": math.log(1e8) / -math.log(1 - _RATE), "first-order": math.log(1e8) / _RATE},
    praise="A training of ImageNet has more steps than that.",
    mistakes={
        "weight_decay is twice gamma already: the factor per step has it once.": (
            math.log(1e8) / _RATE / 2
        ),
        "Do not halve it: weight_decay is what stands before the weight.": (
            math.log(1e8) / _RATE * 2
        ),
        "The logarithm to the base e is asked for: the weights shrink like exp(-rate t).": (
            8 / _RATE
        ),
        "After so many steps about 37% is left.": 1 / _RATE,
        "The learning rate multiplies the decay, too.": math.log(1e8) / 0.002,
        "The decay multiplies the learning rate, too.": math.log(1e8) / 0.1,
    },
)
