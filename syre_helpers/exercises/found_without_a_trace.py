"""The exercises of the chapter "Mirror planes, found without a trace"."""

import torch
from torch import Tensor

from ._declare import Choice, Function, Number, normal


def _share(gradient: Tensor, axis: int) -> Tensor:
    across = gradient.select(axis, 0) - gradient.select(axis, 1)
    return across.norm() / 2**0.5 / gradient.norm()


_ON_THE_PLANE = torch.cat([normal(1, 4), normal(1, 4), normal(2, 4, seed=1)])
_ACROSS = torch.cat([normal(1, 4), -normal(1, 4), torch.zeros(3, 4).double()])

check_found_without_a_trace_share = Function(
    what="The share",
    right=_share,
    cases={
        "rows of a matrix": (normal(5, 4), 0),
        "columns of a matrix": (normal(5, 4), 1),
        "entries of a bias": (normal(6), 0),
        "a gradient that stays on the plane": (_ON_THE_PLANE, 0),
        "a gradient that leads straight off the plane": (_ACROSS, 0),
    },
    praise="Zero on a mirror plane, and 1 where nothing of the gradient stays on it.",
    mistakes={
        "The normal direction must have length 1: divide the difference by the root of 2.": (
            lambda g, axis: (g.select(axis, 0) - g.select(axis, 1)).norm() / g.norm()
        ),
        "Divide the difference by the root of 2, and not by 2.": (
            lambda g, axis: (g.select(axis, 0) - g.select(axis, 1)).norm() / 2 / g.norm()
        ),
        "That is the part across itself; a share is divided by the length of the gradient.": (
            lambda g, axis: (g.select(axis, 0) - g.select(axis, 1)).norm() / 2**0.5
        ),
        "Your function looks along the first axis whatever axis it is given.": (
            lambda g, axis: _share(g, 0)
        ),
        "That is the part along the plane: the sum of the two entries, and not their difference.": (
            lambda g, axis: (g.select(axis, 0) + g.select(axis, 1)).norm() / 2**0.5 / g.norm()
        ),
        "That is the square of the share.": lambda g, axis: _share(g, axis) ** 2,
    },
)

check_found_without_a_trace_pairs = Number(
    what="The number of pairs",
    right=3,
    praise="Units 1 and 7, 2 and 6, 3 and 5; units 0 and 4 have no partner.",
    mistakes={
        "Units 0 and 4 are no pair: their cosines differ. Each is its own partner.": 4,
        "You counted each pair twice.": 6,
        "Those are all pairs of eight units; only those with the same cosines may change places.": (
            28
        ),
        "That is the answer for six units.": 2,
    },
)

check_found_without_a_trace_follows = Choice(
    what="What follows",
    right="a",
    praise="The plane holds training. Whether it is a mirror takes a look at both sides.",
    messages={
        "a": "A step along the gradient does not leave the plane, and so does no later one.",
        "b": "A dead ReLU unit has no slope across its plane either, and its two sides differ.",
        "c": "Level is not lowest: it may be a saddle, and mostly is one.",
        "d": "That depends on the curvature across the plane; from a saddle one is pushed away.",
    },
)
