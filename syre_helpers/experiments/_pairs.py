"""Pairs of networks: the networks, and the arms that treat both of a pair alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from .. import models
from ..removal import Arm, Pull, arms
from ..symmetry.alignment import hidden_layers
from ..symmetry.slices import HiddenLayer
from ..training.options import made_with_seed
from ._common import Descent, strengths, weight_fixes

State = Mapping[str, Tensor]
_THIRD = 1_000_000  # seeds of the third networks: far from those of all pairs

STRONG = 1.5
"""The sigma_ratio of strong syre and of its controls, chosen by the preset "quick-tuning"."""
FIXED, KAPPA = 0.125, 0.5
"""Share and kappa of W-fix, chosen likewise."""
BY_LAYER = ((64 / 784, 1.0), (64 / 512, 1.0), (64 / 512, 0.5), (256 / 512, 0.25))
"""Share and kappa of each weight of Lim et al.'s MLP for MNIST (``lmc/train-mlp-mnist.py`` in
their repository, cptq/asymmetric-networks)."""


@dataclass(frozen=True, kw_only=True)
class Config(Descent):
    """Settings of the experiment; those that others have too are in `Descent`."""

    data: Literal["digits", "mnist", "cifar10", "cifar10_jpeg"] = "digits"
    """The images."""
    n_train: int | None = None
    """How many training images; None: all. Without a meaning for digits."""
    n_test: int | None = None
    """How many test images, likewise."""
    network: Literal["mlp", "conv", "resnet18"] = "mlp"
    """A ReLU network, a small convolutional network with BatchNorm, or a ResNet-18."""
    widths: tuple[int, ...] = (48,)
    """Units of each hidden layer, channels of each block, or channels of the first stage."""
    weight_decay: float = 2e-2
    coupled: bool = True
    """The pull enters the gradient, before momentum; False: it is a step of its own, as that of
    `attach`."""
    sigma_ratios: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0, STRONG, 3.0)
    """Strengths of syre with a shared ``theta_0``, in units of each layer's ``1 / sqrt(fan_in)``.
    Must hold 0.01 and 1.5; the controls have 1.5."""
    fix_shares: tuple[float, ...] = (0.125, 0.5)
    """Shares of W-fix, with the same frozen weights in both networks; must hold 0.125."""
    fix_kappas: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Standard deviations of what W-fix freezes, with each share; must hold 0.5."""
    lr: float = 0.15
    batch_size: int = 32
    """Samples per batch."""
    steps: int = 400
    anneal: bool = True
    """Let the learning rate fall to 0 as half a cosine."""
    points: int = 11
    """Points of the line that are tried, both ends included."""
    seeds: int | tuple[int, ...] = 8
    """Number of pairs of networks, counted from 0, or the seeds of the pairs themselves."""


def network(config: Config) -> nn.Module:
    if config.network == "resnet18":
        return models.resnet18(width=config.widths[0])
    if config.network == "conv":
        return models.conv_net(config.widths)
    pixels = 784 if config.data == "mnist" else 64
    return models.mlp([pixels, *config.widths, 10], "relu")


def template(config: Config, seed: int = 0) -> nn.Module:
    """Return a new network, and leave the caller's random state alone."""
    return made_with_seed(lambda: network(config), seed)


def ordered_layers(config: Config) -> list[HiddenLayer]:
    """Return the layers whose units can be put in order; none of a ResNet's."""
    return [] if config.network == "resnet18" else hidden_layers(template(config))


@dataclass(frozen=True)
class Shared(arms.Wrapped):
    """An arm that does the same to both networks of a pair: seeds 2k and 2k + 1.

    Examples
    --------
    >>> import torch
    >>> p = {"weight": torch.zeros(2, 2)}
    >>> pull = Shared(arms.syre(0.1)).pull
    >>> bool((pull(p, 6).centre["weight"] == pull(p, 7).centre["weight"]).all())
    True
    """

    def pull(self, params: State, seed: int, step: int = 0) -> Pull:
        return self.arm.pull(params, seed // 2, step)

    def start(self, params: State, seed: int) -> State:
        return self.arm.start(params, seed // 2)


@dataclass(frozen=True)
class PullToThird(arms.plain_decay):
    """Decay towards the initial values of a third network, the same for both of a pair.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's.
    initial : callable
        ``initial(seed, like)`` returns the initial values of the network of a seed.
    """

    method = "pull to a third"
    initial: Callable[[int, State], State]

    def pull(self, params: State, seed: int, step: int = 0) -> Pull:
        return Pull(self.weight_decay, centre=self.initial(_THIRD + seed // 2, params))


def fixed_by_layer(decay: float, weights: int) -> arms.weight_fix:
    """Return W-fix with shares and kappas by layer, as those of its authors.

    Parameters
    ----------
    decay : float
        As PyTorch's.
    weights : int
        Number of the network's weights, at least 2. Of fewer than four, the first and the last ones
        have what those of the authors' network have; of more, the second is repeated.

    Returns
    -------
    Arm
        One share and one kappa per weight.
    """
    first, second, *_ = BY_LAYER
    layers = [first, *[second] * (weights - 4), *BY_LAYER[1 - min(weights, 4) :]]
    shares, kappas = zip(*layers, strict=True)
    return arms.weight_fix(shares, decay, kappa=kappas)


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms of the experiment: the remedy, its rivals, and the controls."""
    decay, layers = config.weight_decay, ordered_layers(config)

    def initial(seed: int, like: State) -> dict[str, Tensor]:
        model = template(config, seed)
        return {name: p.detach().to(like[name]) for name, p in model.named_parameters()}

    def equal_units(params: State) -> dict[str, Tensor]:
        """Give all units of a layer their mean: a state on all mirror planes at once."""
        params = dict(params)
        for layer in layers:
            for name in layer.slices.keys() & params.keys():
                part = layer.slices[name]
                units = part.rows(params[name], layer.width)
                alike = units.mean(0, keepdim=True).expand_as(units)
                params[name] = part.from_rows(alike, params[name])
        return params

    plain = arms.plain_decay(decay)
    return [
        arms.vanilla(),
        plain,
        *(Shared(arm) for arm in weight_fixes(config, decay)),
        *([Shared(fixed_by_layer(decay, len(layers) + 1))] if config.network == "mlp" else []),
        *(Shared(arms.syre(decay, **strength)) for strength in strengths(config)),
        arms.syre(decay, STRONG, variant="not shared"),
        *([Shared(arms.symmetric_bias(decay, equal_units, STRONG))] if layers else []),
        arms.pull_to_start(decay),
        PullToThird(decay, initial),
        arms.starting_from(
            plain, lambda params, seed: initial(seed - seed % 2, params), variant="same start"
        ),
    ]
