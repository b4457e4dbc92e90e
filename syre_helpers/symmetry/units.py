"""Reflections of hidden units: swap two of them, or flip the sign of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from .layers import HiddenLayer, Slab, hidden_layer, is_odd
from .reflection import Parameters, Reflection


def permutation_reflection(
    model: nn.Module,
    layer: str,
    i: int,
    j: int,
    *,
    outgoing: str | Sequence[str] | None = None,
    norm: str | None = None,
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
        ``nn.Sequential``. A linear layer behind a flattened convolution reads a block of inputs a
        channel.
    norm : str, optional
        The BatchNorm or LayerNorm over the units. Default: inferred likewise, none if `outgoing` is
        given. The running statistics are swapped too, so pass parameters **and buffers** then.

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
    hidden = hidden_layer(model, layer, outgoing, norm)
    hidden.check_unit(i, "i")
    hidden.check_unit(j, "j")
    if i == j:
        raise ValueError(f"i and j must be two different units, got i = j = {i}")
    slabs = {**hidden.incoming, **hidden.norm, **hidden.outgoing}

    def involution(params: Parameters) -> dict[str, Tensor]:
        reflected = dict(params)
        for name, slab in slabs.items():
            reflected[name] = _swap(params[name], slab, i, j)
        return reflected

    return Reflection(involution, buffers=hidden.buffers)


def sign_reflection(
    model: nn.Module,
    layer: str,
    i: int,
    *,
    outgoing: str | Sequence[str] | None = None,
    norm: str | None = None,
    activation: nn.Module | Callable[[Tensor], Tensor] | None = None,
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
    hidden = hidden_layer(model, layer, outgoing, norm)
    hidden.check_unit(i, "i")
    slabs = _negated(hidden, activation)

    def involution(params: Parameters) -> dict[str, Tensor]:
        reflected = dict(params)
        for name, slab in slabs.items():
            reflected[name] = _negate(params[name], slab, i)
        return reflected

    return Reflection(involution, buffers=hidden.buffers)


def _negated(
    hidden: HiddenLayer, activation: nn.Module | Callable[[Tensor], Tensor] | None
) -> dict[str, Slab]:
    """Return the slabs that a sign flip negates, or say why there is none."""
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


def _swap(tensor: Tensor, slab: Slab, i: int, j: int) -> Tensor:
    order = list(range(tensor.shape[slab.axis]))
    for a, b in zip(slab.entries(i), slab.entries(j), strict=True):
        order[a], order[b] = order[b], order[a]
    return tensor.index_select(slab.axis, _index(order, tensor))


def _negate(tensor: Tensor, slab: Slab, i: int) -> Tensor:
    sign = torch.ones(tensor.shape[slab.axis], dtype=tensor.dtype, device=tensor.device)
    sign[_index(slab.entries(i), tensor)] = -1
    trailing = (1,) * (tensor.ndim - slab.axis - 1)
    return tensor * sign.reshape(-1, *trailing)


def _index(entries: Iterable[int], tensor: Tensor) -> Tensor:
    return torch.tensor(list(entries), device=tensor.device)
