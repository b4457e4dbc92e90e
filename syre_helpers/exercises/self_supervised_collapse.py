"""Checks for the chapter "Self-supervised collapse"."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_self_supervised_collapse_constant(answer: object) -> Verdict:
    r"""Check the contrastive loss of a constant map, of exercise 1: :math:`\log 63`.

    Parameters
    ----------
    answer : object
        The reader's number.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_self_supervised_collapse_constant(0)
    Not yet. That is what a loss of mere agreement has. Here the partner is not told apart.
    """
    return check_number(
        answer,
        math.log(63),
        what="The loss",
        rtol=1e-3,
        hints=[
            (math.log(64), "Nobody is their own partner: leave the view that asks out of the sum."),
            (math.log(32), "Every image has two views, and the sum is over views."),
            (math.log(31), "The sum is over the other views, not the other images."),
            (math.log(62), "The partner is among those to choose from."),
            (63, "That is the number to choose from; the loss is a logarithm."),
            (math.log2(63), "That is in bits; the loss has the natural logarithm."),
            (-math.log(63), "The loss is minus the logarithm of a probability: mind the sign."),
            (0, "That is what a loss of mere agreement has. Here the partner is not told apart."),
        ],
        right="As much as a random guess: for this loss the constant map is no minimum.",
    )


def check_self_supervised_collapse_missing(answer: object) -> Verdict:
    """Check the share of missing dimensions, of exercise 2.

    Parameters
    ----------
    answer : object
        The reader's function of (z, tolerance).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> def uncentred(z, tolerance):
    ...     values = torch.linalg.svdvals(z)
    ...     return 1 - (values > tolerance * values.max()).sum() / z.shape[1]
    >>> check_self_supervised_collapse_missing(uncentred)
    Not yet. Subtract the mean image by image first: what all images share tells none apart.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([9.0, 1.0, 1.0, 1.0, 0.05, 0.0], dtype=torch.float64)
    tall = _shaped(40, sizes, generator) + 7 * torch.ones(6, dtype=torch.float64)
    wide = _shaped(4, torch.ones(7, dtype=torch.float64), generator) + 3
    return check_function(
        answer,
        _missing,
        {"40 images, 6 dimensions": (tall, 0.01), "4 images, 7 dimensions": (wide, 0.01)},
        what="The share",
        rtol=1e-5,
        hints=[
            (
                lambda z, tolerance: _missing(z, tolerance, centre=False),
                "Subtract the mean image by image first: what all images share tells none apart.",
            ),
            (
                lambda z, tolerance: _missing(z - z.mean(1, keepdim=True), tolerance, False),
                "The mean is one vector for all images: take it over the rows, dimension 0.",
            ),
            (
                lambda z, tolerance: 1 - _missing(z, tolerance),
                "That is the share of dimensions that are there.",
            ),
            (
                lambda z, tolerance: z.shape[1] * _missing(z, tolerance),
                "That is the number of missing dimensions: divide by how many there are.",
            ),
            (
                lambda z, tolerance: _below(z, tolerance).double().mean(),
                "With fewer images than dimensions there are too few singular values: count "
                "those that are there, and take them from the number of dimensions.",
            ),
            (
                lambda z, tolerance: _missing(z, tolerance, relative=False),
                "The tolerance is relative: multiply it by the largest singular value.",
            ),
        ],
        right="And now you know what to ask when a rank is reported: at which tolerance?",
    )


def check_self_supervised_collapse_width(answer: object) -> Verdict:
    """Check the width from which a bias alone leaves a reflection, of exercise 3: 66.

    Parameters
    ----------
    answer : object
        The reader's number.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_self_supervised_collapse_width(64)
    Not yet. With as many unknowns as inputs there still are too many equations.
    """
    return check_number(
        answer,
        66,
        what="The width",
        rtol=1e-6,
        hints=[
            (
                65,
                "Count the column of the bias too; and with as many equations as unknowns only "
                "n = 0 is left.",
            ),
            (64, "With as many unknowns as inputs there still are too many equations."),
            (67, "One unknown more than equations is enough."),
            (129, "One factor is turned here, not two of the same size."),
            (33, "The number of inputs counts, not that of the page's outputs."),
        ],
        right="Heads are narrower than what they read, so a bias will usually do.",
    )


def _shaped(rows: int, sizes: Tensor, generator: torch.Generator) -> Tensor:
    """Return random values whose dimensions have about these sizes, in random directions."""
    count = len(sizes)
    turn, _ = torch.linalg.qr(torch.randn(count, count, generator=generator, dtype=sizes.dtype))
    return torch.randn(rows, count, generator=generator, dtype=sizes.dtype) * sizes @ turn


def _missing(z: Tensor, tolerance: float, centre: bool = True, relative: bool = True) -> Tensor:
    values = torch.linalg.svdvals(z - z.mean(0) if centre else z)
    limit = tolerance * values.max() if relative else torch.tensor(tolerance)
    return 1 - (values > limit).sum() / z.shape[1]


def _below(z: Tensor, tolerance: float) -> Tensor:
    values = torch.linalg.svdvals(z - z.mean(0))
    return values <= tolerance * values.max()
