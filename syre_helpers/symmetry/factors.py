"""Reflections of factor pairs: rotation of an inner dimension, and rescaling of scalar pairs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .reflection import Parameters, Reflection


def rotation_reflection(
    left: str,
    right: str | None,
    n: Tensor,
    *,
    left_axis: int = 1,
    right_axis: int = 0,
) -> Reflection:
    r"""Reflect the inner dimension of a product ``left @ right`` in the hyperplane normal to `n`.

    The product :math:`U V` does not change under :math:`(U, V) \to (U Q, Q^T V)` for any orthogonal
    :math:`Q`. Every unit vector :math:`n` gives the reflection :math:`Q = I - 2 n n^T`, so there
    are uncountably many. On its mirror plane :math:`U n = 0` and :math:`V^T n = 0`: the product has
    lost one dimension of rank. ``rank(P)`` is the number of rows plus the number of columns.

    Parameters
    ----------
    left, right : str
        Names of the two factors. ``right=None`` means the product of `left` with its own transpose,
        :math:`U U^T`.
    n : Tensor
        Unit vector, shape (inner,).
    left_axis, right_axis : int
        Which axis of each factor is the inner one. Defaults 1 and 0, as in ``left @ right`` with
        matrices (rows, inner) and (inner, columns). Queries and keys stored as (inner, features)
        have the inner axis 0 on both sides.

    Returns
    -------
    Reflection
        Centred at 0.

    Raises
    ------
    ValueError
        If `n` is not a finite unit vector, or does not fit the inner axis of a factor.

    Notes
    -----
    Whatever else acts on the inner dimension (a bias between the factors, a nonlinearity, a norm)
    breaks the symmetry: ``violation`` shows it.

    References
    ----------
    Ziyin (ICML 2024), rotation symmetry; Ziyin, Xu and Chuang (ICLR 2025), section 5.

    Examples
    --------
    >>> import torch
    >>> R = rotation_reflection("U", "V", torch.tensor([0.6, 0.8]))
    >>> state = {"U": torch.randn(5, 2), "V": torch.randn(2, 3)}
    >>> R.rank(state)
    8
    """
    normal = _unit_vector(n)
    factors = {left: left_axis}
    if right is not None:
        if right == left:
            raise ValueError(
                f"right={right!r} names the same factor as left; for U U^T pass right=None"
            )
        factors[right] = right_axis

    def involution(params: Parameters) -> dict[str, Tensor]:
        reflected = dict(params)
        for name, axis in factors.items():
            reflected[name] = _mirror(params[name], normal, axis, name)
        return reflected

    return Reflection(involution)


def swap_reflection(left: str, right: str, index: int | None = None) -> Reflection:
    r"""Swap the two partners of a scalar pair: :math:`(u, w) \to (w, u)`.

    A product :math:`u w` of scalars has it beside the rescaling :math:`(a u, w / a)`. Its mirror
    plane is :math:`u = w`, which holds both minima of :math:`(u w - 1)^2`: a mirror plane need not
    be a collapsed state.

    Parameters
    ----------
    left, right : str
        Names of two tensors of the same shape.
    index : int, optional
        Which pair to swap, into the flattened tensors. Default: all pairs at once.

    Returns
    -------
    Reflection
        Centred at 0; ``rank(P)`` is the number of pairs swapped.

    Examples
    --------
    >>> import torch
    >>> state = {"u": torch.randn(4), "w": torch.randn(4)}
    >>> swap_reflection("u", "w").rank(state), swap_reflection("u", "w", 2).rank(state)
    (4, 1)
    """

    def involution(params: Parameters) -> dict[str, Tensor]:
        u, w = params[left], params[right]
        chosen = _chosen(u, w, index, (left, right))
        return {**params, left: torch.where(chosen, w, u), right: torch.where(chosen, u, w)}

    return Reflection(involution)


def pair_sign_reflection(left: str, right: str, index: int | None = None) -> Reflection:
    r"""Negate both partners of a scalar pair: :math:`(u, w) \to (-u, -w)`.

    It is the rescaling :math:`(a u, w / a)` at :math:`a = -1`. On its mirror plane the pair is
    zero: a dead coordinate.

    Parameters
    ----------
    left, right : str
        Names of two tensors of the same shape.
    index : int, optional
        Which pair to negate, into the flattened tensors. Default: all pairs at once.

    Returns
    -------
    Reflection
        Centred at 0; ``rank(P)`` is twice the number of pairs negated.

    Examples
    --------
    >>> import torch
    >>> state = {"u": torch.randn(4), "w": torch.randn(4)}
    >>> pair_sign_reflection("u", "w", 2).rank(state)
    2
    """

    def involution(params: Parameters) -> dict[str, Tensor]:
        u, w = params[left], params[right]
        chosen = _chosen(u, w, index, (left, right))
        return {**params, left: torch.where(chosen, -u, u), right: torch.where(chosen, -w, w)}

    return Reflection(involution)


def _unit_vector(n: Tensor) -> Tensor:
    vector = torch.as_tensor(n).detach().to("cpu", torch.float64)
    if vector.ndim != 1:
        raise ValueError(f"n must be a vector of shape (inner,), got shape {tuple(vector.shape)}")
    length = float(vector.norm())
    # 1e-5 admits a vector that was normalised in float32.
    if not math.isfinite(length) or abs(length - 1) > 1e-5:
        raise ValueError(
            f"n must have length 1, got length {length:g}; pass n / n.norm() of a vector that is "
            "finite and not zero"
        )
    return vector / length


def _mirror(tensor: Tensor, normal: Tensor, axis: int, name: str) -> Tensor:
    """Apply ``I - 2 n n^T`` along one axis."""
    if not -tensor.ndim <= axis < tensor.ndim or tensor.shape[axis] != len(normal):
        raise ValueError(
            f"n has {len(normal)} entries, but {name!r} has shape {tuple(tensor.shape)} with inner "
            f"axis {axis}; pass a vector that fits, or left_axis / right_axis"
        )
    n = normal.to(tensor)
    inner_last = tensor.movedim(axis, -1)
    component = (inner_last * n).sum(-1, keepdim=True)
    return (inner_last - 2 * component * n).movedim(-1, axis)


def _chosen(u: Tensor, w: Tensor, index: int | None, names: tuple[str, str]) -> Tensor:
    """Return a mask of the pairs that a reflection moves."""
    if u.shape != w.shape:
        raise ValueError(
            f"{names[0]!r} and {names[1]!r} must have the same shape, got {tuple(u.shape)} and "
            f"{tuple(w.shape)}"
        )
    mask = torch.ones(u.shape, dtype=torch.bool, device=u.device)
    if index is None:
        return mask
    if not 0 <= index < u.numel():
        raise ValueError(
            f"index={index} is out of range: {names[0]!r} has {u.numel()} entries, counted from 0"
        )
    return (torch.arange(u.numel(), device=u.device) == index).reshape(u.shape)
