"""Checks for the chapter "Rotation: lost rank"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .base import Verdict, check_function, check_number


def check_rotation_rank(answer: object) -> Verdict:
    r"""Check rank(P) of a reflection of queries and keys with biases, exercise 1.

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
    >>> check_rotation_rank(128)
    Not yet. The biases turn along: each is one more column of its factor.
    """
    features, inner = 64, 8
    return check_number(
        answer,
        2 * (features + 1),
        what="The rank",
        rtol=0,
        hints=[
            (2 * features, "The biases turn along: each is one more column of its factor."),
            (features, "Queries and keys both count, and so do the biases."),
            (features + 1, "That is one of the two factors."),
            (2 * features + 1, "There is a bias on the queries and one on the keys."),
            (
                2 * inner,
                "The reflection changes one direction of the inner space; count what it changes "
                "there, feature by feature.",
            ),
            (inner, "The inner dimension says how many directions there are, not what one costs."),
            (2 * features * inner, "Those are all the weights; one direction n is reflected."),
            (2 * (features + 1) * inner, "Those are all parameters; one direction n is reflected."),
        ],
        right="So many numbers must be zero at once for one direction to be dead.",
    )


def check_rotation_nuclear_norm(answer: object) -> Verdict:
    """Check the nuclear norm of the trained product without the factor 1/2 of the loss, exercise 2.

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
    >>> check_rotation_nuclear_norm(9.4)
    Not yet. That is the nuclear norm of M; decay lowers every singular value.
    """
    spectrum = (5, 2.5, 1.5, 0.4)

    def shrunk(threshold: float) -> float:
        return sum(max(s - threshold, 0) for s in spectrum)

    return check_number(
        answer,
        shrunk(1),
        what="The nuclear norm",
        hints=[
            (sum(spectrum), "That is the nuclear norm of M; decay lowers every singular value."),
            (
                shrunk(2),
                "That would be right with the factor 1/2 before the loss; without it the loss "
                "weighs twice as much.",
            ),
            (shrunk(4), "The loss weighs more without the factor 1/2, so decay lowers less."),
            (shrunk(0.5), "weight_decay is 2 gamma, so gamma is 1 here; do not halve it again."),
            (sum(spectrum) - 4, "No singular value is negative: what falls below zero is zero."),
            (
                16 + 2.25 + 0.25,
                "That is the sum of the squares; the nuclear norm adds the singular values.",
            ),
            (4, "That is the largest singular value; the nuclear norm is the sum of all."),
            (3, "That would be the rank; the nuclear norm is the sum of the singular values."),
        ],
        right="One singular value is gone, and each of the others has paid the same.",
    )


def check_rotation_nearest_plane(answer: object) -> Verdict:
    """Check the function of exercise 3: the direction whose mirror plane is nearest.

    Parameters
    ----------
    answer : object
        The reader's function of (left, right). The sign of the direction does not matter.

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_rotation_nearest_plane(lambda left, right: torch.linalg.svd(left)[2][-1])
    Not yet. Your function looks at the left factor only; a direction is dead when both lose it.
    """
    if not callable(answer):
        return check_function(answer, _nearest_plane, [()], what="Your function")
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    right = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    lost = torch.tensor([0.5, -0.5, 0.5, -0.5], dtype=torch.float64)
    away = torch.eye(4, dtype=torch.float64) - torch.outer(lost, lost)
    cases = {
        "random factors": (left, right),
        "factors on a mirror plane": (left @ away, away @ right),
        "factors of which the left one has lost a direction": (left @ away, right),
    }
    return check_function(
        _up_to_sign(answer),
        _up_to_sign(_nearest_plane),
        cases,
        what="Your function",
        hints=[
            (
                _up_to_sign(lambda left, right: torch.linalg.svd(left)[2][-1]),
                "Your function looks at the left factor only; a direction is dead when both lose "
                "it.",
            ),
            (
                _up_to_sign(lambda left, right: torch.linalg.svd(right.T)[2][-1]),
                "Your function looks at the right factor only; a direction is dead when both lose "
                "it.",
            ),
            (
                _up_to_sign(lambda left, right: _stacked_svd(left, right)[2][0]),
                "That is the plane farthest away: the singular values are sorted, largest first.",
            ),
            (
                _up_to_sign(lambda left, right: _stacked_svd(left, right)[2][:, -1]),
                "torch.linalg.svd returns V already transposed: the vectors are its rows.",
            ),
        ],
        right="Its singular value is the distance: watch it in training.",
    )


def _stacked_svd(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    u, s, vh = torch.linalg.svd(torch.cat([left, right.T]))
    return u, s, vh


def _nearest_plane(left: Tensor, right: Tensor) -> Tensor:
    return _stacked_svd(left, right)[2][-1]


def _up_to_sign(function: Callable[[Tensor, Tensor], Any]) -> Callable[[Tensor, Tensor], Any]:
    """Make a function that finds a direction n return n n^T, the same for n and -n."""

    def outer(left: Tensor, right: Tensor) -> Any:
        n = function(left, right)
        if n is None or n is Ellipsis:
            return n
        if not isinstance(n, Tensor) or n.shape != (left.shape[1],):
            found = f"shape {tuple(n.shape)}" if isinstance(n, Tensor) else type(n).__name__
            raise ValueError(f"n must be a tensor of shape ({left.shape[1]},), got {found}")
        if abs(float(n.norm()) - 1) > 1e-6:
            raise ValueError(f"n must have length 1, got {float(n.norm()):.3g}")
        return torch.outer(n, n)

    return outer
