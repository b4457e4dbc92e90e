"""Ways to grow a network, and the arms that train it through the phases afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from .._random import generator
from ..removal import Arm, arms

Params = Mapping[str, Tensor]


@dataclass(frozen=True)
class Grown(arms.Wrapped):
    """An arm that trains a grown network through all phases.

    Parameters
    ----------
    arm : Arm
        How to train; its decay is that of the usual phases.
    growth : {"copies", "noisy copies", "fresh units", "from scratch"}
        How the network is grown: see `grow`.
    rate : float
        Learning rate of the phase after growing, in units of the usual one. Default 1.
    anew : {"", "kicked", "drawn"}
        What happens before the new data: nothing, the arm's kick once more, or all parameters are
        drawn anew. Default nothing.
    """

    growth: Literal["copies", "noisy copies", "fresh units", "from scratch"] = "copies"
    rate: float = field(default=1.0, kw_only=True)
    anew: Literal["", "kicked", "drawn"] = field(default="", kw_only=True)

    def growing_from(self, small: Params) -> Arm:
        """Return the arm of the phase that grows a small network, and gives a kick."""
        return arms.starting_from(
            self.arm, lambda params, seed: grow(small, params, self.growth, seed)
        )

    def shrinking(self, state: Params, factor: float) -> Arm:
        """Return the arm of the phase with a stronger decay, by a factor."""
        return _going_on(self._without_kick(factor), state)

    def on_new_data(self, state: Params) -> Arm:
        """Return the arm of the phase with the usual decay, and with what happens anew."""
        if self.anew == "drawn":
            return self._without_kick()
        return _going_on(self.arm if self.anew == "kicked" else self._without_kick(), state)

    def _without_kick(self, factor: float = 1.0) -> Arm:
        decay: float = factor * self.arm.weight_decay  # type: ignore[attr-defined]
        if isinstance(self.arm, arms.syre):
            return replace(self.arm, weight_decay=decay)  # with the same theta_0
        return arms.plain_decay(decay)


def _going_on(arm: Arm, state: Params) -> Arm:
    return arms.starting_from(arm, lambda params, seed: state)


def grow(small: Params, wide: Params, how: str, seed: int) -> dict[str, Tensor]:
    """Return the parameters of a wide network that goes on from a small one.

    Parameters
    ----------
    small : mapping of str to Tensor
        Of ``mlp([d, units, 1])``.
    wide : mapping of str to Tensor
        Of ``mlp([d, width, 1])`` as PyTorch draws them; the width is a multiple of the units.
    how : {"copies", "noisy copies", "fresh units", "from scratch"}
        Copies share their unit's outgoing weight equally; "noisy copies" add to it Gaussian noise
        of the size of the layer's outgoing weights whose sum over the copies of a unit is zero.
        "fresh units" keep the units of the small network, and give the others no outgoing weights.
        "from scratch" is the wide network as it is drawn. All but the last compute what the small
        network computes.
    seed : int
        Of the noise.

    Returns
    -------
    dict of str to Tensor
        With the names and shapes of `wide`. Unit i of the small network becomes i, i + units, ...
    """
    if how == "from scratch":
        return dict(wide)
    units, width = len(small["0.bias"]), len(wide["0.bias"])
    if how == "fresh units":
        grown = {name: p.clone() for name, p in wide.items()}
        for name in ("0.weight", "0.bias"):
            grown[name][:units] = small[name]
        grown["2.weight"] = torch.zeros_like(wide["2.weight"])
        grown["2.weight"][:, :units] = small["2.weight"]
        return {**grown, "2.bias": small["2.bias"].clone()}
    source = torch.arange(width) % units
    outgoing = small["2.weight"][:, source] * (units / width)
    if how == "noisy copies":
        noise = torch.randn(
            width // units, units, generator=generator(seed, "noisy copies"), dtype=torch.float64
        )
        noise = (noise - noise.mean(0)).reshape(1, -1).to(outgoing)
        outgoing = outgoing + noise * outgoing.square().mean().sqrt()
    return {
        "0.weight": small["0.weight"][source],
        "0.bias": small["0.bias"][source],
        "2.weight": outgoing,
        "2.bias": small["2.bias"].clone(),
    }
