r"""Is syre harmless? Accuracy of a network with BatchNorm against the size of the bias.

Nothing collapses here: the question is what the remedy costs where it is not needed. Two things can
do harm, the pull to :math:`\theta_0` and the start that the bias shifts, so each is there without
the other. The same bias added after training is the control: it says whether a bias of that size
is anything that the network has to cope with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pandas as pd
from torch import Tensor, nn

from .. import models
from .._random import generator
from ..data import shifted_and_mirrored
from ..removal import Arm, arms
from . import _rules as rules
from ._claims import Claim, difference, of
from ._common import Decayed, cosine, optimizer, seeds_of, standard_arms
from ._each import fit_each
from ._images import Batch, accuracy, batches, load_images, mean_loss


@dataclass(frozen=True, kw_only=True)
class Config(Decayed):
    """Settings of the experiment; those that others have too are in `Decayed`.

    Of the strengths, `sigma_ratios` must hold 0.01 and 0.1, `sigmas` 0.01, 0.1 and 0.2, the shifted
    ones 1 as a ratio and 0.2 outright, and those added after 0.1 of both: the claims are about
    these.
    """

    data: Literal["digits", "cifar10_jpeg", "cifar10"] = "digits"
    """Loader of the data, and with them the network: a small convolutional one for digits, else a
    ResNet-18."""
    n_train: int | None = None
    """Number of training images; None is all. Without a meaning for digits."""
    n_test: int | None = None
    """Number of test images; None is all. Without a meaning for digits."""
    width: int = 8
    """Channels of the network's first stage."""
    augment: bool = False
    """Shift training images by up to 4 pixels and mirror them, at random."""
    weight_decay: float = 3e-2  # strong, so that the pull gets somewhere in a short run
    sigma_ratios: tuple[float, ...] = (0.01, 0.1, 0.2, 1.0, 3.0)
    sigmas: tuple[float, ...] = (0.01, 0.1, 0.2, 0.5)
    shifted_ratios: tuple[float, ...] = (1.0,)
    """Strengths at which the start is shifted by the bias too."""
    shifted_sigmas: tuple[float, ...] = (0.2,)
    """The same for strengths that are one number for all parameters."""
    added_ratios: tuple[float, ...] = (0.1,)
    """Strengths of the bias that is added after training with plain decay."""
    added_sigmas: tuple[float, ...] = (0.1,)
    """The same for strengths that are one number for all parameters."""
    lr: float = 0.05
    momentum: float = 0.9
    """Momentum of gradient descent."""
    batch_size: int = 64
    """Samples per batch."""
    epochs: int = 6
    """Passes over the training images."""
    warmup: float = 0.0
    """Share of the run in which the learning rate rises; then it falls to 0 as a cosine does."""


_RESNET = Config(data="cifar10", width=64, augment=True, weight_decay=5e-4)
# For minutes on one large GPU: `make gpu`.
_ON_A_GPU = replace(
    _RESNET,
    data="cifar10_jpeg",
    sigma_ratios=(0.01, 0.1),
    sigmas=(0.01, 0.1, 0.2),
    fix_shares=(),
    lr=0.4,
    batch_size=512,
    warmup=0.3,
)
PRESETS = {
    "quick": Config(),
    "cuda": replace(_ON_A_GPU, epochs=15, seeds=3),
    "cuda-small": replace(_ON_A_GPU, width=16, epochs=8),
    # On CIFAR-10 (JPEG), with a short schedule.
    "cifar": replace(
        _RESNET,
        data="cifar10_jpeg",
        sigma_ratios=(0.01, 0.1, 1.0),
        lr=0.2,
        batch_size=256,
        warmup=0.3,
    ),
    # The paper names the network, the data and the range of sigma_0, which is one number for all
    # layers; ratios are run beside it. The schedule is not known, and a usual one is taken.
    "full-size": replace(
        _RESNET,
        sigma_ratios=(0.01, 0.1, 0.2, 0.5, 1.0),
        shifted_ratios=(0.2, 1.0),
        lr=0.1,
        batch_size=128,
        epochs=200,
    ),
}


