r"""Is syre harmless? Accuracy of a network with BatchNorm against the size of the bias.

Nothing collapses here: the question is what the remedy costs where it is not needed. Two things can
do harm, the pull to :math:`\theta_0` and the start that the bias shifts, so each is there without
the other. The same bias added after training is the control: it says whether a bias of that size
is anything that the network has to cope with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from .. import data, models
from ..data import DataSplit
from ..removal import Arm, Syre, arms
from ..training.batches import BatchOrder
from ._claims import Claim
from ._common import Seeds, seeds_of
from ._each import fit_each

if TYPE_CHECKING:
    import pandas as pd

_IMAGES_AT_ONCE = 1000


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Parameters
    ----------
    data : {"digits", "cifar10_jpeg", "cifar10"}
        Loader of the data, and with them the network: a small convolutional one for digits, else a
        ResNet-18.
    n_train, n_test : int, optional
        How many images; default: all there are. Without a meaning for digits.
    width : int
        Channels of the network's first stage. Default 8.
    augment : bool
        Whether training images are shifted by up to 4 pixels and mirrored at random. Default False.
    weight_decay : float
        PyTorch's, coupled; gamma is half of it. Default 0.03: strong, so that the pull gets
        somewhere in a short run.
    sigma_ratios : tuple of float
        Strengths of syre, in units of each layer's ``1 / sqrt(fan_in)``; must hold 0.01, 0.1 and 1.
    shifted_ratios : tuple of float
        Strengths at which the start is shifted by the bias too; must hold 1.
    added_ratios : tuple of float
        Strengths of the bias that is added after training with plain decay; must hold 0.1.
    sigmas : tuple of float
        Strengths given as one number for all layers. Default: none.
    fix_shares : tuple of float
        Shares of W-fix.
    lr, momentum, batch, epochs
        Of stochastic gradient descent. Defaults 0.05, 0.9, 64 and 6.
    warmup : float
        Share of the run in which the learning rate rises from 0; then it falls to 0 as a cosine
        does. Default 0.
    seeds : int or tuple of int
        Number of seeds, counted from 0, or the seeds themselves. Default 8.
    device : str
        Default "cpu".
    """

    data: Literal["digits", "cifar10_jpeg", "cifar10"] = "digits"
    n_train: int | None = None
    n_test: int | None = None
    width: int = 8
    augment: bool = False
    weight_decay: float = 3e-2
    sigma_ratios: tuple[float, ...] = (0.01, 0.1, 0.2, 1.0, 3.0)
    shifted_ratios: tuple[float, ...] = (1.0,)
    added_ratios: tuple[float, ...] = (0.1,)
    sigmas: tuple[float, ...] = ()
    fix_shares: tuple[float, ...] = (0.1,)
    lr: float = 0.05
    momentum: float = 0.9
    batch: int = 64
    epochs: int = 6
    warmup: float = 0.0
    seeds: Seeds = 8
    device: str = "cpu"


