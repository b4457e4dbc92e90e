"""The exercises of the chapter "Rotation: lost rank"."""

from typing import Any

import torch
from torch import Tensor

from ._declare import Function, Mistake, Number, float64, normal

_FEATURES, _INNER = 64, 8
_SPECTRUM = (5, 2.5, 1.5, 0.4)
_LEFT, _RIGHT = normal(6, 4), normal(4, 5, seed=1)
_LOST = float64(0.5, -0.5, 0.5, -0.5)
_AWAY = torch.eye(4).double() - torch.outer(_LOST, _LOST)


def _shrunk(threshold: float) -> float:
    return sum(max(s - threshold, 0) for s in _SPECTRUM)


def _directions(left: Tensor, right: Tensor) -> Tensor:
    return torch.linalg.svd(torch.cat([left, right.T]))[2]


def _up_to_sign(n: Any, left: Tensor, right: Tensor) -> Tensor:
    """Return n n^T, the same for n and -n."""
    if not isinstance(n, Tensor):
        raise Mistake(f"n must be a tensor, but your function returns a {type(n).__name__}.")
    if n.shape in (left.shape[:1], right.shape[1:]):
        raise Mistake(
            f"n has {left.shape[1]} entries, one per column of U and row of V; yours has {len(n)}, "
            "as the singular vectors of U V have. The product does not show the space between its "
            "factors: stack U on V^T instead, and take a row of the third result."
        )
    if n.shape != left.shape[1:]:
        raise Mistake(f"n must have shape {tuple(left.shape[1:])}, but yours has {tuple(n.shape)}.")
    if abs(n.norm() - 1) > 1e-6:
        raise Mistake(f"n must have length 1, but yours has {float(n.norm()):.3g}.")
    return torch.outer(n, n)


# A reflection of queries and keys, with their biases.
check_rotation_rank = Number(
    what="The rank",
    right=2 * (_FEATURES + 1),
    praise="So many numbers must be zero at once for one direction to be dead.",
    mistakes={
        "The biases turn along: each is one more column of its factor.": 2 * _FEATURES,
        "Queries and keys both count, and so do the biases.": _FEATURES,
        "That is one of the two factors.": _FEATURES + 1,
        "There is a bias on the queries and one on the keys.": 2 * _FEATURES + 1,
        "The reflection changes one direction of the inner space; "
        "count what it changes there, feature by feature.": 2 * _INNER,
        "The inner dimension says how many directions there are, not what one costs.": _INNER,
        "Those are all the weights; one direction n is reflected.": 2 * _FEATURES * _INNER,
        "Those are all parameters; one direction n is reflected.": 2 * (_FEATURES + 1) * _INNER,
    },
)

check_rotation_nuclear_norm = Number(
    what="The nuclear norm",
    right=_shrunk(1),
    praise="One singular value is gone, and each of the others has paid the same.",
    mistakes={
        "That is the nuclear norm of M; decay lowers every singular value.": sum(_SPECTRUM),
        "That would be right with the factor 1/2 before the loss; "
        "without it the loss weighs twice as much.": _shrunk(2),
        "The loss weighs more without the factor 1/2, so decay lowers less.": _shrunk(4),
        "weight_decay is 2 gamma, so gamma is 1 here; do not halve it again.": _shrunk(0.5),
        "No singular value is negative: what falls below zero is zero.": sum(_SPECTRUM) - 4,
        "That is the sum of the squares; the nuclear norm adds the singular values.": (
            16 + 2.25 + 0.25
        ),
        "That is the largest singular value; the nuclear norm is the sum of all.": 4,
        "That would be the rank; the nuclear norm is the sum of the singular values.": 3,
    },
)

check_rotation_nearest_plane = Function(
    right=lambda left, right: _directions(left, right)[-1],
    view=_up_to_sign,
    cases={
        "random factors": (_LEFT, _RIGHT),
        "factors on a mirror plane": (_LEFT @ _AWAY, _AWAY @ _RIGHT),
        "factors of which the left one has lost a direction": (_LEFT @ _AWAY, _RIGHT),
    },
    praise="Its singular value is the distance: watch it in training.",
    mistakes={
        "Your function looks at the left factor only; "
        "a direction is dead when both lose it.": lambda u, v: torch.linalg.svd(u)[2][-1],
        "Your function looks at the right factor only; "
        "a direction is dead when both lose it.": lambda u, v: torch.linalg.svd(v.T)[2][-1],
        "That is the plane farthest away: "
        "the singular values are sorted, largest first.": lambda u, v: _directions(u, v)[0],
        "torch.linalg.svd returns V already transposed: the vectors are its rows.": lambda u, v: (
            _directions(u, v)[:, -1]
        ),
    },
)