@dataclass(frozen=True)
class shifted(arms.Wrapped):
    """An arm whose effective parameters start at the initial values plus its centre, ``theta_0``.

    Parameters
    ----------
    arm : Arm
        How to train, such as syre.
    """

    variant: str = field(default="shifted", kw_only=True)

    def start(self, params: Mapping[str, Tensor], seed: int) -> Mapping[str, Tensor]:
        """Return the initial values plus the centre of the pull."""
        bias = self.arm.pull(params, seed).centre
        return {name: p + bias[name] for name, p in params.items()}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms of the experiment: the remedy at several strengths, rivals and controls."""
    decay = config.weight_decay
    return [
        *standard_arms(config, decay),
        # The cheapest rival, where networks are large enough for the decay to be a usual one.
        *([] if config.data == "digits" else [arms.plain_decay(decay / 10)]),
        *(shifted(arms.syre(decay, ratio)) for ratio in config.shifted_ratios),
        *(shifted(arms.syre(decay, sigma_0=sigma)) for sigma in config.shifted_sigmas),
        *(arms.bias_added_after(decay, ratio) for ratio in config.added_ratios),
        *(arms.bias_added_after(decay, sigma_0=sigma) for sigma in config.added_sigmas),
    ]


def one_by_one(config: Config) -> bool:
    """Test whether `fit` trains the models one by one, so that processes may share the work."""
    return True


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds one after another, and measure the accuracy on test images.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder to keep the runs' states in, one file per run, and to go on from.

    Returns
    -------
    pandas.DataFrame
        The columns of `fit`; train_loss is that of the last batch, accuracy that on test images.
    """
    split = load_images(config.data, config.n_train, config.n_test, config.device)
    per_epoch = len(split.y_train) // config.batch_size
    steps = config.epochs * per_epoch

    def data(seed: int) -> Callable[[int], Batch]:
        def change(x: Tensor, step: int) -> Tensor:
            return shifted_and_mirrored(x, generator(seed, "views", step)) if config.augment else x

        return batches(split.x_train, split.y_train, config.batch_size, seed, change)

    test = split.x_test, split.y_test
    return fit_each(
        lambda: _network(config),
        data,
        compared_arms(config),
        seeds_of(config.seeds),
        steps=steps,
        loss=nn.functional.cross_entropy,
        optimizer=optimizer("sgd", config.lr, config.momentum),
        schedule=cosine(steps, round(config.warmup * steps)),
        measures={"test_loss": mean_loss(*test), "accuracy": accuracy(*test)},
        log_every=max(1, config.epochs // 4) * per_epoch,
        device=config.device,
        checkpoints=checkpoints,
        checkpoint_every=per_epoch,
    )[0]


def _network(config: Config) -> nn.Module:
    if config.data == "digits":
        return models.conv_net((config.width, 2 * config.width))
    return models.resnet18(width=config.width)


# In points of accuracy.
_WITHIN_A_POINT = rules.between(-1, 1)
_DECAY = of(method="plain decay", weight_decay=max)


def _points(**settings: object) -> difference:
    """Return the measure "accuracy minus that of plain decay, in percentage points"."""
    return difference(of(**settings), _DECAY, "accuracy", factor=100)


_UNIT = "accuracy minus that of plain decay, points"
_BELOW_THE_LIMIT: dict[str, dict[str, float]] = {
    "sigma_0 = 0.01": {"sigma_0": 0.01},
    "sigma_0 = 0.1": {"sigma_0": 0.1},
    "1%": {"sigma_ratio": 0.01},
    "10%": {"sigma_ratio": 0.1},
}

CLAIMS = (
    *(
        Claim(
            text=f"Syre, {words}, costs no accuracy: less than one point either way",
            paper="no significant difference for sigma_0 < 0.2",
            measure=_points(method="syre", variant="", **strength),
            unit=_UNIT,
            holds=_WITHIN_A_POINT,
            comment="The paper's limit is an absolute number, and both readings lie below it; the "
            "margin of a point is ours.",
        )
        for words, strength in _BELOW_THE_LIMIT.items()
    ),
    Claim(
        text="Syre, sigma_0 = 0.2, the limit of the paper's range, costs accuracy",
        measure=_points(method="syre", variant="", sigma_0=0.2),
        unit=_UNIT,
        holds=rules.below(0),
        comment="In percent harm begins at 100 to 300, a hundred times the default and more.",
    ),
    Claim(
        text="Syre, sigma_0 = 0.2, whose start is shifted too, costs accuracy",
        measure=_points(method="syre", variant="shifted", sigma_0=0.2),
        unit=_UNIT,
        holds=rules.below(0),
        comment="The paper's own form shifts the start; `attach` does not.",
    ),
    *(
        Claim(
            text=f"The bias {words} added after training costs more than a point",
            measure=_points(method="bias added after", **strength),
            unit=_UNIT,
            holds=rules.below(-1),
            comment="A network that trains with the bias adapts to it: the bias itself is not "
            "negligible.",
        )
        for words, strength in (("10%", {"sigma_ratio": 0.1}), ("sigma_0 = 0.1", {"sigma_0": 0.1}))
    ),
    Claim(
        text="Syre 100%, whose start is shifted too, costs accuracy",
        measure=_points(method="syre", sigma_ratio=1, variant="shifted"),
        unit=_UNIT,
        holds=rules.below(0),
        comment="On digits the shifted start does most of the harm; `attach` does not shift it.",
    ),
)