PRESETS = {
    "quick": Config(),
    # On CIFAR-10 (JPEG), with a short schedule.
    "cifar": Config(
        data="cifar10_jpeg",
        width=64,
        augment=True,
        weight_decay=5e-4,
        sigma_ratios=(0.01, 0.1, 1.0),
        lr=0.2,
        batch=256,
        epochs=6,
        warmup=0.3,
    ),
    # The paper names the network, the data and the range of sigma_0. It leaves open whether sigma_0
    # is one number for all layers (both readings are run), and the schedule (a usual one is taken).
    "paper": Config(
        data="cifar10",
        width=64,
        augment=True,
        weight_decay=5e-4,
        sigma_ratios=(0.01, 0.1, 0.2, 0.5, 1.0),
        shifted_ratios=(0.2, 1.0),
        sigmas=(0.01, 0.1, 0.2),
        lr=0.1,
        batch=128,
        epochs=200,
    ),
}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms of the experiment: the remedy at several strengths, rivals and controls."""
    decay = config.weight_decay
    return [
        arms.vanilla(),
        arms.plain_decay(decay),
        *(arms.weight_fix(s, decay).renamed(f"W-fix {s:.0%}") for s in config.fix_shares),
        *(arms.syre(decay, s).renamed(f"syre {s:g}") for s in config.sigma_ratios),
        *(_shifted(decay, s) for s in config.shifted_ratios),
        *(arms.syre(decay, sigma_0=s).renamed(f"syre, sigma_0 = {s:g}") for s in config.sigmas),
        *(
            arms.bias_added_after(decay, s).renamed(f"bias added after {s:g}")
            for s in config.added_ratios
        ),
    ]


def _shifted(decay: float, sigma_ratio: float) -> Arm:
    """Return syre whose effective parameters start at initial values plus theta_0."""

    def start(params: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
        bias = Syre(decay, sigma_ratio, seed=seed).pull(params).centre
        return {name: p + bias[name] for name, p in params.items()}

    return replace(arms.syre(decay, sigma_ratio), name=f"syre {sigma_ratio:g} shifted", start=start)


def one_by_one(config: Config) -> bool:
    """Return whether `fit` trains the models, one by one, so that processes may share the work."""
    return True


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds one after another, and measure the accuracy on test images.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder to keep the runs' states in, one file a run, and to go on from.

    Returns
    -------
    pandas.DataFrame
        Columns arm, seed, step, train_loss (of the last batch), test_loss and accuracy.
    """
    import pandas as pd

    split = DataSplit(*(t.to(config.device) for t in _load(config)))
    per_epoch = len(split.y_train) // config.batch
    steps = config.epochs * per_epoch
    tables = [
        fit_each(
            lambda: _network(config),
            _Batches(split, config, seed),
            compared_arms(config),
            [seed],
            steps=steps,
            loss=nn.functional.cross_entropy,
            optimizer=lambda p: torch.optim.SGD(p, lr=config.lr, momentum=config.momentum),
            schedule=lambda step: _rate(step / steps, config.warmup),
            measures={"test_loss": _test_loss(split), "accuracy": _accuracy(split)},
            log_every=max(1, config.epochs // 4) * per_epoch,
            device=config.device,
            checkpoints=checkpoints,
            checkpoint_every=per_epoch,
        )[0]
        for seed in seeds_of(config.seeds)
    ]
    return pd.concat(tables, ignore_index=True)


def _load(config: Config) -> DataSplit:
    if config.data == "digits":
        return data.digits()
    loader = data.cifar10_jpeg if config.data == "cifar10_jpeg" else data.cifar10
    return loader(config.n_train, config.n_test)


def _network(config: Config) -> nn.Module:
    if config.data == "digits":
        return models.conv_net((config.width, 2 * config.width))
    return models.resnet18(width=config.width)


def _rate(done: float, warmup: float) -> float:
    """Return the factor of the learning rate when a share of the run is done."""
    if done < warmup:
        return done / warmup
    return 0.5 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))


class _Batches:
    """The training batch of each step, shifted and mirrored where that is asked for."""

    def __init__(self, split: DataSplit, config: Config, seed: int) -> None:
        self._x, self._y = split.x_train, split.y_train
        self._augment = config.augment
        self._order = BatchOrder(len(self._y), config.batch, seed)
        self._seed = seed

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        index = self._order.at(step).to(self._y.device)
        x = self._x[index]
        if self._augment:
            # Numbers of steps stay below this, so no two (seed, step) share a generator.
            generator = torch.Generator().manual_seed(self._seed * 10_000_000 + step)
            x = shifted_and_mirrored(x, generator)
        return x, self._y[index]


