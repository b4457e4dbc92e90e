"""The exercises of the chapter "Sign flips and rescaling: dead neurons"."""

from torch import Tensor

from ._declare import Function, Number, float64, normal


def _root(u: Tensor, w: Tensor) -> Tensor:
    return (u * w).abs().sqrt()


_U, _W = normal(2, 6)
_SLOPES = float64(0.0, 0.15, -0.15, 0.3, -0.3, 0.5, -0.5)

# The sign flip of a unit in front of a BatchNorm: 20 inputs, its bias, and the norm's gain.
check_sign_and_rescaling_rank = Number(
    what="The rank",
    right=20 + 1 + 1,
    praise="The outgoing weights are not among them.",
    mistakes={
        "The outgoing weights stay: the norm's gain takes the minus sign back.": 20 + 1 + 5,
        "Inputs, bias and gain already make two minus signs; the outgoing weights stay.": 22 + 5,
        "The bias is negated as well, and something must take the minus sign back.": 20,
        "That negates what enters the norm; what takes the minus sign back behind it?": 20 + 1,
        "The running mean is no parameter, and the norm's own bias keeps its sign.": 20 + 3,
        "Behind a BatchNorm even a ReLU unit has a sign flip.": 0,
    },
)

check_sign_and_rescaling_balance = Function(
    right=lambda u, w: (u.sign() * _root(u, w), w.sign() * _root(u, w)),
    cases={
        "positive pairs": (float64(4.0, 0.5), float64(1.0, 8.0)),
        "pairs of both signs": (_U, _W),
        "pairs with product 0": (float64(0.0, -3.0), float64(2.0, 0.0)),
    },
    praise="It costs 2 gamma |u w|, and no other pair with this product costs less.",
    mistakes={
        "Your function leaves the pairs as they are; "
        "only those with |u| = |w| are cheapest.": lambda u, w: (u, w),
        "Both of your factors are positive, "
        "but a negative product must stay negative.": lambda u, w: (_root(u, w), _root(u, w)),
        "Your function gives NaN where the product is negative: "
        "take the root of its size.": lambda u, w: ((u * w).sqrt(), (u * w).sqrt()),
        "The product of your factors is the square of the old one: "
        "a root is missing.": lambda u, w: (u.sign() * (u * w).abs(), w.sign() * (u * w).abs()),
        "The mean of |u| and |w| changes the product; which mean keeps it?": (
            lambda u, w: (u.sign() * (u.abs() + w.abs()) / 2, w.sign() * (u.abs() + w.abs()) / 2)
        ),
        "Your w is never negative: give it back its sign.": lambda u, w: (
            u.sign() * _root(u, w),
            _root(u, w),
        ),
    },
)

check_sign_and_rescaling_trapped = Function(
    right=lambda gradient, decay: gradient.abs() > decay,
    cases={
        "weight_decay=0.2": (_SLOPES, 0.2),
        "weight_decay=0.4": (_SLOPES, 0.4),
        "no decay": (_SLOPES, 0.0),
    },
    praise="On a trained model this tells you which zeros to worry about.",
    mistakes={
        "A negative gradient pulls as hard as a positive one: take its size.": lambda g, wd: g > wd,
        "weight_decay already is 2 gamma: do not double it again.": lambda g, wd: g.abs() > 2 * wd,
        "The border is 2 gamma, and that is weight_decay: do not halve it.": lambda g, wd: (
            g.abs() > wd / 2
        ),
        "Those are the pairs that the optimum wants dead; "
        "the trapped ones are the others.": lambda g, wd: g.abs() <= wd,
        "A small gradient loses against decay: compare it with weight_decay.": lambda g, wd: g != 0,
    },
)
