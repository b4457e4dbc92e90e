"""The exercises of the chapter "Ignored features"."""

from torch import Tensor

from ._declare import Function, Number, float64

_UNIT = 5 + 1 + 1  # what a unit owns: incoming weights, a bias, an outgoing weight
_GRADIENT = float64(0.5, -1.0, 2.0, 3.0)


def _flip(vector: Tensor) -> Tensor:
    return vector * float64(-1, -1, 1, 1)


def _swap(vector: Tensor) -> Tensor:
    return vector[[1, 0, 2, 3]]


def _line(vector: Tensor) -> Tensor:
    normal = float64(0.6, 0.8)
    return vector - 2 * (normal @ vector) * normal


# 8 living units of 7 numbers, and an output bias.
check_ignored_features_rank = Number(
    what="The rank",
    right=8 * _UNIT + 1,
    praise="The output bias counts once: its feature is the constant 1.",
    mistakes={
        "That counts all twenty units; the dead ones have no features.": (
            20 * _UNIT + 1,
            20 * _UNIT,
        ),
        "Nearly: the output has a bias too, and a feature of its own.": 8 * _UNIT,
        "That would be for identical units, which leave one; and the output bias?": 9 * _UNIT,
        "That would be for twelve identical units; dead ones leave nothing.": 9 * _UNIT + 1,
        "Twelve units are dead, not alive.": (12 * _UNIT + 1, 12 * _UNIT),
        "A unit has its incoming weights, its bias and its outgoing weight.": (8 * 6 + 1, 8 * 6),
    },
)

check_ignored_features_visible = Function(
    what="The visible part",
    right=lambda g, reflect: (g + reflect(g)) / 2,
    cases={
        "a sign flip of two entries": (_GRADIENT, _flip),
        "a swap": (_GRADIENT, _swap),
        "a mirror at a line": (_GRADIENT[:2], _line),
    },
    praise="Apply it twice: nothing more is lost. It is a projection, like P.",
    mistakes={
        "That is P g, the part that vanishes on the plane. "
        "The other part is wanted.": lambda g, reflect: (g - reflect(g)) / 2,
        "That is the mirror image R g. "
        "The part that R leaves alone is wanted.": lambda g, reflect: reflect(g),
        "That is all of the gradient: nothing is masked yet.": lambda g, reflect: g,
        "That is twice what is wanted.": lambda g, reflect: g + reflect(g),
    },
)

# Ten living units of nine numbers, and one constant feature of the thirty sigmoid units of zeros.
check_ignored_features_sigmoid = Number(
    what="The rank",
    right=91,
    praise="One constant feature: the thirty units together act as an output bias.",
    mistakes={
        "That is for dead units. The gradient by an outgoing weight is not 0 here.": 90,
        "Thirty identical units leave the nine features of one unit at most. "
        "But with outgoing weight 0, what is the gradient by the incoming weights?": 99,
        "The thirty units have one feature each, but is it not the same for all of them?": 120,
        "That is the rank at the usual start.": 360,
    },
)
