"""Checks for the chapter "When do continuous symmetries need D?"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_continuous_symmetries_threshold(answer: object) -> Verdict:
    r"""Check the inner dimension of exercise 1: one more than :math:`a + b = 8 + 3`.

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
    >>> check_continuous_symmetries_threshold(9)
    Not yet. That is the threshold of U U^T; V brings equations of its own.
    """
    return check_number(
        answer,
        12,
        what="The inner dimension",
        rtol=0.0,
        hints=[
            (
                11,
                "With as many equations as unknowns a random system has only the solution zero.",
            ),
            (9, "That is the threshold of U U^T; V brings equations of its own."),
            (8, "V brings equations of its own: S has more rows than U."),
            (4, "U brings equations of its own: S has more rows than V has columns."),
            (3, "More than the largest rank is not yet enough: count all the rows of S."),
            (24, "The rows of S are U's and V's below each other: they add up."),
            (25, "The rows of S are U's and V's below each other: they add up."),
        ],
        right="One unknown more than equations.",
    )


def check_continuous_symmetries_survivor(answer: object) -> Verdict:
    r"""Check the function of exercise 2: a unit vector with :math:`U_0 n = 0, V_0^T n = 0`.

    Parameters
    ----------
    answer : object
        The reader's function of (U_0, V_0).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made. Any such vector will do.

    Examples
    --------
    >>> check_continuous_symmetries_survivor(lambda U_0, V_0: 0 * V_0[:, 0])
    Not yet. Zero is no direction: n must have length 1.
    """
    generator = torch.Generator().manual_seed(0)
    cases = {}
    for a, b, k in ((2, 1, 4), (3, 2, 8)):
        U_0 = torch.randn(a, k, generator=generator, dtype=torch.float64)
        V_0 = torch.randn(k, b, generator=generator, dtype=torch.float64)
        cases[f"U_0 of shape {a} x {k}, V_0 of shape {k} x {b}"] = (U_0, V_0)
    # Many vectors are right, so what is compared is what they do.
    verdict = check_function(
        _effects(answer) if callable(answer) else answer,
        _effects(_survivor),
        cases,
        what="Your function",
        atol=1e-8,
        hints=[
            (
                _effects(lambda U_0, V_0: 0 * V_0[:, 0]),
                "Zero is no direction: n must have length 1.",
            ),
            (
                _effects(lambda U_0, V_0: torch.linalg.svd(U_0)[2][-1]),
                "Your n solves U_0 n = 0 only; V_0^T n must be zero too.",
            ),
            (
                _effects(lambda U_0, V_0: torch.linalg.svd(V_0.T)[2][-1]),
                "Your n solves V_0^T n = 0 only; U_0 n must be zero too.",
            ),
            (
                _effects(lambda U_0, V_0: torch.linalg.svd(torch.cat([U_0, V_0.T]))[2][0]),
                "That is the direction that S feels most; the last row of the result is wanted.",
            ),
            (
                _effects(lambda U_0, V_0: torch.linalg.svd(torch.cat([U_0, V_0.T]))[2][:, -1]),
                "That is a column of the result; its rows are the directions.",
            ),
            (_effects(_reduced), "full_matrices=False leaves out the directions that S maps to 0."),
        ],
        right="The bias does not see this direction at all.",
    )
    if not verdict and callable(answer) and "returns" in verdict.message:
        length = _length(answer, *next(iter(cases.values())))
        if length is not None and length > 0 and abs(length - 1) > 1e-6:
            return Verdict(False, "n must have length 1: divide it by its norm.")
    return verdict


def check_continuous_symmetries_quiet_place(answer: object) -> Verdict:
    r"""Check the function of exercise 3: where the pull across the plane of n vanishes.

    Parameters
    ----------
    answer : object
        The reader's function of (n, theta_0, D).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_continuous_symmetries_quiet_place(lambda n, theta_0, D: theta_0)
    Not yet. At theta_0 the pull vanishes, but theta_0 is not on the mirror plane of n.
    """
    generator = torch.Generator().manual_seed(0)
    cases = {}
    for k in (2, 5):
        n, theta_0 = torch.randn(2, k, generator=generator, dtype=torch.float64)
        D = 1 + 0.5 * (2 * torch.rand(k, generator=generator, dtype=torch.float64) - 1)
        cases[f"{k} weights"] = (n / n.norm(), theta_0, D)
    return check_function(
        answer,
        _quiet_place,
        cases,
        what="Your function",
        hints=[
            (
                lambda n, theta_0, D: theta_0,
                "At theta_0 the pull vanishes, but theta_0 is not on the mirror plane of n.",
            ),
            (
                lambda n, theta_0, D: theta_0 - (n @ theta_0) * n,
                "That is the place on the plane closest to theta_0; with D the force there is not "
                "zero.",
            ),
            (
                lambda n, theta_0, D: D * n * (n @ (D * theta_0)) / (D * n).square().sum(),
                "Your p is not on the mirror plane: take from D n its part along n first.",
            ),
            (
                lambda n, theta_0, D: -_quiet_place(n, theta_0, D),
                "The sign is wrong: D p has to match D theta_0 along n, not to cancel it.",
            ),
            (
                lambda n, theta_0, D: _quiet_place(n, theta_0 / D, D),
                "The force is D (p - theta_0): theta_0 is multiplied by D as well.",
            ),
            (
                lambda n, theta_0, D: _quiet_place(n, theta_0, D) * _spread(n, D) ** 0.5,
                "Divide by the square of the length of t, not by its length.",
            ),
            (
                lambda n, theta_0, D: 0 * theta_0,
                "At zero the force across is n . (D theta_0), which is not zero.",
            ),
        ],
        right="Out there even an infinite gamma would not push.",
    )


def _survivor(U_0: Tensor, V_0: Tensor) -> Tensor:
    return torch.linalg.svd(torch.cat([U_0, V_0.T]))[2][-1]


def _reduced(U_0: Tensor, V_0: Tensor) -> Tensor:
    return torch.linalg.svd(torch.cat([U_0, V_0.T]), full_matrices=False)[2][-1]


def _effects(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of (U_0, V_0) so that it returns what its vector does."""

    def measured(U_0: Tensor, V_0: Tensor) -> Any:
        n = function(U_0, V_0)
        if n is None or n is Ellipsis:
            return None
        n = torch.as_tensor(n, dtype=U_0.dtype)
        if n.shape != U_0.shape[1:]:
            raise ValueError(f"n should have shape {tuple(U_0.shape[1:])}, not {tuple(n.shape)}")
        return {
            "the length of U_0 n": (U_0 @ n).norm(),
            "the length of V_0^T n": (V_0.T @ n).norm(),
            "the length of n": n.norm(),
        }

    return measured


def _length(function: Callable[..., Any], U_0: Tensor, V_0: Tensor) -> float | None:
    """Return the length of a vector that solves the equations, None where it does not."""
    effects = _effects(function)(U_0.clone(), V_0.clone())
    if effects is None:
        return None
    *residuals, length = (float(v) for v in effects.values())
    return length if max(residuals) < 1e-8 * max(length, 1.0) else None


def _quiet_place(n: Tensor, theta_0: Tensor, D: Tensor) -> Tensor:
    t = D * n - (n @ (D * n)) * n
    return (n @ (D * theta_0)) * t / (t @ t)


def _spread(n: Tensor, D: Tensor) -> Tensor:
    t = D * n - (n @ (D * n)) * n
    return t @ t
