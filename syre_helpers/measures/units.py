"""Collapsed units: dead and dormant ones, copies of others, inactive latents.

They accept leading batch axes, and work under ``torch.func.vmap``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .._checks import check_nonnegative, check_tensor
from ._arrays import in_single, nan_where_not_finite, real_matrix


def dead_fraction(x: Tensor, tol: float = 1e-6) -> Tensor:
    """Return the fraction of units that are never active.

    Parameters
    ----------
    x : Tensor
        Activations, shape (..., samples, units); or one value per unit, shape (units,), such as the
        products ``u * w`` of a reparametrised regression.
    tol : float
        A unit is dead if all its values are at most `tol` times the largest value of all units, in
        size. Default 1e-6.

    Returns
    -------
    Tensor
        Shape (...), between 0 and 1; 1 if all values are 0, NaN if some are NaN or infinite.

    Raises
    ------
    ValueError
        If `x` is empty, or `tol` is negative or not finite.

    Examples
    --------
    >>> import torch
    >>> dead_fraction(torch.tensor([[0.0, 1.0], [0.0, -2.0]])).item()
    0.5
    """
    check_tensor("x", x)
    if x.numel() == 0:
        raise ValueError(
            f"x is empty (shape {tuple(x.shape)}); pass at least one sample and one unit"
        )
    check_nonnegative("tol", tol)
    x = in_single(x if x.is_floating_point() else x.to(torch.get_default_dtype()))
    size = x.abs() if x.ndim == 1 else x.abs().amax(-2)
    dead = size <= tol * size.amax(-1, keepdim=True)
    return nan_where_not_finite(dead.to(x.dtype).mean(-1), size, dims=1)


def dormant_ratio(h: Tensor, tau: float = 0.025) -> Tensor:
    r"""Return the fraction of units that are dormant: hardly active next to the others.

    A unit's score is its mean activation in size, over the mean of that over all units of the
    layer; it is dormant if the score is at most `tau`.

    Parameters
    ----------
    h : Tensor
        Activations, shape (..., samples, units).
    tau : float
        Default 0.025; the reference uses 0, 0.025 and 0.1.

    Returns
    -------
    Tensor
        Shape (...), between 0 and 1; 1 if all values are 0, NaN where some are NaN or infinite.

    Raises
    ------
    ValueError
        If `h` is not a matrix or a batch of them, or `tau` is negative or not finite.

    References
    ----------
    Sokar, Agarwal, Castro and Evci, "The dormant neuron phenomenon in deep reinforcement learning",
    ICML 2023, definition 3.1.

    Examples
    --------
    >>> import torch
    >>> dormant_ratio(torch.tensor([[1.0, -1.0, 0.01], [1.0, 1.0, 0.01]])).item()
    0.3333333432674408
    """
    h = real_matrix("h", h)
    check_nonnegative("tau", tau)
    size = h.abs().mean(-2)
    dormant = size <= tau * size.mean(-1, keepdim=True)
    return nan_where_not_finite(dormant.to(h.dtype).mean(-1), h)


def duplicate_fraction(weight: Tensor, tol: float = 1e-6) -> Tensor:
    """Return the fraction of units that copy an earlier one: rows that could be deleted.

    Parameters
    ----------
    weight : Tensor
        One row per unit, shape (..., units, scalars): incoming weights, with bias and outgoing
        weights beside them where copies in every respect are meant.
    tol : float
        Two rows are copies if they differ by at most `tol` times the largest norm of a row.
        Default 1e-6.

    Returns
    -------
    Tensor
        Shape (...), from 0 (all distinct) to (units - 1) / units (all the same); NaN where a weight
        is NaN or infinite.

    Raises
    ------
    ValueError
        If `weight` is not a matrix or a batch of them, or `tol` is negative or not
        finite.

    Notes
    -----
    Time and memory grow with the square of the number of units: 6000 units take some 300 MB. The
    differences are taken entry by entry: the quicker way by inner products would lose the digits
    that a small `tol` asks for.

    Examples
    --------
    >>> import torch
    >>> duplicate_fraction(torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0], [1.0, 2.0]])).item()
    0.5
    """
    weight = real_matrix("weight", weight)
    check_nonnegative("tol", tol)
    distance = torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist")
    largest = weight.norm(dim=-1).amax(-1)[..., None, None]
    copies = (distance <= tol * largest).tril(-1).any(-1)
    return nan_where_not_finite(copies.to(weight.dtype).mean(-1), weight)


def active_latents(means: Tensor, threshold: float = 0.01) -> Tensor:
    r"""Return the number of latents of a VAE that carry information: whose posterior mean varies.

    Parameters
    ----------
    means : Tensor
        Posterior means :math:`\mathbb{E}[z \mid x]`, shape (..., samples, latents).
    threshold : float
        A latent is active if the variance of its mean over the samples exceeds this. Default 0.01.

    Returns
    -------
    Tensor
        Shape (...), a whole number, in floating point so that it can be NaN: where a mean is NaN or
        infinite.

    Raises
    ------
    ValueError
        If `means` is not a matrix or a batch of them, or has fewer than two samples.

    References
    ----------
    Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, section 5.1.

    Examples
    --------
    >>> import torch
    >>> active_latents(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item()
    1.0
    """
    means = real_matrix("means", means)
    check_nonnegative("threshold", threshold)
    if means.shape[-2] < 2:
        raise ValueError(f"means has {means.shape[-2]} sample; a variance needs at least 2")
    count = (means.var(-2) > threshold).sum(-1)
    return nan_where_not_finite(count.to(means.dtype), means)
