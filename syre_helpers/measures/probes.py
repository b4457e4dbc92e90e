"""What can be read from a layer's features: linear probes, and the directions in use.

They work under ``torch.func.vmap``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .._checks import check_nonnegative, check_tensor
from ._arrays import nan_where_not_finite, real_matrix
from .ranks import numerical_rank


def probe_accuracy(
    train: Tensor, y_train: Tensor, test: Tensor, y_test: Tensor, ridge: float = 1e-3
) -> Tensor:
    """Return the accuracy of a linear classifier on given features: a linear probe.

    It is ridge regression on the indicators of the classes, so it has a closed form.

    Parameters
    ----------
    train, test : Tensor
        Features, shapes (samples, features).
    y_train, y_test : Tensor
        Classes, int64, counted from 0; shapes (samples,).
    ridge : float
        Penalty, in units of the mean variance of a feature: directions with much less variance than
        this do not count. Default 0.001.

    Returns
    -------
    Tensor
        Fraction of the test samples whose class is predicted, float64; NaN if a feature is NaN or
        infinite.

    Raises
    ------
    ValueError
        If the features are not real matrices.

    Examples
    --------
    >>> x, y = torch.tensor([[-1.0], [-2.0], [1.0], [2.0]]), torch.tensor([0, 0, 1, 1])
    >>> probe_accuracy(x, y, 3 * x, y).item()
    1.0
    """
    train, test = real_matrix("train", train), real_matrix("test", test)
    check_tensor("y_train", y_train)
    check_tensor("y_test", y_test)
    check_nonnegative("ridge", ridge)
    mean = train.mean(-2)
    x, x_test = (train - mean).double(), (test - mean).double()
    target = functional.one_hot(y_train).double()
    middle = target.mean(0)
    covariance = x.mT @ x / len(y_train)
    scale = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)
    # Where nothing varies, the probe predicts the most frequent class.
    penalty = (ridge * scale).clamp_min(1e-30) * torch.eye(x.shape[-1]).to(x)
    weights = torch.linalg.solve(covariance + penalty, x.mT @ (target - middle) / len(y_train))
    scores = x_test @ weights + middle
    accuracy = (scores.argmax(-1) == y_test).double().mean()
    return nan_where_not_finite(accuracy, scores)


def used_directions(
    x: Tensor, weight: Tensor, bias: Tensor, y: Tensor, tolerance: float = 0.01
) -> Tensor:
    """Return the number of the features' principal directions that the readout needs.

    That is the least k such that with the k largest singular directions of the features, or with
    more of them, the accuracy is at most `tolerance` below that with all.

    Parameters
    ----------
    x : Tensor
        Features, (samples, units).
    weight, bias : Tensor
        Of the readout, (classes, units) and (classes,).
    y : Tensor
        Labels, (samples,).
    tolerance : float
        Default 0.01.

    Returns
    -------
    Tensor
        From 0 to the number of singular values, a whole number in floating point; NaN if an entry
        of `x`, `weight` or `bias` is NaN or infinite.

    Raises
    ------
    ValueError
        If `x` or `weight` is not a real matrix.

    Examples
    --------
    >>> x = torch.tensor([[2.0, 1e-3], [-2.0, 1e-3], [2.0, -1e-3]])
    >>> weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> used_directions(x, weight, torch.zeros(2), torch.tensor([0, 1, 0])).item()
    1.0
    """
    x, weight = real_matrix("x", x), real_matrix("weight", weight)
    check_tensor("bias", bias)
    check_tensor("y", y)
    check_nonnegative("tolerance", tolerance)
    finite = x.isfinite().all()
    left, values, right = torch.linalg.svd(
        torch.where(finite, x, torch.zeros_like(x)), full_matrices=False
    )
    # (samples, directions, classes)
    shares = (left * values).unsqueeze(-1) * (right @ weight.mT)
    logits = torch.cat([torch.zeros_like(shares[:, :1]), shares.cumsum(1)], 1) + bias
    accuracy = (logits.argmax(-1) == y.unsqueeze(-1)).to(x.dtype).mean(0)
    enough = accuracy >= accuracy[-1] - tolerance
    count = len(enough) - enough.flip(0).to(torch.int64).cumprod(0).sum()
    count = torch.where(finite, count.to(x.dtype), torch.nan)
    return nan_where_not_finite(count, logits, dims=3)


def missing_fraction(z: Tensor, rtol: float = 1e-3) -> Tensor:
    """Return the fraction of a layer's dimensions that are missing: the values do not vary there.

    Parameters
    ----------
    z : Tensor
        A layer's values, shape (..., samples, dimensions).
    rtol : float
        A direction is missing if its singular value, over the centred samples, is at most this
        fraction of the largest. Default 0.001.

    Returns
    -------
    Tensor
        Shape (...), from 0 (all are there) to 1 (all samples have the same values); NaN where a
        value is NaN or infinite.

    Raises
    ------
    ValueError
        If `z` is not a real matrix or a batch of them, or `rtol` is not in [0, 1).

    Examples
    --------
    >>> missing_fraction(torch.tensor([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])).item()
    0.5
    """
    z = real_matrix("z", z)
    rank = numerical_rank(z - z.mean(-2, keepdim=True), rtol)
    return 1 - rank / z.shape[-1]
