"""The exercises of the chapter "How strong, and how to choose"."""

import math

import torch

from ._declare import Function, Number, normal

_RATE = 2 * 0.05 * 1.0  # at which U grows per step: 2 lr mu, to first order in lr
_HITS = 2**5 * math.gamma(6) * 10.0**10  # 2^(r/2) Gamma(r/2 + 1) / eps^r with r = 10, eps = 0.1

check_how_strong_extra_steps = Number(
    what="The number of steps",
    right={
        "exact": math.log(100) / math.log1p(_RATE),
        "first-order": math.log(100) / _RATE,
        "measured": 48,
    },
    rtol=0,
    atol=1,
    praise="A hundred times weaker, and not even fifty steps.",
    mistakes={
        "The logarithm is the natural one: growth is counted in factors of e.": 2 / _RATE,
        "U grows at 2 * lr * mu, since the gradient of the loss has a factor 2.": (
            math.log(100) / math.log1p(_RATE / 2),
            2 * math.log(100) / _RATE,
        ),
        "That is for ten times weaker; here it is a hundred times.": (
            math.log(10) / math.log1p(_RATE),
            math.log(10) / _RATE,
        ),
        "The strength enters through a logarithm only.": 100,
    },
)

check_how_strong_weakest_swap = Function(
    right=lambda units: torch.pdist(units).min() / 2**0.5,
    cases={
        f"{units} units with {scalars} weights each": (normal(units, scalars),)
        for units, scalars in ((2, 3), (5, 4), (8, 1))
    },
    praise="This is how unlucky the unluckiest pair is.",
    mistakes={
        "That is the distance of the two units; "
        "P takes half of it into each of the two.": lambda units: torch.pdist(units).min(),
        "That is one unit's half of P theta_0; its length counts both units.": lambda units: (
            torch.pdist(units).min() / 2
        ),
        "The smallest distance is that of a unit to itself; leave those pairs out.": (
            lambda units: torch.cdist(units, units).min(),
            lambda units: torch.cdist(units, units).min() / 2**0.5,
        ),
        "That is the strongest of the swaps; the weakest is asked for.": lambda units: (
            torch.pdist(units).max() / 2**0.5
        ),
        "That is the weakest sign flip; here two units are swapped.": lambda units: units.norm(
            dim=1
        ).min(),
    },
)

check_how_strong_planes = Number(
    what="The number of planes",
    right=_HITS,
    rtol=0.05,
    praise="That takes a layer of nine million units.",
    mistakes={
        "The volume of the ball and the height of the Gaussian are missing: "
        "2^(r/2) Gamma(r/2+1).": 1e10,
        "That is the probability for one plane; how many make one expected hit?": 1 / _HITS,
        "Gamma(6) is 5!, which is 120.": 2**5 * math.gamma(5) * 1e10,
        "Gamma(6) is 5!, not 6!.": 2**5 * math.gamma(7) * 1e10,
        "r is 10, and the formula has r/2.": 2**10 * math.gamma(11) * 1e10,
        "That is about the number of units; the planes are asked for.": (2 * _HITS) ** 0.5,
    },
)
