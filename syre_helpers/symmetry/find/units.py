"""Reflections of the units of one layer, in a network that a forward pass has shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..._checks import check_int
from ..reflection import Reflection
from . import rules
from .action import Site
from .candidates import Candidate, candidates
from .engine import structure
from .graph import record
from .layout import layout
from .network import Network, undisturbed
from .proof import Prover
from .report import family_of

_TOLERANCE = 1e-10
# One family, not a product of many: each draw halves the chance of an error.
_DRAWS = 5


def swap(model: nn.Module, example_input: Any, layer: str, i: int, j: int) -> Reflection:
    """Return the reflection that swaps two units of a layer, with all that belongs to them.

    Parameters
    ----------
    model : nn.Module
        Any model.
    example_input : Tensor, tuple or dict
        What it is called with.
    layer : str
        Name of a module with a weight whose first axis (for a transposed convolution the second)
        counts the units.
    i, j : int
        Two units, counted along that axis.

    Returns
    -------
    Reflection
        Proved by evaluation at generic parameters.

    Raises
    ------
    ValueError
        If the units do not exist, or no swap of theirs is a symmetry.
    """
    for network, family, site in _families(model, example_input, layer, (i, j)):
        if family.kind not in ("permutation", "rotation"):
            continue
        (unit, at), (other, beside) = _place(site, i), _place(site, j)
        alone = _alone(site, i) and _alone(site, j)
        if min(unit, other) < 0 or at != beside or unit == other or not alone:
            continue
        row = family_of(network, family)
        if family.kind == "permutation":
            return row.reflection(unit, other, at=at)
        normal = torch.zeros(family.units, dtype=torch.float64)
        normal[unit], normal[other] = 0.5**0.5, -(0.5**0.5)
        return row.reflection(normal, at=at)
    raise ValueError(
        f"no swap of units {i} and {j} of layer {layer!r} is a symmetry of this model: they play "
        "different parts, such as belonging to different heads or to an output. See "
        "find_reflections(model, example_input)"
    )


def flip(model: nn.Module, example_input: Any, layer: str, i: int) -> Reflection:
    """Return the reflection that negates a unit of a layer, with all that belongs to it.

    Parameters
    ----------
    model, example_input, layer
        As for `swap`.
    i : int
        The unit.

    Returns
    -------
    Reflection
        Proved by evaluation at generic parameters.

    Raises
    ------
    ValueError
        If the unit does not exist, or no sign flip of it is a symmetry.
    """
    for network, family, site in _families(model, example_input, layer, (i,)):
        unit, at = _place(site, i)
        if unit < 0 or family.kind == "permutation" or not _alone(site, i):
            continue
        row = family_of(network, family)
        if family.kind == "sign":
            return row.reflection(unit, at=at)
        normal = torch.zeros(family.units, dtype=torch.float64)
        normal[unit] = 1
        return row.reflection(normal, at=at)
    raise ValueError(
        f"no sign flip of unit {i} of layer {layer!r} is a symmetry of this model: a sign "
        "reflection needs an odd activation (tanh, linear), a norm's gain behind the layer, or a "
        "product. See find_reflections(model, example_input)"
    )


def _families(
    model: nn.Module, example_input: Any, layer: str, units: tuple[int, ...]
) -> Iterator[tuple[Network, Candidate, Site]]:
    """Yield proved families that move the units of a layer's weight."""
    network = Network(model, example_input, None, None, 0)
    name = f"{layer}.weight"
    if network.moving.get(name) != "parameter":
        raise ValueError(
            f"layer={layer!r} has no weight that trains; layers with one are "
            f"{[n.removesuffix('.weight') for n in network.moving if n.endswith('.weight')]}"
        )
    module = model.get_submodule(layer)
    axis = 1 if isinstance(module, nn.modules.conv._ConvTransposeNd) else 0
    width = dict(model.named_parameters())[name].shape[axis]
    for unit in units:
        if not 0 <= check_int("unit", unit) < width:
            raise ValueError(
                f"unit {unit} is out of range: layer {layer!r} has {width} units, counted from 0"
            )
    with undisturbed(model):
        network.prepare()
        graph = record(model, network.call, network.state, network.moving, network.inputs)
        known = structure(graph, rules.elementwise)
        where = layout(graph, known)
        prover = Prover(network, _TOLERANCE)
        for family in candidates(known, where):
            for site in family.sites:
                if site.piece == (name, None) and site.axis == axis:
                    if prover.prove([family], _DRAWS, 0):
                        yield network, family, site
                    break


def _alone(site: Site, unit: int) -> bool:
    """Test whether nothing else on the axis moves with a unit, as the rest of its head might."""
    same = (site.unit == site.unit[unit]) & (site.own == site.own[unit])
    return int(same.sum()) == 1


def _place(site: Site, unit: int) -> tuple[int, int]:
    """Return the unit's number in its family, -1 for none, and which of the families it is in."""
    member = int(site.own[unit]) + sum(int(share[0]) for _, share in site.others)
    return int(site.unit[unit]), member
