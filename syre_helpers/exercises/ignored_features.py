"""Checks for the chapter "Ignored features"."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number

Reflect = Callable[[Tensor], Tensor]


def check_ignored_features_rank(answer: object) -> Verdict:
    """Check the kernel's rank of exercise 1: 8 living units of 7 numbers, and an output bias.

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
    >>> check_ignored_features_rank(141)
    Not yet. That counts all twenty units; the dead ones have no features.
    """
    unit = 5 + 1 + 1
    return check_number(
        answer,
        8 * unit + 1,
        what="The rank",
        rtol=0,
        hints=[
            (20 * unit + 1, "That counts all twenty units; the dead ones have no features."),
            (20 * unit, "That counts all twenty units; the dead ones have no features."),
            (8 * unit, "Nearly: the output has a bias too, and a feature of its own."),
            (9 * unit, "That would be for identical units, which leave one; and the output bias?"),
            (9 * unit + 1, "That would be for twelve identical units; dead ones leave nothing."),
            (12 * unit + 1, "Twelve units are dead, not alive."),
            (12 * unit, "Twelve units are dead, not alive."),
            (8 * 6 + 1, "A unit has its incoming weights, its bias and its outgoing weight."),
            (8 * 6, "A unit has its incoming weights, its bias and its outgoing weight."),
        ],
        right="The output bias counts once: its feature is the constant 1.",
    )


def check_ignored_features_visible(answer: object) -> Verdict:
    """Check the function of exercise 2, which returns the part of a gradient in range(I - P).

    Parameters
    ----------
    answer : object
        The reader's function of (gradient, reflect).

    Returns
    -------
    Verdict
        Whether it is right for a sign flip, a swap and a mirror at a line, else how it is wrong.

    Examples
    --------
    >>> check_ignored_features_visible(lambda gradient, reflect: reflect(gradient))
    Not yet. That is the mirror image R g. The part that R leaves alone is wanted.
    """
    gradient = torch.tensor([0.5, -1.0, 2.0, 3.0], dtype=torch.float64)
    return check_function(
        answer,
        lambda g, reflect: (g + reflect(g)) / 2,
        {
            "a sign flip of two entries": (gradient, _flip),
            "a swap": (gradient, _swap),
            "a mirror at a line": (gradient[:2], _line),
        },
        what="The visible part",
        hints=[
            (
                lambda g, reflect: (g - reflect(g)) / 2,
                "That is P g, the part that vanishes on the plane. The other part is wanted.",
            ),
            (
                lambda g, reflect: reflect(g),
                "That is the mirror image R g. The part that R leaves alone is wanted.",
            ),
            (lambda g, reflect: g, "That is all of the gradient: nothing is masked yet."),
            (lambda g, reflect: g + reflect(g), "That is twice what is wanted."),
        ],
        right="Apply it twice: nothing more is lost. It is a projection, like P.",
    )


def check_ignored_features_sigmoid(answer: object) -> Verdict:
    """Check the kernel's rank of exercise 3, with thirty sigmoid units of zeros.

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
    >>> check_ignored_features_sigmoid(120)
    Not yet. The thirty units have one feature each, but is it not the same for all of them?
    """
    return check_number(
        answer,
        91,
        what="The rank",
        rtol=0,
        hints=[
            (90, "That is for dead units. The gradient by an outgoing weight is not 0 here."),
            (
                99,
                "Thirty identical units leave the nine features of one unit at most. But with "
                "outgoing weight 0, what is the gradient by the incoming weights?",
            ),
            (
                120,
                "The thirty units have one feature each, but is it not the same for all of them?",
            ),
            (360, "That is the rank at the usual start."),
        ],
        right="One constant feature: the thirty units together act as an output bias.",
    )


def _flip(vector: Tensor) -> Tensor:
    return torch.cat([-vector[:2], vector[2:]])


def _swap(vector: Tensor) -> Tensor:
    return vector[[1, 0, 2, 3]]


def _line(vector: Tensor) -> Tensor:
    normal = torch.tensor([0.6, 0.8], dtype=vector.dtype)
    return vector - 2 * (normal @ vector) * normal