def shifted_and_mirrored(x: Tensor, generator: torch.Generator, reach: int = 4) -> Tensor:
    """Shift each image by up to `reach` pixels, filling with 0, and mirror half of them.

    Parameters
    ----------
    x : Tensor
        Images, (batch, channels, height, width).
    generator : torch.Generator
        On the CPU, so that all devices draw the same.
    reach : int
        Default 4.

    Returns
    -------
    Tensor
        Of the same shape.
    """
    count, _, height, width = x.shape
    corner = torch.randint(2 * reach + 1, (2, count, 1), generator=generator)
    mirrored = torch.randint(2, (count, 1), generator=generator).bool()
    rows = corner[0] + torch.arange(height)
    columns = corner[1] + torch.arange(width)
    columns = torch.where(mirrored, columns.flip(1), columns)
    images = torch.arange(count)[:, None, None]
    picked = (t.to(x.device) for t in (images, rows[:, :, None], columns[:, None, :]))
    padded = nn.functional.pad(x, (reach,) * 4).movedim(1, -1)
    return padded[tuple(picked)].movedim(-1, 1)


def _accuracy(split: DataSplit) -> Callable[[object, Callable[[Tensor], Tensor]], Tensor]:
    def accuracy(params: object, predict: Callable[[Tensor], Tensor]) -> Tensor:
        right = [(predict(x).argmax(1) == y).float() for x, y in _parts(split)]
        return torch.cat(right).mean()

    return accuracy


def _test_loss(split: DataSplit) -> Callable[[object, Callable[[Tensor], Tensor]], Tensor]:
    def test_loss(params: object, predict: Callable[[Tensor], Tensor]) -> Tensor:
        losses = [
            nn.functional.cross_entropy(predict(x), y, reduction="none") for x, y in _parts(split)
        ]
        return torch.cat(losses).mean()

    return test_loss


def _parts(split: DataSplit) -> list[tuple[Tensor, Tensor]]:
    xs, ys = (t.split(_IMAGES_AT_ONCE) for t in (split.x_test, split.y_test))
    return list(zip(xs, ys, strict=True))


def _points(arm: str) -> Callable[[pd.DataFrame], pd.Series]:
    """Measure an arm's accuracy less that of plain decay, in percentage points."""
    return lambda last: 100 * (last["accuracy"][arm] - last["accuracy"]["plain decay"])


def _interval(values: pd.Series) -> tuple[float, float]:
    """Return the mean, two standard errors to either side."""
    half = 2 * float(values.std()) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def _within_a_point(values: pd.Series) -> bool | None:
    low, high = _interval(values)
    if low > -1 and high < 1:
        return True
    return None if low < 1 and high > -1 else False


CLAIMS = (
    Claim(
        text="At its default size syre costs no accuracy: less than one point either way.",
        paper="no significant difference for sigma_0 < 0.2",
        measure=_points("syre 0.01"),
        unit="accuracy less that of plain decay, points",
        holds=_within_a_point,
        comment="One point is the margin; two standard errors must fit into it.",
    ),
    Claim(
        text="At ten times the default size it costs none either.",
        paper="no significant difference for sigma_0 < 0.2",
        measure=_points("syre 0.1"),
        unit="accuracy less that of plain decay, points",
        holds=_within_a_point,
        comment="Sizes are in units of 1 / sqrt(fan-in); the paper does not name its unit.",
    ),
    Claim(
        text="The same bias added after training costs more than a point: it is not negligible.",
        paper="no such control",
        measure=_points("bias added after 0.1"),
        unit="accuracy less that of plain decay, points",
        holds=lambda values: _interval(values)[1] < -1,
        comment="A network that trains with the bias adapts to it; that is why syre is harmless.",
    ),
    Claim(
        text="A hundred times the default size, with a start that it shifts too, costs accuracy.",
        paper="no such control",
        measure=_points("syre 1 shifted"),
        unit="accuracy less that of plain decay, points",
        holds=lambda values: _interval(values)[1] < 0,
        comment="On digits the shifted start does most of the harm; `attach` does not shift it.",
    ),
)
