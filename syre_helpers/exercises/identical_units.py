"""Checks for the chapter "Identical units and supervised collapse"."""

from __future__ import annotations

import torch
from torch import Tensor

from ..experiments.supervised_collapse import used_directions
from .base import Verdict, check_function, check_number


def check_identical_units_count(answer: object) -> Verdict:
    """Check the number of different units of exercise 1: 60 units, 80% of them in three groups.

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
    >>> check_identical_units_count(3)
    Not yet. The units outside the groups are different, too.
    """
    return check_number(
        answer,
        15,
        what="The number of different units",
        rtol=0,
        hints=[
            (3, "The units outside the groups are different, too."),
            (12, "Each group still has one unit's worth: count the groups as well."),
            (60, "That is how many units are paid for; plain decay parts none of them."),
            (48, "That is how many units are in groups; how many different ones do they make?"),
            (13, "There are three groups, not one."),
            (51, "That counts a group for each four units; there are three groups in all."),
            (0.25, "Give a number of units, not a share."),
        ],
        right="A quarter of the units, and so of the capacity: the rest are copies.",
    )


def check_identical_units_parting(answer: object) -> Verdict:
    r"""Check the parting force of exercise 2, :math:`\lambda \|t_i - t_j\| / \sqrt 2`.

    Parameters
    ----------
    answer : object
        The reader's function of (rows, i, j, weight_decay).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_identical_units_parting(lambda rows, i, j, decay: decay * rows[i].norm())
    Not yet. Units part by the difference of their rows of theta_0.
    """
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    alike = rows.clone()
    alike[3] = alike[1]
    return check_function(
        answer,
        _parting,
        {
            "units 0 and 2 of five": (rows, 0, 2, 0.1),
            "units 4 and 1, twice the decay": (rows, 4, 1, 0.2),
            "two units with the same bias": (alike, 1, 3, 0.1),
        },
        what="The force",
        hints=[
            (
                lambda r, i, j, decay: decay * (r[i] - r[j]).norm(),
                "Half of the difference is in one unit and half, negated, in the other: take the "
                "length of both halves together.",
            ),
            (
                lambda r, i, j, decay: decay * (r[i] - r[j]).norm() / 2,
                "That is the length of one unit's half: the other unit moves as well.",
            ),
            (
                lambda r, i, j, decay: (r[i] - r[j]).norm() / 2**0.5,
                "The decay is missing: without it there is no force at all.",
            ),
            (
                lambda r, i, j, decay: decay / 2 * (r[i] - r[j]).norm() / 2**0.5,
                "weight_decay is 2 gamma already: do not halve it.",
            ),
            (
                lambda r, i, j, decay: decay * (r[i] - r[j]).square().sum() / 2,
                "That is a square: take the root of the sum of squares.",
            ),
            (
                lambda r, i, j, decay: decay * r[i].norm(),
                "Units part by the difference of their rows of theta_0.",
            ),
        ],
        right="Two units with the same row of theta_0 are not parted: that is the symmetric bias.",
    )


def check_identical_units_used(answer: object) -> Verdict:
    """Check the number of directions that a readout needs, of exercise 3.

    Parameters
    ----------
    answer : object
        The reader's function of (x, weight, bias, y).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> import torch
    >>> def rank(x, weight, bias, y):
    ...     return torch.linalg.matrix_rank(x)
    >>> check_identical_units_used(rank)
    Not yet. That is the numerical rank: noise raises it. Begin with the largest directions.
    """
    return check_function(
        answer,
        lambda x, weight, bias, y: used_directions(x, weight, bias, y, 0.0),
        {"three classes and noise": _classes(0.0), "a readout with a bias": _classes(1.0)},
        what="The number of directions",
        hints=[
            (
                lambda x, weight, bias, y: torch.linalg.matrix_rank(x),
                "That is the numerical rank: noise raises it. Begin with the largest directions.",
            ),
            (
                lambda x, weight, bias, y: used_directions(x, weight, 0 * bias, y, 0.0),
                "The readout's bias is missing.",
            ),
            (
                lambda x, weight, bias, y: used_directions(x, weight, bias, y, 0.0) - 1,
                "That is one too few: k counts the directions, and Python counts from 0.",
            ),
            (
                lambda x, weight, bias, y: used_directions(x, weight, bias, y, 0.0) + 1,
                "That is one too many: no direction at all, k = 0, is the first to try.",
            ),
            (lambda x, weight, bias, y: len(weight), "That is the number of classes."),
        ],
        right="Noise added to all features would hardly change this number.",
    )


def _parting(rows: Tensor, i: int, j: int, weight_decay: float) -> Tensor:
    return weight_decay * (rows[i] - rows[j]).norm() / 2**0.5


def _classes(offset: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features in which three directions tell three classes apart, and seven are noise.

    With an offset against the first two classes, the third needs no direction of its own.
    """
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    corners = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    noise = torch.randn(60, 7, generator=generator, dtype=torch.float64)
    x = torch.cat([3 * corners[y], 0.05 * noise], 1)
    weight = torch.zeros(4, 10, dtype=torch.float64)  # the fourth class never occurs
    weight[:3, :3] = corners
    bias = torch.tensor([-offset, -offset, 0.0, -5.0], dtype=torch.float64)
    return x, weight, bias, y
