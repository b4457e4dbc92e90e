"""The arms of the loss of plasticity: at fixed settings, and what a tuning may choose from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from ..removal import Arm, arms, continual_backprop, redo
from ._common import standard_arms
from ._tasks import Config, Stream, all_alike

LARGER = 3**0.5
"""``nn.Linear`` starts at this fraction of the size of syre's bias with a ratio of 1."""
MATURE = 20
"""Steps between two events of continual backpropagation: the maturity threshold of its code."""


@dataclass(frozen=True)
class LayerNorm(arms.Wrapped):
    """An arm that trains the network with a LayerNorm before each ReLU.

    References
    ----------
    Lyle et al., "Understanding plasticity in neural networks", ICML 2023, and "Disentangling the
    causes of plasticity loss in neural networks", CoLLAs 2024: LayerNorm together with decay.
    """

    @property
    def method(self) -> str:  # type: ignore[override]
        """The name of the method."""
        return "LayerNorm"

    def _strength(self) -> str:
        return f"LayerNorm, {self.arm.label}"

    def settings(self) -> dict[str, object]:
        return super().settings() | {"method": self.method}


def compared_arms(config: Config, stream: Stream | None = None) -> list[Arm]:
    """Return the arms at fixed settings: the remedy, its rivals, and the controls.

    Parameters
    ----------
    config : Config
        The settings.
    stream : Stream, optional
        Where ReDo and continual backpropagation find their batches. Default: a new one.

    Returns
    -------
    list of Arm
        One setting per arm.
    """
    stream = Stream(config) if stream is None else stream
    decay = config.weight_decay
    rivals = [
        arms.pull_to_start(decay),
        arms.pull_to_start(decay, scale=LARGER),
        arms.shrink_and_perturb(0.2, 0.1, every=config.steps),
        redo(0.1, config.steps, stream.activations),
        continual_backprop(1e-3, MATURE, stream.activations),
        LayerNorm(arms.vanilla()),
        LayerNorm(arms.plain_decay(decay)),
    ]
    strongest = arms.syre(decay, max(config.sigma_ratios))
    return [*standard_arms(config, decay, *rivals), *controls(config, strongest)]


def controls(config: Config, syre: arms.syre) -> list[Arm]:
    """Return the controls of syre at a strength: a symmetric bias, and one drawn anew."""
    decay, ratio, sigma_0 = syre.weight_decay, syre.sigma_ratio, syre.sigma_0
    anew = arms.resampled_bias(decay, ratio, sigma_0=sigma_0, every=10)
    if config.network == "cnn":
        return [anew]
    return [arms.symmetric_bias(decay, all_alike, ratio, sigma_0=sigma_0), anew]


class Setting(NamedTuple):
    """One setting that the tuning tries: an arm at a learning rate."""

    arm: Arm
    lr: float

    @property
    def group(self) -> str:
        """The arms among which the best one is chosen: those of a method.

        Syre has three: the default strength, larger ratios, and strengths outright.
        """
        if not isinstance(self.arm, arms.syre):
            return self.arm.method
        if self.arm.sigma_ratio is None:
            return "syre, sigma_0"
        return "syre, default" if self.arm.sigma_ratio == 0.01 else "syre"


def grid(config: Config, stream: Stream | None = None) -> list[Setting]:
    """Return the settings that the tuning tries: eight per group.

    Parameters
    ----------
    config : Config
        The settings.
    stream : Stream, optional
        Where ReDo and continual backpropagation find their batches. Default: a new one.

    Returns
    -------
    list of Setting
        Group by group within a learning rate.
    """
    stream = Stream(config) if stream is None else stream
    decays, task = config.decays, config.steps
    low, middle, seen = decays[1], decays[1:3], stream.activations
    tried: list[Arm] = [
        *(arms.plain_decay(decay) for decay in decays),
        *(arms.weight_fix(s, low, kappa=k) for s, k in product((0.125, 0.5), (0.25, 1.0))),
        *(arms.pull_to_start(d, scale=scale) for scale, d in product((1.0, LARGER), middle)),
        *(arms.shrink_and_perturb(s, p, every=task) for s, p in product((0.1, 0.2), (0.2, 0.4))),
        *(redo(tau, n, seen) for tau, n in product((0.02, 0.1), (max(1, task // 4), task))),
        *(
            continual_backprop(rate, MATURE, seen, weight_decay=decay)
            for rate, decay in product((1e-4, 1e-3), (0.0, low))
        ),
        *(LayerNorm(arms.plain_decay(decay)) for decay in decays),
        *(arms.syre(decay, ratio) for ratio, decay in product((0.3, 1.0), middle)),
        *(arms.syre(decay, sigma_0=sigma) for sigma, decay in product((0.01, 0.1), middle)),
        *(arms.syre(decay, 0.01) for decay in decays),
    ]
    alone = [Setting(arms.vanilla(), lr) for lr in config.vanilla_lrs]
    return alone + [Setting(arm, lr) for lr in config.lrs for arm in tried]
