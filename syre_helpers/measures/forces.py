"""A state and its mirror planes: how many it lies on, and the force away from one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from .._checks import check_function, check_nonnegative, check_parameters, check_scalar

Parameters = Mapping[str, Tensor]
LossFn = Callable[[Parameters], Tensor]


class Mirror(Protocol):
    """The part of `syre_helpers.Reflection` that these measures use."""

    def distance(self, params: Parameters) -> float:
        """Return the distance of a state to the mirror plane."""

    def linear_part(self) -> Mirror:
        """Return the same reflection centred at 0."""


def degree_of_symmetry(
    reflections: Iterable[Mirror], params: Parameters, tol: float = 1e-6
) -> float:
    """Return the fraction of the given reflections on whose mirror plane a state lies.

    Parameters
    ----------
    reflections : iterable of Reflection
        For example the swaps of all pairs of units of a layer.
    params : mapping of str to Tensor
        The state.
    tol : float
        The state lies on a plane if its distance is at most `tol` times the norm of all parameters.
        Default 1e-6.

    Returns
    -------
    float
        0 for a state without symmetry, 1 for one that all the reflections leave alone; NaN where a
        parameter is NaN or infinite.

    Raises
    ------
    TypeError
        If `params` is no mapping, or `tol` no number.
    ValueError
        If there are no reflections, or `tol` is negative or not finite.
    """
    check_parameters("params", params)
    check_nonnegative("tol", tol)
    reflections = list(reflections)
    if not reflections:
        raise ValueError("reflections is empty; pass at least one")
    squares = [p.detach().double().square().sum().cpu() for p in params.values()]
    norm = float(torch.stack(squares).sum().sqrt())
    if not math.isfinite(norm):
        return math.nan
    return sum(r.distance(params) <= tol * norm for r in reflections) / len(reflections)


def escape_force(reflection: Mirror, loss_fn: LossFn, params: Parameters) -> float:
    r"""Return :math:`\|P \nabla \ell\|`, the force on gradient descent away from a mirror plane.

    On the mirror plane it is 0 for a loss with the symmetry; under syre it is at least of order
    :math:`\gamma \sigma_0`.

    Parameters
    ----------
    reflection : Reflection
        The symmetry.
    loss_fn : callable
        ``loss_fn(params)`` returns a scalar tensor, penalties included.
    params : mapping of str to Tensor
        Where to measure; usually a symmetric state.

    Returns
    -------
    float
        Euclidean norm of the part of the gradient that is normal to the plane; NaN where it is not
        finite.

    Raises
    ------
    TypeError
        If `params` is no mapping, or `loss_fn` no function.
    ValueError
        If `loss_fn` returns no scalar, or one without a gradient.

    References
    ----------
    Ziyin, Xu and Chuang (ICLR 2025), the theorem on the strength of removal.
    """
    check_parameters("params", params)
    check_function("loss_fn", loss_fn)
    leaves = {name: p.detach().requires_grad_(p.is_floating_point()) for name, p in params.items()}
    loss = check_scalar("loss_fn", loss_fn(leaves))
    if not loss.requires_grad:
        raise ValueError(
            "loss_fn returned a loss without a gradient; compute it from the params that it is "
            "given, outside torch.no_grad() and without detach()"
        )
    wanted = [p for p in leaves.values() if p.requires_grad]
    gradients = iter(torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True))
    gradient = {n: next(gradients) if p.requires_grad else p for n, p in leaves.items()}
    # P is linear; the reflection's own distance subtracts the centre from a state, not a gradient.
    force = reflection.linear_part().distance(gradient)
    return force if math.isfinite(force) else math.nan
