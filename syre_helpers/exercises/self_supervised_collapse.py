"""The exercises of the chapter "Self-supervised collapse"."""

import math

import torch
from torch import Tensor

from ._declare import Function, Number, normal


def _values(z: Tensor, centre: bool = True) -> Tensor:
    return torch.linalg.svdvals(z - z.mean(0) if centre else z)


def _missing(z: Tensor, tolerance: float, centre: bool = True) -> Tensor:
    values = _values(z, centre)
    return 1 - (values > tolerance * values.max()).sum() / z.shape[1]


# Six dimensions of very different sizes, in random directions, far from the origin.
_TALL = (
    normal(40, 6)
    * torch.tensor([9.0, 1.0, 1.0, 1.0, 0.05, 0.0])
    @ (torch.linalg.qr(normal(6, 6, seed=1))[0])
    + 7
)

# 64 views, without the one that asks.
check_self_supervised_collapse_constant = Number(
    what="The loss",
    right=math.log(63),
    rtol=1e-3,
    praise="As much as a random guess: for this loss the constant map is no minimum.",
    mistakes={
        "Nobody is their own partner: leave the view that asks out of the sum.": math.log(64),
        "Every image has two views, and the sum is over views.": math.log(32),
        "The sum is over the other views, not the other images.": math.log(31),
        "The partner is among those to choose from.": math.log(62),
        "That is the number to choose from; the loss is a logarithm.": 63,
        "That is in bits; the loss has the natural logarithm.": math.log2(63),
        "The loss is minus the logarithm of a probability: mind the sign.": -math.log(63),
        "That is what a loss of mere agreement has. Here the partner is not told apart.": 0,
    },
)

check_self_supervised_collapse_missing = Function(
    what="The share",
    right=_missing,
    cases={
        "40 images, 6 dimensions": (_TALL, 0.01),
        "4 images, 7 dimensions": (normal(4, 7, seed=2) + 3, 0.01),
    },
    rtol=1e-5,
    praise="And now you know what to ask when a rank is reported: at which tolerance?",
    mistakes={
        "Subtract the mean image by image first: "
        "what all images share tells none apart.": lambda z, tol: _missing(z, tol, centre=False),
        "The mean is one vector for all images: take it over the rows, "
        "dimension 0.": lambda z, tol: _missing(z - z.mean(1, keepdim=True), tol, centre=False),
        "That is the share of dimensions that are there.": lambda z, tol: 1 - _missing(z, tol),
        "That is the number of missing dimensions: divide by how many there are.": lambda z, tol: (
            z.shape[1] * _missing(z, tol)
        ),
        "With fewer images than dimensions there are too few singular values: count those that "
        "are there, and take them from the number of dimensions.": (
            lambda z, tol: (_values(z) <= tol * _values(z).max()).double().mean()
        ),
        "The tolerance is relative: multiply it by the largest singular value.": lambda z, tol: (
            1 - (_values(z) > tol).sum() / z.shape[1]
        ),
    },
)

# The first width with more unknowns than the 64 + 1 equations.
check_self_supervised_collapse_width = Number(
    what="The width",
    right=66,
    praise="Heads are narrower than what they read, so a bias will usually do.",
    mistakes={
        "Count the column of the bias too; "
        "and with as many equations as unknowns only n = 0 is left.": 65,
        "With as many unknowns as inputs there still are too many equations.": 64,
        "One unknown more than equations is enough.": 67,
        "One factor is turned here, not two of the same size.": 129,
        "The number of inputs counts, not that of the page's outputs.": 33,
    },
)
