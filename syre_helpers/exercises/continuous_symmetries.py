"""The exercises of the chapter "When do continuous symmetries need D?"."""

import torch
from torch import Tensor

from ._declare import Function, Mistake, Number, normal


def _directions(*parts: Tensor, full_matrices: bool = True) -> Tensor:
    """Return the right singular vectors of matrices below each other, as rows."""
    return torch.linalg.svd(torch.cat(parts), full_matrices=full_matrices)[2]


def _last(*parts: Tensor, full_matrices: bool = True) -> Tensor:
    return _directions(*parts, full_matrices=full_matrices)[-1]


def _column(U_0: Tensor, V_0: Tensor) -> Tensor:
    return _directions(U_0, V_0.T)[:, -1]


def _effects(n: Tensor, U_0: Tensor, V_0: Tensor) -> dict[str, Tensor]:
    """Return the effect of a direction: many are right."""
    n = torch.as_tensor(n, dtype=U_0.dtype)
    if n.shape != U_0.shape[1:]:
        raise Mistake(f"n should have shape {tuple(U_0.shape[1:])}, not {tuple(n.shape)}.")
    if not n.any():
        raise Mistake("Zero is no direction: n must have length 1.")
    if abs(n.norm() - 1) > 1e-6:
        raise Mistake("n must have length 1: divide it by its norm.")
    return {"the length of U_0 n": (U_0 @ n).norm(), "the length of V_0^T n": (V_0.T @ n).norm()}


def _across(n: Tensor, D: Tensor) -> Tensor:
    """Return the part of D n on the mirror plane of n."""
    return D * n - (n @ (D * n)) * n


def _quiet_place(n: Tensor, theta_0: Tensor, D: Tensor) -> Tensor:
    t = _across(n, D)
    return (n @ (D * theta_0)) * t / (t @ t)


# One more than a + b = 8 + 3.
check_continuous_symmetries_threshold = Number(
    what="The inner dimension",
    right=12,
    praise="One unknown more than equations.",
    mistakes={
        "With as many equations as unknowns a random system has only the solution zero.": 11,
        "That is the threshold of U U^T; V brings equations of its own.": 9,
        "V brings equations of its own: S has more rows than U.": 8,
        "U brings equations of its own: S has more rows than V has columns.": 4,
        "More than the largest rank is not yet enough: count all the rows of S.": 3,
        "The rows of S are U's and V's below each other: they add up.": (24, 25),
    },
)

check_continuous_symmetries_survivor = Function(
    right=lambda U_0, V_0: _last(U_0, V_0.T),
    view=_effects,
    cases={
        f"U_0 of shape {a} x {k}, V_0 of shape {k} x {b}": (normal(a, k), normal(k, b, seed=1))
        for a, b, k in ((2, 1, 4), (3, 2, 8))
    },
    atol=1e-8,
    praise="The bias does not see this direction at all.",
    mistakes={
        "Your n solves U_0 n = 0 only; V_0^T n must be zero too.": lambda u, v: _last(u),
        "Your n solves V_0^T n = 0 only; U_0 n must be zero too.": lambda u, v: _last(v.T),
        "That is the direction that S feels most; "
        "the last row of the result is wanted.": lambda u, v: _directions(u, v.T)[0],
        "That is a column of the result; its rows are the directions.": _column,
        "full_matrices=False leaves out the directions that S maps to 0.": lambda u, v: _last(
            u, v.T, full_matrices=False
        ),
    },
)

# The shortest p on the plane of n at which the pull across vanishes.
check_continuous_symmetries_quiet_place = Function(
    right=_quiet_place,
    cases={
        f"{k} weights": (normal(k) / normal(k).norm(), normal(k, seed=1), normal(k, seed=2).exp())
        for k in (2, 5)
    },
    praise="Out there even an infinite gamma would not push.",
    mistakes={
        "At theta_0 the pull vanishes, "
        "but theta_0 is not on the mirror plane of n.": lambda n, t, D: t,
        "That is the place on the plane closest to theta_0; "
        "with D the force there is not zero.": lambda n, t, D: t - (n @ t) * n,
        "Your p is not on the mirror plane: take from D n its part along "
        "n first.": lambda n, t, D: D * n * (n @ (D * t)) / (D * n).square().sum(),
        "The sign is wrong: D p has to match D theta_0 along n, "
        "not to cancel it.": lambda n, t, D: -_quiet_place(n, t, D),
        "The force is D (p - theta_0): theta_0 is multiplied by D as well.": lambda n, t, D: (
            _quiet_place(n, t / D, D)
        ),
        "Divide by the square of the length of t, not by its length.": lambda n, t, D: (
            _quiet_place(n, t, D) * _across(n, D).norm()
        ),
        "At zero the force across is n . (D theta_0), which is not zero.": lambda n, t, D: 0 * t,
    },
)
