"""Ranks of a layer's features that others report, each under its standard name.

They accept leading batch axes, and work under ``torch.func.vmap``. All come from the eigenvalues of
the smaller Gram matrix in float64: for a wide layer that is many times quicker than its singular
values, and resolves those down to 1e-8 of the largest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import check_below_1, check_nonnegative, check_positive_int
from ._arrays import nan_where_not_finite, real_matrix


def squared_spectrum(x: Tensor) -> Tensor:
    """Return the squared singular values of a matrix, largest first, by its Gram matrix.

    Parameters
    ----------
    x : Tensor
        Shape (..., rows, columns), real floating.

    Returns
    -------
    Tensor
        Shape (..., min(rows, columns)), float64, at least 0; NaN where `x` has NaN or infinite
        entries.

    Raises
    ------
    ValueError
        If `x` is not a matrix or a batch of them.

    Examples
    --------
    >>> import torch
    >>> squared_spectrum(torch.diag(torch.tensor([3.0, 2.0])))
    tensor([9., 4.], dtype=torch.float64)
    """
    x = real_matrix("x", x).double()
    finite = x.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    x = torch.where(finite, x, torch.zeros_like(x))
    x = x if x.shape[-2] <= x.shape[-1] else x.mT
    values = torch.linalg.eigvalsh(x @ x.mT).flip(-1).clamp_min(0)
    return torch.where(finite.squeeze(-1), values, torch.full_like(values, torch.nan))


def srank(h: Tensor, delta: float = 0.01) -> Tensor:
    r"""Return srank: the number of largest singular values that make up a share 1 - `delta` of all.

    .. math::

        \min \Big\{ k : \sum_{i \le k} \sigma_i \ge (1 - \delta) \sum_i \sigma_i \Big\}

    Parameters
    ----------
    h : Tensor
        Features, shape (..., samples, units).
    delta : float
        Share of the sum that may be missing, in [0, 1). Default 0.01.

    Returns
    -------
    Tensor
        Shape (...), float64, a whole number: 0 for a zero matrix, NaN where `h` has NaN or infinite
        entries.

    Raises
    ------
    ValueError
        If `h` is not a matrix or a batch of them, or `delta` is not in [0, 1).

    References
    ----------
    Kumar, Agarwal, Ghosh and Levine, "Implicit under-parameterization inhibits data-efficient deep
    reinforcement learning", ICLR 2021, definition 1.

    Examples
    --------
    >>> import torch
    >>> srank(torch.diag(torch.tensor([1.0, 1.0, 1e-3]))).item()
    2.0
    """
    check_below_1("delta", delta)
    values = squared_spectrum(real_matrix("h", h)).sqrt()
    sums = values.cumsum(-1)
    total = sums[..., -1:]
    needed = (sums < (1 - delta) * total).sum(-1).double() + (total.squeeze(-1) > 0).double()
    return nan_where_not_finite(needed, values, dims=1)


def feature_rank(h: Tensor, epsilon: float = 0.01) -> Tensor:
    r"""Return the feature rank: the number of singular values, over sqrt(samples), above a size.

    The tolerance is absolute, so the size of the features counts: all small is rank 0.

    Parameters
    ----------
    h : Tensor
        Features, shape (..., samples, units).
    epsilon : float
        Default 0.01.

    Returns
    -------
    Tensor
        Shape (...), float64, a whole number; NaN where `h` has NaN or infinite entries.

    Raises
    ------
    ValueError
        If `h` is not a matrix or a batch of them, or `epsilon` is negative or not finite.

    References
    ----------
    Lyle, Rowland and Dabney, "Understanding and preventing capacity loss in reinforcement
    learning", ICLR 2022, definition 1.

    Examples
    --------
    >>> import torch
    >>> h = torch.diag(torch.tensor([1.0, 0.1, 1e-3]))
    >>> feature_rank(h).item(), feature_rank(h / 100).item()
    (2.0, 0.0)
    """
    check_nonnegative("epsilon", epsilon)
    squares = squared_spectrum(real_matrix("h", h)) / h.shape[-2]
    return nan_where_not_finite((squares > epsilon**2).sum(-1).double(), squares, dims=1)


def participation_ratio(h: Tensor) -> Tensor:
    r"""Return the participation ratio of the variances along the principal components.

    .. math::

        \Big( \sum_i \lambda_i \Big)^2 \Big/ \sum_i \lambda_i^2

    Parameters
    ----------
    h : Tensor
        Features, shape (..., samples, units); their mean is taken off.

    Returns
    -------
    Tensor
        Shape (...), float64, from 1 to the rank; 0 if nothing varies, NaN where `h` has NaN or
        infinite entries.

    Raises
    ------
    ValueError
        If `h` is not a matrix or a batch of them.

    References
    ----------
    Gao et al., "A theory of multineuronal dimensionality, dynamics and measurement", bioRxiv
    214262, 2017.

    Examples
    --------
    >>> import torch
    >>> participation_ratio(
    ...     torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    ... ).item()
    2.0
    """
    variances = _variances(h)
    largest = variances[..., :1]
    shares = variances / torch.where(largest == 0, torch.ones_like(largest), largest)
    return shares.sum(-1).square() / shares.square().sum(-1).clamp_min(1e-300)


def alpha_req(h: Tensor, first: int = 5, last: int = 50) -> Tensor:
    r"""Return the exponent with which the eigenvalues of the features' covariance decay.

    It is :math:`\alpha` in :math:`\lambda_j \propto j^{-\alpha}`. A small exponent is a flat
    spectrum, with many directions in use; one far above 1 is that of few directions.

    Parameters
    ----------
    h : Tensor
        Features, shape (..., samples, units); their mean is taken off.
    first, last : int
        The eigenvalues that a line is fitted through, in logarithms and by least squares, counted
        from 1. Defaults 5 and 50; where there are fewer, `last` is the last of them.

    Returns
    -------
    Tensor
        Shape (...), float64; NaN where fewer than two eigenvalues from `first` on are positive
        (above 1e-14 of the largest), or `h` has NaN or infinite entries.

    Raises
    ------
    ValueError
        If `h` is not a matrix or a batch of them, or `first` is not a whole number from 1 on and
        below `last`.

    References
    ----------
    Agrawal, Mondal, Ghosh and Richards, "alpha-ReQ: assessing representation quality in
    self-supervised learning by measuring eigenspectrum decay", NeurIPS 2022.

    Examples
    --------
    >>> import torch
    >>> q = torch.linalg.qr(torch.eye(60, 20).double() - 1 / 60)[0]
    >>> sizes = torch.arange(1.0, 21) ** -0.6
    >>> round(alpha_req(q * sizes).item(), 3)
    1.2
    """
    if check_positive_int("first", first) >= check_positive_int("last", last):
        raise ValueError(f"first={first} must be below last={last}: a line needs two points")
    variances = _variances(h)
    part = variances[..., first - 1 : last]
    counted = (part > 1e-14 * variances[..., :1]).double()
    number = counted.sum(-1, keepdim=True)
    x = torch.arange(first, first + part.shape[-1], dtype=torch.float64, device=part.device).log()
    y = torch.where(counted > 0, part, torch.ones_like(part)).log()
    x = counted * (x - (counted * x).sum(-1, keepdim=True) / number.clamp_min(1))
    slope = (x * y).sum(-1) / x.square().sum(-1)
    slope = torch.where(number.squeeze(-1) < 2, torch.full_like(slope, torch.nan), slope)
    return nan_where_not_finite(-slope, variances, dims=1)


def _variances(h: Tensor) -> Tensor:
    """Return the variances along the principal components, up to a factor that is common to all."""
    h = real_matrix("h", h).double()
    return squared_spectrum(h - h.mean(-2, keepdim=True))
