"""Ranks of a matrix: effective, stable, numerical.

They accept leading batch axes, and work under ``torch.func.vmap``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import check_nonnegative
from ._arrays import nan_where_not_finite, real_matrix


def effective_rank(x: Tensor) -> Tensor:
    r"""Return the effective rank: the exponential of the entropy of the normalised singular values.

    Parameters
    ----------
    x : Tensor
        Shape (..., rows, columns), real floating; half precision is computed in float32.

    Returns
    -------
    Tensor
        Shape (...), between 1 and min(rows, columns); 0 for a zero matrix, and NaN where `x` has
        NaN or infinite entries.

    Raises
    ------
    ValueError
        If `x` is not a matrix or a batch of them.

    References
    ----------
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.

    Examples
    --------
    >>> import torch
    >>> round(effective_rank(torch.eye(4)).item(), 4)
    4.0
    """
    spectrum = _spectrum(real_matrix("x", x))
    total = spectrum.sum(-1, keepdim=True)
    p = spectrum / torch.where(total == 0, torch.ones_like(total), total)
    entropy = -torch.special.xlogy(p, p).sum(-1)
    rank = torch.where(total.squeeze(-1) == 0, torch.zeros_like(entropy), entropy.exp())
    return nan_where_not_finite(rank, total, dims=1)  # a sum of finite values may be infinite


def stable_rank(x: Tensor) -> Tensor:
    r"""Return the stable rank, :math:`\|x\|_F^2 / \|x\|_2^2`: it hardly sees small singular values.

    Parameters
    ----------
    x : Tensor
        Shape (..., rows, columns), real floating; half precision is computed in float32.

    Returns
    -------
    Tensor
        Shape (...), between 1 and the rank; 0 for a zero matrix, and NaN where `x` has NaN or
        infinite entries.

    Raises
    ------
    ValueError
        If `x` is not a matrix or a batch of them.

    Examples
    --------
    >>> import torch
    >>> round(stable_rank(torch.diag(torch.tensor([2.0, 1.0, 1.0]))).item(), 4)
    1.5
    """
    squares = _spectrum(real_matrix("x", x)).square()
    largest = squares.amax(-1)
    return squares.sum(-1) / torch.where(largest == 0, torch.ones_like(largest), largest)


def numerical_rank(x: Tensor, rtol: float | None = None) -> Tensor:
    """Return the number of singular values that exceed `rtol` times the largest.

    A full numerical rank alone proves nothing: adding a small random matrix to a collapsed one
    gives full rank too.

    Parameters
    ----------
    x : Tensor
        Shape (..., rows, columns), real floating; half precision is computed in float32.
    rtol : float, optional
        Tolerance relative to the largest singular value. Default: max(rows, columns) times the
        dtype's epsilon, the convention of ``torch.linalg.matrix_rank``. For half precision that is
        float32's epsilon, next to which the rounding of `x` itself counts as rank.

    Returns
    -------
    Tensor
        Shape (...), a whole number, in floating point so that it can be NaN: where `x` has NaN or
        infinite entries.

    Raises
    ------
    ValueError
        If `x` is not a matrix or a batch of them, or `rtol` is not in [0, 1).

    Examples
    --------
    >>> import torch
    >>> numerical_rank(torch.diag(torch.tensor([1.0, 0.1, 1e-12])), rtol=1e-3).item()
    2.0
    """
    x = real_matrix("x", x)
    if rtol is None:
        rtol = max(x.shape[-2:]) * torch.finfo(x.dtype).eps
    if check_nonnegative("rtol", rtol) >= 1:
        raise ValueError(
            f"rtol={rtol!r} must lie in [0, 1): it is relative to the largest singular value"
        )
    spectrum = _spectrum(x)
    count = (spectrum > rtol * spectrum.amax(-1, keepdim=True)).sum(-1)
    return nan_where_not_finite(count.to(x.dtype), spectrum, dims=1)


def _spectrum(x: Tensor) -> Tensor:
    """Return the singular values, NaN for a matrix that is not finite (LAPACK would stop there)."""
    finite = x.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    values = torch.linalg.svdvals(torch.where(finite, x, torch.zeros_like(x)))
    return torch.where(finite.squeeze(-1), values, torch.full_like(values, torch.nan))
