"""Models whose parameters are factors of a product: where rotations and rescalings live."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._checks import check_nonnegative, check_positive_int


class MatrixFactorisation(nn.Module):
    """A matrix written as the product ``left @ right``.

    Parameters
    ----------
    rows, columns : int
        Shape of the matrix.
    inner : int
        Inner dimension, the largest rank that the product can have (up to rows and columns).
    std : float, optional
        Standard deviation of the initial entries. Default: one over the square root of each
        factor's own number of columns, the unit in which syre measures its bias too.

    Attributes
    ----------
    left : nn.Parameter
        Shape (rows, inner).
    right : nn.Parameter
        Shape (inner, columns).

    Raises
    ------
    ValueError
        If a size is not a positive int, or `std` is negative or not finite.

    Examples
    --------
    >>> model = MatrixFactorisation(20, 30, 4)
    >>> model().shape, int(torch.linalg.matrix_rank(model()))
    (torch.Size([20, 30]), 4)
    """

    def __init__(self, rows: int, columns: int, inner: int, *, std: float | None = None) -> None:
        super().__init__()
        self.left = _gaussian(std, rows=rows, inner=inner)
        self.right = _gaussian(std, inner=inner, columns=columns)

    def forward(self) -> Tensor:
        """Return the product, shape (rows, columns)."""
        return self.left @ self.right


class SymmetricFactorisation(nn.Module):
    """A positive semi-definite matrix written as ``factor @ factor.T``.

    Parameters
    ----------
    rows : int
        The matrix has shape (rows, rows).
    inner : int
        Inner dimension.
    std : float, optional
        Standard deviation of the initial entries. Default: ``1 / sqrt(inner)``.

    Attributes
    ----------
    factor : nn.Parameter
        Shape (rows, inner).

    Raises
    ------
    ValueError
        If a size is not a positive int, or `std` is negative or not finite.

    Examples
    --------
    >>> model = SymmetricFactorisation(6, 2)
    >>> bool((torch.linalg.eigvalsh(model()) > -1e-5).all())
    True
    """

    def __init__(self, rows: int, inner: int, *, std: float | None = None) -> None:
        super().__init__()
        self.factor = _gaussian(std, rows=rows, inner=inner)

    def forward(self) -> Tensor:
        """Return the product, shape (rows, rows)."""
        return self.factor @ self.factor.T


class ProductRegression(nn.Module):
    """Linear regression with its coefficients written as an element-wise product ``u * w``.

    Parameters
    ----------
    d : int
        Number of inputs.
    std : float, optional
        Standard deviation of the initial entries. Default: ``1 / sqrt(d)``.

    Attributes
    ----------
    u, w : nn.Parameter
        Shape (d,). A coordinate with ``u = w = 0`` is dead: its gradient is zero.

    Raises
    ------
    ValueError
        If `d` is not a positive int, or `std` is negative or not finite.

    Examples
    --------
    >>> ProductRegression(3)(torch.ones(5, 3)).shape
    torch.Size([5])
    """

    def __init__(self, d: int, *, std: float | None = None) -> None:
        super().__init__()
        self.u, self.w = (_gaussian(std, d=d) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the predictions, shape (...), of inputs of shape (..., d)."""
        return x @ (self.u * self.w)


def _gaussian(std: float | None, **shape: int) -> nn.Parameter:
    """Draw from torch's global generator, as PyTorch's own layers do."""
    sizes = [check_positive_int(axis, size) for axis, size in shape.items()]
    std = sizes[-1] ** -0.5 if std is None else check_nonnegative("std", std)
    return nn.Parameter(std * torch.randn(*sizes))
