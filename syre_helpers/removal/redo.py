"""Rivals that make units anew between steps: ReDo, and continual backpropagation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .._checks import check_fraction, check_nonnegative, check_positive_int
from .._random import generator
from .arms import Arm

Params = Mapping[str, Tensor]
Activations = Mapping[tuple[str, str], Tensor]
"""By the names of a layer and of the one that reads it: outputs, (samples, units, ...)."""


class _Renewal(Arm):
    """What makes some of the hidden units anew now and then."""

    every: int

    @property
    def event_every(self) -> int:
        """How many steps lie between two events."""
        return self.every

    @property
    def resets_moments(self) -> bool:
        """True: the optimizer forgets the weights that are made anew."""
        return True


@dataclass(frozen=True)
class redo(_Renewal):
    """Training without decay in which dormant units are made anew again and again.

    The optimizer's moments of their weights are reset, as in the original.

    Parameters
    ----------
    tau : float
        A unit is dormant if its score is at most this: its mean absolute output on a batch over
        the mean of its layer. 0 means silent units only.
    every : int
        Steps between two such events, at least 1.
    activations : callable
        ``activations(params, step)`` returns the outputs of the hidden layers on a batch after that
        step, by the names of the layer and of the one that reads it: ``{("0", "2"): hidden}`` for
        an MLP of one hidden layer.

    References
    ----------
    Sokar, Agarwal, Castro and Evci, "The dormant neuron phenomenon in deep reinforcement learning",
    ICML 2023.
    """

    method = "ReDo"
    tau: float
    every: int
    activations: Callable[[Params, int], Activations]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive_int("every", self.every)

    def event(self, params: Params, seed: int, step: int) -> Params:  # noqa: D102
        outputs = self.activations(params, step)
        dormant = {}
        for layers, output in outputs.items():
            activity = _activity(output)
            dormant[layers] = activity <= self.tau * activity.mean()
        return renewed(params, dormant, generator(seed, "recycled", step))


@dataclass(frozen=True)
class continual_backprop(_Renewal):
    """Training in which the units of least use are made anew at a constant rate, however active.

    A unit's use is its mean absolute output times the sum of its absolute outgoing weights. Two
    things are simpler than in the original, since between steps an arm sees the parameters only:
    the use is that on one batch in place of a running mean over batches; and the events lie as many
    steps apart as a new unit is protected there, so that all units are old enough at each.

    Parameters
    ----------
    rate : float
        Share of a layer's units that is made anew per step, 0 to 1; what is left of a unit is
        carried over to the next event.
    every : int
        Steps between two events, at least 1: the maturity threshold.
    activations : callable
        As of `redo`.
    weight_decay : float
        Plain decay at all steps, as PyTorch's. Default 0.

    References
    ----------
    Dohare et al., "Loss of plasticity in deep continual learning", Nature 632, 2024; code:
    shibhansh/loss-of-plasticity, ``lop/algos/gnt.py``, with a rate of 1e-4 by default.
    """

    method = "continual backprop"
    rate: float
    every: int
    activations: Callable[[Params, int], Activations]
    weight_decay: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        check_fraction("rate", self.rate)
        check_positive_int("every", self.every)
        check_nonnegative("weight_decay", self.weight_decay)

    def event(self, params: Params, seed: int, step: int) -> Params:  # noqa: D102
        useless = {}
        for (layer, following), output in self.activations(params, step).items():
            activity = _activity(output)
            outgoing = _by_unit(params[f"{following}.weight"], len(activity)).abs().sum((0, 2))
            due = self.rate * len(activity)
            count = math.floor(due * step) - math.floor(due * (step - self.every))
            least = (activity * outgoing).argsort()[:count]
            chosen = torch.zeros_like(activity, dtype=torch.bool)
            useless[layer, following] = chosen.index_fill(0, least, True)
        return renewed(params, useless, generator(seed, "continual backprop", step))


def renewed(
    params: Params, chosen: Mapping[tuple[str, str], Tensor], draw: torch.Generator
) -> dict[str, Tensor]:
    """Return parameters with some hidden units made anew.

    They get new incoming weights, drawn like those of ``nn.Linear``, and outgoing weights of zero,
    so that a silent unit leaves the network's output as it is.

    Parameters
    ----------
    params : mapping of str to Tensor
        All parameters of a network of linear or convolutional layers.
    chosen : mapping
        Which units, (units,), by the names of their layer and of the one that reads it.
    draw : torch.Generator
        Source of the new weights; on the CPU.

    Returns
    -------
    dict of str to Tensor
        New tensors where something changed.
    """
    changed = dict(params)
    for (layer, following), units in chosen.items():
        bound = params[f"{layer}.weight"][0].numel() ** -0.5
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in changed:
                p = changed[name]
                fresh = torch.rand(p.shape, generator=draw, dtype=torch.float64).to(p)
                column = units.reshape(-1, *(1,) * (p.ndim - 1))
                changed[name] = torch.where(column, bound * (2 * fresh - 1), p)
        outgoing = changed[f"{following}.weight"]
        by_unit = torch.where(units[:, None], 0.0, _by_unit(outgoing, len(units)))
        changed[f"{following}.weight"] = by_unit.reshape(outgoing.shape)
    return changed


def _activity(output: Tensor) -> Tensor:
    """Return the mean absolute output of each unit, or channel."""
    return output.abs().mean([d for d in range(output.ndim) if d != 1])


def _by_unit(outgoing: Tensor, units: int) -> Tensor:
    """Return outgoing weights, (readers, units, weights of the pair)."""
    # A unit owns several columns where it is a channel that is flattened or read by a kernel.
    return outgoing.reshape(len(outgoing), units, -1)
