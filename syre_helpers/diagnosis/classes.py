"""Where the classes of units of a model come from."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..removal.names import effective_parameters
from ..symmetry import hidden_layers
from ..symmetry.slices import HiddenLayer
from .units import Part, Role, UnitClass

_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def role_of(module: nn.Module | None, tensor: str, axis: int, ndim: int) -> Role:
    """Return the role that the entries along one axis of a parameter have for their units.

    Parameters
    ----------
    module : nn.Module or None
        The module that the parameter belongs to.
    tensor : str
        Its name.
    axis : int
        The axis.
    ndim : int
        The number of its axes.

    Returns
    -------
    str
        As in `Part`.
    """
    if ndim < 2:
        normed = "Norm" in type(module).__name__ and tensor.endswith("weight")
        return "gain" if normed else "shift"
    # Most weights are (outputs, inputs, ...).
    kinds = {kind.__name__ for kind in type(module).__mro__}
    if isinstance(module, nn.modules.conv._ConvTransposeNd) or "Conv1D" in kinds:
        return "outgoing" if axis == 0 else "incoming"
    if isinstance(module, nn.Embedding):
        return "incoming"
    return "incoming" if axis == 0 else "outgoing"


def classes_of(
    model: nn.Module, inputs: Any, found: Any, left_out: list[tuple[str, str]]
) -> list[UnitClass]:
    """Return the classes of units of a model."""
    return [class_of_layer(model, layer) for layer in hidden_layers(model)]


def class_of_layer(model: nn.Module, layer: HiddenLayer) -> UnitClass:
    """Return the class of the units of a layer whose tensors are known.

    Parameters
    ----------
    model : nn.Module
        The network.
    layer : HiddenLayer
        The layer.

    Returns
    -------
    UnitClass
        With swaps only: whether signs may be flipped is not looked at.
    """
    modules = dict(model.named_modules())
    tensors = {**effective_parameters(model), **dict(model.named_buffers())}
    parts = []
    for name, part in layer.slices.items():
        entries = torch.arange(layer.width * part.block).view(layer.width, part.block)
        module = modules.get(name.rpartition(".")[0])
        role: Role = (
            "buffer"
            if name in layer.buffers
            else role_of(module, name, part.axis, tensors[name].ndim)
        )
        parts.append(Part(name, part.axis, entries, role))
    return UnitClass(layer.name, ("permutation",), layer.width, tuple(parts))
