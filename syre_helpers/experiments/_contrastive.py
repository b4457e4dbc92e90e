"""Contrastive learning (SimCLR): two views of each image, the loss, and the networks."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import models
from .._random import generator
from .._transfer import sent
from ..data import cropped_and_recoloured, moved_and_noisy
from ._common import Descent


@dataclass(frozen=True, kw_only=True)
class Config(Descent):
    """Settings of the experiment; those that others have too are in `Descent`.

    A seed sets the training images' order and views too. The test images, and the views of them on
    which the loss is measured, are the same for all.
    """

    data: Literal["digits", "mnist", "cifar10", "cifar10_jpeg", "cifar100"] = "digits"
    """A data set of ``syre_helpers.data``. CIFAR-10 (JPEG) needs the extra `vision`, for Pillow."""
    hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of the encoder, for digits and MNIST; the last one is the penultimate layer."""
    width: int = 64
    """For CIFAR: channels of the ResNet-18's first stage; its output has eight times as many, and
    so has the hidden layer of the two-layer head, the penultimate layer."""
    out: int = 32
    """Dimensions of the last layer."""
    shift: int = 1
    """Pixels by which a view is moved at most, for digits and MNIST."""
    noise: float = 0.3
    """Standard deviation of the noise of a view, for digits and MNIST."""
    temperature: float = 0.5
    """Temperature of the contrastive loss."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    """Which optimizer; Adam uses its own momenta."""
    lr: float = 0.1
    warm_up: int = 0
    """Steps in which the rate rises; then it falls as a cosine to 0. With 0 it is constant."""
    batch_size: int = 32
    """Images per batch."""
    steps: int = 600
    weight_decay: float = 6e-3
    sigma_ratios: tuple[float, ...] = (0.01, 0.1, 0.3)
    """Strengths of syre, each beside its control, in units of each layer's
    ``1 / sqrt(fan_in)``."""
    sigmas: tuple[float, ...] = (0.01, 0.1)
    """Strengths of syre that are one number for all parameters, each beside its control: those of
    the paper."""
    sigma_D: float = 0.5
    """Half-width of the entries of D, in D only and syre + D."""
    ablation: bool = True
    """Train W-fix, D only and syre + D (with the middle one of `sigma_ratios`) too."""
    tolerance: float = 1e-3
    """A dimension of the last layer counts as missing if its singular value, over centred test
    images, is at most this fraction of the largest."""
    ridge: float = 1e-3
    """Penalty of the linear probes, in units of the mean variance of a feature."""
    n_probe: int | None = None
    """Training images, and test images, to measure on at most; None: all."""
    measured: int = 4
    """Measurements, evenly over the training, after the start."""


class Branched(nn.Module):
    """An encoder and a last layer, whose outputs it returns side by side.

    Parameters
    ----------
    encoder : nn.Module
        Its output is the penultimate layer.
    last : nn.Linear
        The last layer.
    """

    def __init__(self, encoder: nn.Module, last: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """Return the penultimate layer's values, followed by the last layer's."""
        h = self.encoder(x)
        return torch.cat([h, self.last(h)], -1)


def make_network(hidden: tuple[int, ...], out: int, inputs: int = 64) -> Branched:
    """Return an untrained MLP for grey images.

    Parameters
    ----------
    hidden : tuple of int
        Hidden layers, all with ReLU; the last one is the penultimate layer.
    out : int
        Dimensions of the last layer.
    inputs : int
        Pixels. Default 64.

    Returns
    -------
    Branched
        Its output has the penultimate and the last layer side by side.
    """
    # The activation comes after the last hidden layer too: that is the penultimate one.
    layers = [*models.mlp([inputs, *hidden], "relu"), nn.ReLU()]
    return Branched(nn.Sequential(*layers), nn.Linear(hidden[-1], out))


def make_resnet(width: int, out: int) -> Branched:
    """Return an untrained ResNet-18 with a head of two layers, for photographs.

    Parameters
    ----------
    width : int
        Channels of the first stage; the penultimate layer has eight times as many units.
    out : int
        Dimensions of the last layer.

    Returns
    -------
    Branched
        Its output has the penultimate and the last layer side by side.
    """
    features = 8 * width
    parts: OrderedDict[str, nn.Module] = OrderedDict(
        resnet=models.resnet18(features, width=width),
        relu=nn.ReLU(),
    )
    return Branched(nn.Sequential(parts), nn.Linear(features, out))


def nt_xent(z: Tensor, partner: Tensor, temperature: float = 0.5) -> Tensor:
    r"""Return the contrastive loss of SimCLR (normalised, temperature-scaled cross entropy).

    Parameters
    ----------
    z : Tensor
        Last layer's values of all views of a batch, shape (views, dimensions).
    partner : Tensor
        For each view the index of the other view of its image, shape (views,), int64.
    temperature : float
        Default 0.5.

    Returns
    -------
    Tensor
        The mean over the views of :math:`-\log` of the softmax, over all other views, of the cosine
        similarities divided by the temperature, at the partner.

    References
    ----------
    Chen, Kornblith, Norouzi and Hinton, "A simple framework for contrastive learning of visual
    representations", ICML 2020.

    Examples
    --------
    >>> import torch
    >>> pairs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 3.0]])
    >>> round(nt_xent(pairs, torch.tensor([2, 3, 0, 1])).item(), 4)
    0.2395
    """
    unit = functional.normalize(z, dim=-1)
    others = 1 - torch.eye(len(unit), dtype=z.dtype, device=z.device)
    # A cosine is at most 1: minus 1, no power is too large for a float.
    powers = ((unit @ unit.T - 1) / temperature).exp() * others
    alike = ((unit * unit[partner]).sum(-1) - 1) / temperature
    return (powers.sum(-1).log() - alike).mean()


def views(config: Config, images: Tensor, *purpose: object, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return two views of some images, one after the other, and the place of each one's partner.

    Parameters
    ----------
    config : Config
        Says how many images, and how they are changed.
    images : Tensor
        Grey images (samples, pixels), or photographs (samples, channels, height, width).
    *purpose : object
        What the views are for, such as ``"train", step``: other purposes see other views.
    seed : int
        Seed of the run. Default 0.

    Returns
    -------
    tuple of Tensor
        The views, (2 x batch_size, ...), and for each the index of the other view of its image.
    """
    draw = generator(seed, "views", *purpose)
    chosen = torch.randperm(len(images), generator=draw)[: config.batch_size].repeat(2)
    batch = images[sent(chosen, images.device)]
    partner = torch.arange(len(chosen), device=images.device).roll(len(chosen) // 2)
    if images.ndim == 2:
        return moved_and_noisy(batch, draw, config.shift, config.noise), partner
    # The darkest and the lightest pixel of a channel: all sets have both.
    low, high = images[:1000].amin((0, 2, 3), True), images[:1000].amax((0, 2, 3), True)
    return cropped_and_recoloured(batch, low, high, draw.initial_seed()), partner
