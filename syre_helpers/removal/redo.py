"""ReDo, a rival of the remedy: now and then dormant units are made anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .._checks import check_positive_int
from .._random import generator
from .arms import Arm

Params = Mapping[str, Tensor]
Activations = Mapping[tuple[str, str], Tensor]
"""By the names of a layer and of the one that reads it: outputs, (samples, units, ...)."""


@dataclass(frozen=True)
class redo(Arm):
    """Training without decay in which dormant units are made anew again and again.

    The original resets the optimizer's moments of these units, too. Here they are kept: between
    steps an arm sees the parameters only.

    Parameters
    ----------
    tau : float
        A unit is dormant if its score is at most this, see `recycled`.
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

    @property
    def event_every(self) -> int:
        """How many steps lie between two events."""
        return self.every

    def event(self, params: Params, seed: int, step: int) -> Params:  # noqa: D102
        outputs = self.activations(params, step)
        return recycled(params, outputs, self.tau, generator(seed, "recycled", step))


def recycled(
    params: Params, activations: Activations, tau: float, draw: torch.Generator
) -> dict[str, Tensor]:
    """Return parameters with dormant units made anew.

    A unit's score is its mean absolute output on a batch over the mean of its layer. One with a
    score of at most `tau` gets new incoming weights, drawn like those of ``nn.Linear``, and
    outgoing weights of zero, so that a silent unit leaves the network's output as it is.

    Parameters
    ----------
    params : mapping of str to Tensor
        All parameters of a network of linear or convolutional layers.
    activations : mapping
        The outputs of each hidden layer, (samples, units, ...), by the names of the layer and of
        the one that reads it.
    tau : float
        Threshold of the score; 0 means silent units only.
    draw : torch.Generator
        Source of the new weights; on the CPU.

    Returns
    -------
    dict of str to Tensor
        New tensors where something changed.
    """
    changed = dict(params)
    for (layer, following), outputs in activations.items():
        activity = outputs.abs().mean([d for d in range(outputs.ndim) if d != 1])
        dormant = activity <= tau * activity.mean()
        bound = params[f"{layer}.weight"][0].numel() ** -0.5
        for name in (f"{layer}.weight", f"{layer}.bias"):
            if name in changed:
                p = changed[name]
                fresh = torch.rand(p.shape, generator=draw, dtype=torch.float64).to(p)
                column = dormant.reshape(-1, *(1,) * (p.ndim - 1))
                changed[name] = torch.where(column, bound * (2 * fresh - 1), p)
        # A unit owns several columns where a convolution's channels are flattened.
        outgoing = changed[f"{following}.weight"]
        by_unit = outgoing.reshape(len(outgoing), len(dormant), -1)
        by_unit = torch.where(dormant[:, None], 0.0, by_unit)
        changed[f"{following}.weight"] = by_unit.reshape(outgoing.shape)
    return changed
