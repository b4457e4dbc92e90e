"""The alignment of two networks: the hidden units of one in the order of the other's."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from .reflection import Parameters
from .slices import HiddenLayer, Slice, hidden_layer


def hidden_layers(model: nn.Module) -> list[HiddenLayer]:
    """Return the hidden layers of a plain ``nn.Sequential``, in order.

    Parameters
    ----------
    model : nn.Module
        Linear layers and convolutions, with activations, norms and pools between them.

    Returns
    -------
    list of HiddenLayer
        One per linear layer or convolution, without the last, whose units are the outputs.

    Raises
    ------
    ValueError
        If the layer that reads a layer's units cannot be inferred, as in a residual network.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> [(layer.name, layer.width) for layer in hidden_layers(model)]
    [('0', 5)]
    """
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    names = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    return [hidden_layer(model, name, None, None) for name in names[:-1]]


def align_units(
    layers: list[HiddenLayer], a: Parameters, b: Parameters, rounds: int = 20
) -> dict[str, Tensor]:
    """Return a network with its hidden units in the order of another's, which changes no output.

    Parameters
    ----------
    layers : list of HiddenLayer
        The layers whose units may change places, from `hidden_layers`.
    a, b : mapping of str to Tensor
        States of two networks of the same shapes. Running statistics move with their units, and do
        not count in the comparison.
    rounds : int
        Largest number of passes over the layers. Default 20. With one hidden layer the first pass
        finds the nearest of all orders; with more it is a descent.

    Returns
    -------
    dict of str to Tensor
        `b`, with its units in another order.

    Raises
    ------
    ValueError
        If a state lacks a parameter of a layer, or the two states' shapes differ.

    References
    ----------
    Ainsworth, Hayase and Srinivasa, "Git Re-Basin", ICLR 2023: matching weights.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> a = {name: p.detach() for name, p in model.named_parameters()}
    >>> b = {"0.weight": a["0.weight"].flip(0), "0.bias": a["0.bias"].flip(0)}
    >>> b |= {"2.weight": a["2.weight"].flip(1), "2.bias": a["2.bias"]}
    >>> found = align_units(hidden_layers(model), a, b)
    >>> all(torch.equal(found[name], a[name]) for name in a)
    True
    """
    from scipy.optimize import linear_sum_assignment

    _check_states(layers, a, b)
    b = dict(b)
    for _ in range(rounds):
        moved = False
        for layer in layers:
            likeness = _likeness(layer, a, b)
            _, best = linear_sum_assignment(likeness.cpu().numpy(), maximize=True)
            order = torch.as_tensor(best, device=likeness.device)
            place = torch.arange(layer.width, device=likeness.device)
            if float(likeness[place, order].sum() - likeness.trace()) > 1e-9:
                moved = True
                b |= _reordered(layer, b, order)
        if not moved:
            break
    return b


def _compared(layer: HiddenLayer) -> dict[str, Slice]:
    """Return the slices of the parameters: running statistics are not compared."""
    return {name: part for name, part in layer.slices.items() if name not in layer.buffers}


def _likeness(layer: HiddenLayer, a: Parameters, b: Parameters) -> Tensor:
    """Return the inner products of each unit of `a` with each unit of `b`, (units, units)."""
    products = [
        part.rows(a[name], layer.width).double() @ part.rows(b[name], layer.width).double().T
        for name, part in _compared(layer).items()
    ]
    return functools.reduce(torch.add, products)


def _reordered(layer: HiddenLayer, state: Parameters, order: Tensor) -> dict[str, Tensor]:
    """Return the tensors of one layer with its units in another order."""
    return {
        name: part.from_rows(part.rows(state[name], layer.width)[order], state[name])
        for name, part in layer.slices.items()
        if name in state
    }


def _check_states(layers: list[HiddenLayer], a: Parameters, b: Parameters) -> None:
    for name in (name for layer in layers for name in _compared(layer)):
        for argument, state in (("a", a), ("b", b)):
            if name not in state:
                raise ValueError(
                    f"{argument} has no entry {name!r}; pass the state_dict() of the network that "
                    "the layers were found in"
                )
        if a[name].shape != b[name].shape:
            raise ValueError(
                f"a and b must have the same shapes, but {name!r} has {tuple(a[name].shape)} and "
                f"{tuple(b[name].shape)}"
            )
