"""From the tensors that a model stores to those that it computes with, by their names alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..removal.names import canonical_name

LeftOut = list[tuple[str, str]]


def computed(state: Mapping[str, Tensor], left_out: LeftOut) -> dict[str, Tensor]:
    """Return the tensors that a model computes with, by canonical name.

    Parameters
    ----------
    state : mapping of str to Tensor
        As ``model.state_dict()`` gives it.
    left_out : list
        Takes what could not be told.

    Returns
    -------
    dict of str to Tensor
        Under `Syre.parametrize` ``theta + theta_0``; of ``weight_norm`` the weight; of a pruned
        layer the weight with its mask; all else as it is, without the prefixes of wrappers.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stem, mark, rest = name.rpartition("parametrizations.")
        attribute, _, inside = rest.partition(".")
        place = f"{stem}parametrizations.{attribute}."
        if not mark:
            _plain(name, tensor, state, found)
        elif inside == "original":
            found[canonical_name(stem + attribute)] = _shifted(place, tensor, state, left_out)
        elif inside == "original0" and f"{place}original1" in state:
            found[canonical_name(stem + attribute)] = _normed(tensor, state[f"{place}original1"])
    return found


def masked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without masks, whose pruned parameters are 0 where their masks are."""
    pruned = {name for name in state if name.endswith("_orig") and f"{name[:-5]}_mask" in state}
    masks = {f"{name[:-5]}_mask" for name in pruned}
    return {
        name: tensor * state[f"{name[:-5]}_mask"] if name in pruned else tensor
        for name, tensor in state.items()
        if name not in masks
    }


def _plain(
    name: str, tensor: Tensor, state: Mapping[str, Tensor], found: dict[str, Tensor]
) -> None:
    """Enter a tensor that no parametrization has made."""
    for end, other in (("_orig", "_mask"), ("_g", "_v")):
        beside = name.removesuffix(end) + other
        if name.endswith(end) and beside in state:
            made = tensor * state[beside] if end == "_orig" else _normed(tensor, state[beside])
            found[canonical_name(name.removesuffix(end))] = made
            return
        if name.endswith(other) and name.removesuffix(other) + end in state:
            return
    found[canonical_name(name)] = tensor


def _shifted(place: str, tensor: Tensor, state: Mapping[str, Tensor], left_out: LeftOut) -> Tensor:
    """Return a parameter plus its theta_0, or as it is stored where something else makes it."""
    theta_0 = state.get(f"{place}0.theta_0")
    if theta_0 is not None:
        return tensor + theta_0
    left_out.append(
        (canonical_name(place[:-1]), "it is judged as stored: how it is computed is not known")
    )
    return tensor


def _normed(size: Tensor, direction: Tensor) -> Tensor:
    """Return the weight that weight_norm makes: each row's size times its direction."""
    if size.ndim != direction.ndim:
        return direction
    axes = [axis for axis, length in enumerate(size.shape) if length == 1]
    norm = direction.norm(dim=axes, keepdim=True) if axes else direction.abs()
    return size * direction / norm.clamp_min(torch.finfo(direction.dtype).tiny)
