"""Symmetric starts: states on a mirror plane, to the last bit."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from .._checks import check_int
from ..symmetry.slices import HiddenLayer, Slice, hidden_layer

# f(0) is not 0: the weights that leave a unit of zeros still get a gradient, so it is not dead.
_NONZERO_AT_ZERO = (nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid)

Units = Iterable[int]
"""Numbers of hidden units; a one-dimensional integer tensor will do."""


def tie_units(model: nn.Module, layer: str, groups: Iterable[Units]) -> None:
    """Make the hidden units of each group identical, in place.

    The first unit of a group is copied onto the others: incoming weights, bias, BatchNorm, and
    outgoing weights. What the model computes changes.

    Parameters
    ----------
    model : nn.Module
        Has a plain ``nn.Sequential`` in which the layer is followed by the layer that reads it.
    layer : str
        Name of an ``nn.Linear`` or convolution whose outputs are the hidden units.
    groups : iterable of iterables of int
        Units counted from 0, no unit in two groups. ``torch.arange(32).chunk(4)`` makes four groups
        of eight.

    Raises
    ------
    ValueError
        If the layer is not found or not followed by another, or a unit is out of range or named
        twice.

    Examples
    --------
    >>> from syre_helpers.models import mlp
    >>> model = mlp([3, 4, 1])
    >>> tie_units(model, "0", [(0, 1), (2, 3)])
    >>> torch.equal(model[0].weight[2], model[0].weight[3])
    True
    """
    hidden = hidden_layer(model, layer, None, None)
    tensors = unit_tensors(model, hidden)
    with torch.no_grad():
        for first, *others in check_groups(hidden, groups):
            for tensor, part in tensors.values():
                source = part.of(tensor, [first])
                for other in others:
                    tensor.index_copy_(part.axis, part.entries([other], tensor.device), source)


def kill_units(model: nn.Module, layer: str, units: Units) -> None:
    """Set hidden units to zero, in place: incoming weights, bias, BatchNorm, and outgoing weights.

    Such a unit gets no gradient: gradient descent never revives it.

    Parameters
    ----------
    model : nn.Module
        Has a plain ``nn.Sequential`` in which the layer is followed by the layer that reads it.
    layer : str
        Name of an ``nn.Linear`` or convolution whose outputs are the hidden units.
    units : iterable of int
        Units counted from 0, without repetition.

    Raises
    ------
    ValueError
        If the layer is not found or not followed by another, a unit is out of range or named twice,
        or the activation is not 0 at 0 (the outgoing weights would get a gradient).

    Examples
    --------
    >>> from syre_helpers.models import mlp
    >>> model = mlp([3, 4, 1])
    >>> kill_units(model, "0", [1, 2])
    >>> (model[2].weight == 0).tolist()
    [[False, True, True, False]]
    """
    hidden = hidden_layer(model, layer, None, None)
    (numbers,) = check_groups(hidden, [units], argument="units")
    check_zero_stays_zero(model, hidden)
    with torch.no_grad():
        for tensor, part in unit_tensors(model, hidden).values():
            if tensor.is_floating_point():
                tensor.index_fill_(part.axis, part.entries(numbers, tensor.device), 0.0)


def unit_tensors(model: nn.Module, hidden: HiddenLayer) -> dict[str, tuple[torch.Tensor, Slice]]:
    """Return the tensors of which the units own a part, parameters and buffers, with that part.

    Parameters
    ----------
    model : nn.Module
        The network.
    hidden : HiddenLayer
        One of its layers.

    Returns
    -------
    dict
        Name -> the tensor itself and the slice.

    Raises
    ------
    ValueError
        If a tensor is under a parametrization.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if not hidden.incoming or not hidden.slices.keys() <= tensors.keys():
        raise ValueError(
            f"layer={hidden.name!r} or the layer that reads it is under a parametrization, as "
            "after merge_units or Syre.parametrize; change the units before that"
        )
    return {name: (tensors[name], part) for name, part in hidden.slices.items()}


def check_groups(
    hidden: HiddenLayer, groups: Iterable[Units], argument: str = "groups"
) -> list[list[int]]:
    """Return the groups as lists.

    Parameters
    ----------
    hidden : HiddenLayer
        The layer that has the units.
    groups : iterable of iterables of int
        Numbers of units.
    argument : str
        Name for messages. Default "groups".

    Returns
    -------
    list of list of int
        The same numbers.

    Raises
    ------
    TypeError
        If a unit is no whole number.
    ValueError
        If there is no group, one is empty, or a unit is out of range or named twice.
    """
    lists = [
        # Of tensors and arrays the numbers in them.
        [check_int(argument, unit.item() if hasattr(unit, "item") else unit) for unit in group]
        for group in groups
    ]
    if not lists or not all(lists):
        raise ValueError(f"{argument} is empty or has an empty group; name at least one unit")
    seen: set[int] = set()
    for unit in (unit for group in lists for unit in group):
        hidden.check_unit(unit, argument)
        if unit in seen:
            raise ValueError(f"{argument} names unit {unit} twice; name every unit once")
        seen.add(unit)
    return lists


def check_zero_stays_zero(model: nn.Module, hidden: HiddenLayer) -> None:
    """Raise ValueError if an activation turns a unit of zeros into something else."""
    names = [name for name, _ in model.named_modules()]
    (outgoing,) = (name.removesuffix(".weight") for name in hidden.outgoing)
    for name in names[names.index(hidden.name) : names.index(outgoing)]:
        module = model.get_submodule(name)
        if isinstance(module, _NONZERO_AT_ZERO):
            raise ValueError(
                f"layer={hidden.name!r} is followed by {type(module).__name__}, which is not 0 at "
                "0, so a unit of zeros is not dead; use an activation with f(0) = 0 such as tanh "
                "or ReLU"
            )
