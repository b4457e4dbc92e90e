"""The exercises of the chapter "Identical units and supervised collapse"."""

import torch
from torch import Tensor

from ._declare import Function, Number, float64, normal


def _parting(rows: Tensor, i: int, j: int, weight_decay: float) -> Tensor:
    return weight_decay * (rows[i] - rows[j]).norm() / 2**0.5


def _used(x: Tensor, weight: Tensor, bias: Tensor, y: Tensor) -> int:
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    right_answers = [
        int((((left[:, :k] * values[:k]) @ right[:k] @ weight.T + bias).argmax(1) == y).sum())
        for k in range(len(values) + 1)
    ]
    return next(k for k, count in enumerate(right_answers) if count >= right_answers[-1])


def _classes(offset: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features in which three directions tell three classes apart, and seven are noise."""
    # With an offset against the first two classes, the third needs no direction of its own.
    y = torch.arange(60) % 3
    corners = torch.diag(float64(3.0, 2.0, 1.0))
    x = torch.cat([3 * corners[y], 0.05 * normal(60, 7)], 1)
    weight = torch.zeros(4, 10, dtype=torch.float64)  # the fourth class never occurs
    weight[:3, :3] = corners
    return x, weight, float64(-offset, -offset, 0.0, -5.0), y


_ROWS = normal(5, 4)

# 60 units, 80% of them in three groups.
check_identical_units_count = Number(
    what="The number of different units",
    right=15,
    praise="A quarter of the units, and so of the capacity: the rest are copies.",
    mistakes={
        "The units outside the groups are different, too.": 3,
        "Each group still has one unit's worth: count the groups as well.": 12,
        "That is how many units are paid for; plain decay parts none of them.": 60,
        "That is how many units are in groups; how many different ones do they make?": 48,
        "There are three groups, not one.": 13,
        "That counts a group for each four units; there are three groups in all.": 51,
        "Give a number of units, not a share.": 0.25,
    },
)

check_identical_units_parting = Function(
    what="The force",
    right=_parting,
    cases={
        "units 0 and 2 of five": (_ROWS, 0, 2, 0.1),
        "units 4 and 1, twice the decay": (_ROWS, 4, 1, 0.2),
        "two units with the same bias": (_ROWS[[0, 1, 2, 1, 4]], 1, 3, 0.1),
    },
    praise="Two units with the same row of theta_0 are not parted: that is the symmetric bias.",
    mistakes={
        "Half of the difference is in one unit and half, negated, in the other: "
        "take the length of both halves together.": lambda r, i, j, wd: wd * (r[i] - r[j]).norm(),
        "That is the length of one unit's half: "
        "the other unit moves as well.": lambda r, i, j, wd: wd * (r[i] - r[j]).norm() / 2,
        "The decay is missing: without it there is no force at all.": lambda r, i, j, wd: _parting(
            r, i, j, 1
        ),
        "weight_decay is 2 gamma already: do not halve it.": lambda r, i, j, wd: _parting(
            r, i, j, wd / 2
        ),
        "That is a square: take the root of the sum of squares.": lambda r, i, j, wd: (
            wd * (r[i] - r[j]).square().sum() / 2
        ),
        "Units part by the difference of their rows of theta_0.": lambda r, i, j, wd: (
            wd * r[i].norm()
        ),
    },
)

check_identical_units_used = Function(
    what="The number of directions",
    right=_used,
    cases={"three classes and noise": _classes(0.0), "a readout with a bias": _classes(1.0)},
    praise="Noise added to all features would hardly change this number.",
    mistakes={
        "That is the numerical rank: noise raises it. "
        "Begin with the largest directions.": lambda x, w, b, y: torch.linalg.matrix_rank(x),
        "The readout's bias is missing.": lambda x, w, b, y: _used(x, w, 0 * b, y),
        "That is one too few: k counts the directions, "
        "and Python counts from 0.": lambda x, w, b, y: _used(x, w, b, y) - 1,
        "That is one too many: no direction at all, k = 0, "
        "is the first to try.": lambda x, w, b, y: _used(x, w, b, y) + 1,
        "That is the number of classes.": lambda x, w, b, y: len(w),
    },
)
