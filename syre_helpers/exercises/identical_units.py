"""The exercises of the chapter "Identical units"."""

from torch import Tensor

from ._declare import Function, Number, normal


def _parting(rows: Tensor, i: int, j: int, weight_decay: float) -> Tensor:
    return weight_decay * (rows[i] - rows[j]).norm() / 2**0.5


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
