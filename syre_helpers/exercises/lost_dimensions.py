"""Checks for the chapter "Lost dimensions: trained as a smaller model"."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Verdict, check_choice, check_function, check_number

Pair = tuple[Tensor, Tensor]


def check_lost_dimensions_count(answer: object) -> Verdict:
    """Check the number of parameters of exercise 1.

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
    >>> check_lost_dimensions_count(260)
    Not yet. The biases of the outputs are trained too, and belong to no unit.
    """
    unit, outputs = 20 + 1 + 5, 5
    return check_number(
        answer,
        10 * unit + outputs,
        what="The number of parameters",
        rtol=0.0,
        hints=[
            (30 * unit + outputs, "Those are all of its parameters; of three twins count one."),
            (10 * unit, "The biases of the outputs are trained too, and belong to no unit."),
            (20 * unit, "That is how many dimensions are lost; the question is what is left."),
            (27 * unit + outputs, "Three units to a group: there are ten groups, not three."),
            (3 * unit + outputs, "Three units to a group: there are ten groups, not three."),
            (20 * unit + outputs, "In a group of three two copies are lost, not one."),
            (10 * 25 + outputs, "A hidden unit has a bias of its own."),
            (10 * 21 + outputs, "A unit owns its outgoing weights too."),
            (10, "That is the number of different units; each owns several numbers."),
        ],
        right="A network with 10 hidden units has just as many.",
    )


def check_lost_dimensions_optimizers(answer: object) -> Verdict:
    """Check which optimizers stay on a rotated plane, exercise 2.

    Parameters
    ----------
    answer : object
        The reader's set of letters.

    Returns
    -------
    Verdict
        Whether it is right, else why a choice is wrong.

    Examples
    --------
    >>> check_lost_dimensions_optimizers({"a", "b"})
    Not yet. Adam divides each coordinate by its own size, which turns the step out of the plane.
    """
    return check_choice(
        answer,
        {"a", "d"},
        ["a", "b", "c", "d"],
        {
            "a": "Sums and multiples of vectors in the plane lie in it: one more rule stays.",
            "b": "Adam divides each coordinate by its own size, which turns the step out of the "
            "plane.",
            "c": "The sign is taken of each coordinate by itself, which turns the step out of the "
            "plane.",
            "d": "One number for the whole vector does not turn it: one more rule stays.",
        },
        right="What counts is whether coordinates are treated one by one.",
    )


def check_lost_dimensions_smaller_unit(answer: object) -> Verdict:
    r"""Check the rescaled form of exercise 3.

    Parameters
    ----------
    answer : object
        The reader's function of (w, a, k).

    Returns
    -------
    Verdict
        Whether both pairs are right, else which usual mistake was made.

    Examples
    --------
    >>> check_lost_dimensions_smaller_unit(lambda w, a, k: ((w, k * a), (w, k * a)))
    Not yet. That unit computes the right thing, but SGD would run k times faster on it.
    """
    generator = torch.Generator().manual_seed(0)
    w, a = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    return check_function(
        answer,
        _smaller_unit,
        {"three twins": (w, a, 3), "eight twins": (w, a, 8), "a unit alone": (w, a, 1)},
        what="Your pair of pairs",
        hints=[
            (
                lambda w, a, k: ((w, k * a), (w, k * a)),
                "That unit computes the right thing, but SGD would run k times faster on it.",
            ),
            (
                lambda w, a, k: ((w, a), (w, k * a)),
                "That is the tied form, which needs its gradient divided by k.",
            ),
            (
                lambda w, a, k: ((w, a), (w, a)),
                "That is one twin alone; the unit must do the work of all k.",
            ),
            (
                lambda w, a, k: ((k**0.5 * w, k**0.5 * a), (w, a)),
                "The trained pair is right, but the unit must do the work of all k twins.",
            ),
            (
                lambda w, a, k: ((k**0.5 * w, k**0.5 * a), (k**0.5 * w, k**0.5 * a)),
                "The trained pair is right, but the unit does not compute with it directly.",
            ),
            (
                lambda w, a, k: ((k * w, k * a), (w, k * a)),
                "When k twins move by one each, the network moves by the root of k, not by k.",
            ),
            (
                lambda w, a, k: ((w, k * a), (k**0.5 * w, k**0.5 * a)),
                "The two pairs have changed places: what is trained comes first.",
            ),
        ],
        right="merge_units in the library does this.",
    )


def _smaller_unit(w: Tensor, a: Tensor, k: int) -> tuple[Pair, Pair]:
    return (k**0.5 * w, k**0.5 * a), (w, k * a)
