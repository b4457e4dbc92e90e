"""The families of reflections that networks have.

Hidden units: swap two of them, or flip the sign of one. Factor pairs: rotate an inner dimension;
swap or negate the partners of a scalar pair.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .._checks import check_int, check_unit_vector
from .find.units import flip, swap
from .reflection import Parameters, Reflection
from .slices import HiddenLayer, Slice, hidden_layer, is_odd

T = TypeVar("T")


def permutation_reflection(
    model: nn.Module,
    layer: str,
    i: int,
    j: int,
    *,
    outgoing: str | Sequence[str] | None = None,
    norm: str | None = None,
    example_input: Any = None,
) -> Reflection:
    """Swap hidden units `i` and `j` of a layer: incoming weights, bias, norm and outgoing weights.

    On the mirror plane the two units are identical, so one of them is wasted. ``rank(P)`` is the
    number of scalars that a unit owns (in + bias + norm + out).

    Parameters
    ----------
    model : nn.Module
        A network; its structure is read, its values are not.
    layer : str
        Name of an ``nn.Linear`` or convolution, as in ``dict(model.named_modules())``. For a
        convolution the units are its output channels.
    i, j : int
        Two different units, counted from 0.
    outgoing : str or sequence of str, optional
        The layer (or layers) that read the units. Default: inferred where `layer` stands in a plain
        ``nn.Sequential``. A linear layer behind a flattened convolution reads a block of inputs per
        channel.
    norm : str, optional
        The BatchNorm or LayerNorm over the units. Default: inferred likewise, none if `outgoing` is
        given. The running statistics are swapped too, so pass parameters **and buffers** then.
    example_input : Tensor, tuple or dict, optional
        What the model is called with. Given, one forward pass shows what belongs to the units, in
        any model, and the swap is proved by evaluation; `outgoing` and `norm` are not needed then.
        For many reflections of one model, call `find_reflections` once.

    Returns
    -------
    Reflection
        Centred at 0.

    Raises
    ------
    ValueError
        If a name or unit does not exist, or the structure cannot be inferred; the message names
        the argument to give.

    References
    ----------
    Ziyin, Xu and Chuang (ICLR 2025), section 3 (permutation symmetry).

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> R = permutation_reflection(model, "0", 1, 4)
    >>> R.rank(dict(model.named_parameters()))  # 3 in + 1 bias + 2 out
    6
    """
    if example_input is not None:
        _check_alone(outgoing, norm)
        return swap(model, example_input, layer, i, j)
    hidden = hidden_layer(model, layer, outgoing, norm)
    hidden.check_unit(i, "i")
    hidden.check_unit(j, "j")
    if i == j:
        raise ValueError(f"i and j must be two different units, got i = j = {i}")
    return _on_each(
        hidden.slices, lambda tensor, part, _: _swap(tensor, part, i, j), hidden.buffers
    )


def sign_reflection(
    model: nn.Module,
    layer: str,
    i: int,
    *,
    outgoing: str | Sequence[str] | None = None,
    norm: str | None = None,
    activation: nn.Module | Callable[[Tensor], Tensor] | None = None,
    example_input: Any = None,
) -> Reflection:
    r"""Flip the sign of hidden unit `i`: negate its incoming weights, bias and outgoing weights.

    The network does not change when its activation is odd (tanh, linear). On the mirror plane the
    unit is zero: dead. ``rank(P)`` is the number of scalars that a unit owns (in + bias + out).

    A unit in front of a BatchNorm has a sign flip whatever the activation, ReLU included: negate
    its weights, bias, running mean and the norm's gain :math:`\gamma`; the outgoing weights stay.

    Parameters
    ----------
    model : nn.Module
        A network; its structure is read, its values are not.
    layer : str
        Name of an ``nn.Linear`` or convolution, as in ``dict(model.named_modules())``.
    i : int
        The unit, counted from 0.
    outgoing : str or sequence of str, optional
        The layer (or layers) that read the units. Default: inferred where `layer` stands in a plain
        ``nn.Sequential``.
    norm : str, optional
        The BatchNorm over the units. Default: inferred likewise.
    activation : nn.Module or callable, optional
        The activation between the layer and `outgoing`; needed only where it cannot be inferred.
    example_input : Tensor, tuple or dict, optional
        What the model is called with. Given, one forward pass shows what belongs to the unit, in
        any model, and the flip is proved by evaluation; the three arguments before are not needed
        then.

    Returns
    -------
    Reflection
        Centred at 0.

    Raises
    ------
    ValueError
        If the activation is not odd (ReLU, GELU, ...) and no BatchNorm follows, if a name or unit
        does not exist, or if the structure cannot be inferred.

    References
    ----------
    Ziyin, Xu and Chuang (ICLR 2025), section 3. The BatchNorm form was derived for this book.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    >>> sign_reflection(model, "0", 4).rank(dict(model.named_parameters()))
    6
    """
    if example_input is not None:
        _check_alone(outgoing, norm, activation)
        return flip(model, example_input, layer, i)
    hidden = hidden_layer(model, layer, outgoing, norm)
    hidden.check_unit(i, "i")
    slices = _negated(hidden, activation)
    return _on_each(slices, lambda tensor, part, _: _negate(tensor, part, i), hidden.buffers)


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
    check_int("left_axis", left_axis)
    check_int("right_axis", right_axis)
    normal = check_unit_vector(n)
    axes = {left: left_axis}
    if right is not None:
        if right == left:
            raise ValueError(
                f"right={right!r} names the same factor as left; for U U^T pass right=None"
            )
        axes[right] = right_axis
    return _on_each(axes, lambda tensor, axis, name: _mirror(tensor, normal, axis, name))


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
    return _on_pairs(left, right, index, lambda u, w: (w, u))


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
    return _on_pairs(left, right, index, lambda u, w: (-u, -w))


def _check_alone(*others: object) -> None:
    if any(one is not None for one in others):
        raise ValueError(
            "example_input shows what belongs to a unit; leave outgoing, norm and activation out"
        )


def _on_each(
    parts: Mapping[str, T], act: Callable[[Tensor, T, str], Tensor], buffers: Collection[str] = ()
) -> Reflection:
    """Return the reflection that acts on the named tensors, each by itself."""

    def involution(params: Parameters) -> dict[str, Tensor]:
        return {**params, **{n: act(params[n], part, n) for n, part in parts.items()}}

    return Reflection(involution, buffers=buffers, check=False)


def _negated(
    hidden: HiddenLayer, activation: nn.Module | Callable[[Tensor], Tensor] | None
) -> dict[str, Slice]:
    """Return the slices that a sign flip negates; ValueError where there is no sign flip."""
    by_norm = isinstance(hidden.norm_module, nn.modules.batchnorm._BatchNorm)
    if hidden.norm_module is not None and not by_norm:
        raise ValueError(
            f"a {type(hidden.norm_module).__name__} after layer {hidden.name!r} mixes the units, "
            "so one unit's sign cannot be flipped; use permutation_reflection"
        )
    if activation is not None:
        activations: Sequence[nn.Module | Callable[[Tensor], Tensor]] = (activation,)
    elif hidden.activations is not None:
        activations = hidden.activations
    elif by_norm:
        activations = ()
    else:
        raise ValueError(
            f"the activation after layer {hidden.name!r} cannot be inferred when outgoing is "
            "given; pass it with activation=..., for example activation=torch.tanh"
        )
    if not is_odd(activations):
        names = ", ".join(getattr(a, "__name__", type(a).__name__) for a in activations)
        raise ValueError(
            f"activation {names} after layer {hidden.name!r} is not odd, so negating a unit "
            "changes the network; a sign reflection needs an odd activation (tanh, linear) or a "
            "BatchNorm right after the layer. permutation_reflection works for any activation."
        )
    if not by_norm:
        return {**hidden.incoming, **hidden.outgoing}
    gains = {n: s for n, s in hidden.norm.items() if n.endswith((".weight", ".running_mean"))}
    if not any(name.endswith(".weight") for name in gains):
        raise ValueError(
            f"the BatchNorm after layer {hidden.name!r} has no gain (affine=False), so a unit's "
            "sign cannot be taken back; use affine=True or permutation_reflection"
        )
    return {**hidden.incoming, **gains}


def _swap(tensor: Tensor, part: Slice, i: int, j: int) -> Tensor:
    order = torch.arange(tensor.shape[part.axis], device=tensor.device)
    first, second = (part.entries([unit], tensor.device) for unit in (i, j))
    order[first], order[second] = second, first
    return tensor.index_select(part.axis, order)


def _negate(tensor: Tensor, part: Slice, i: int) -> Tensor:
    sign = torch.ones(tensor.shape[part.axis], dtype=tensor.dtype, device=tensor.device)
    sign[part.entries([i], tensor.device)] = -1
    trailing = (1,) * (tensor.ndim - part.axis - 1)
    return tensor * sign.reshape(-1, *trailing)


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


def _on_pairs(
    left: str,
    right: str,
    index: int | None,
    change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> Reflection:
    """Return the reflection that changes one pair of two tensors' entries, or all pairs."""
    if index is not None:
        check_int("index", index)

    def involution(params: Parameters) -> dict[str, Tensor]:
        u, w = params[left], params[right]
        if u.shape != w.shape:
            raise ValueError(
                f"{left!r} and {right!r} must have the same shape, got {tuple(u.shape)} and "
                f"{tuple(w.shape)}"
            )
        if index is not None and not 0 <= index < u.numel():
            raise ValueError(
                f"index={index} is out of range: {left!r} has {u.numel()} entries, counted from 0"
            )
        numbers = torch.arange(u.numel(), device=u.device).reshape(u.shape)
        chosen = numbers >= 0 if index is None else numbers == index
        new_u, new_w = change(u, w)
        return {**params, left: torch.where(chosen, new_u, u), right: torch.where(chosen, new_w, w)}

    return Reflection(involution, check=False)
