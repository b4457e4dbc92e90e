"""The rules that all measures of arrays share: precision, and what is not finite.

A measure of something with NaN or infinite entries is NaN. It is no error, so that under
``torch.func.vmap`` one diverged network costs its own numbers and not those of the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import check_tensor


def real_matrix(argument: str, x: Tensor) -> Tensor:
    """Return a matrix, or a batch of them, in a precision to compute in.

    Parameters
    ----------
    argument : str
        Name for messages.
    x : Tensor
        Shape (..., rows, columns).

    Returns
    -------
    Tensor
        `x` itself; in float32 where it is in half precision.

    Raises
    ------
    TypeError
        If `x` is no tensor.
    ValueError
        If `x` has fewer than two axes or no entry, or is not real and floating.
    """
    check_tensor(argument, x)
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(
            f"{argument} must be a matrix or a batch of them with at least one entry, got shape "
            f"{tuple(x.shape)}"
        )
    if not x.is_floating_point():
        raise ValueError(
            f"{argument} must have real floating entries, got dtype {x.dtype}; call .double() first"
        )
    return in_single(x)


def in_single(x: Tensor) -> Tensor:
    """Return `x` in float32 where it is in half precision, and itself otherwise."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def nan_where_not_finite(measure: Tensor, x: Tensor, dims: int = 2) -> Tensor:
    """Return a measure, NaN where the array that it measures is not finite.

    Parameters
    ----------
    measure : Tensor
        Floating point, shape (...).
    x : Tensor
        The array, with `dims` more axes.
    dims : int
        Default 2.

    Returns
    -------
    Tensor
        Shape (...).
    """
    finite = x.isfinite().flatten(x.ndim - dims).all(-1)
    return torch.where(finite, measure, torch.full_like(measure, torch.nan))
