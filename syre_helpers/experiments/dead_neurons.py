r"""Dead coordinates of a reparametrised linear regression, :math:`f(x) = (u \odot w)^T x`.

Each pair :math:`(u_i, w_i)` has a sign reflection, whose mirror plane is :math:`u_i = w_i = 0`: a
dead coordinate. From a start with half of the pairs dead, gradient descent never revives one; from
a generic start, strong decay shrinks pairs to zero as an L1 penalty does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ..data import linear_regression
from ..measures import dead_fraction
from ..models import ProductRegression
from ..removal import Arm, arms
from ..training import fit_many
from ._claims import Claim
from ._common import Seeds, seeds_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Config:
    """Settings of the experiment.

    Parameters
    ----------
    start : {"dead", "generic"}
        Start with a share of the pairs exactly zero, or with none.
    dead_share : float
        That share. Default 0.5.
    d : int
        Coordinates. Default 100; the training set has `samples` of them, noise has a standard
        deviation of `noise`.
    samples, noise
        Defaults 400 and 0.1.
    weight_decay : float
        PyTorch's, coupled; gamma is half of it. Default 0.002.
    sigma_ratios, fix_shares : tuple of float
        Strengths of syre, and shares of W-fix, to compare.
    lr, momentum, steps
        Of gradient descent on all samples. Defaults 0.02, 0.9 and 2000.
    seeds : int or tuple of int
        Number of seeds, counted from 0, or the seeds themselves. Default 10.
    device : str
        Default "cpu".
    """

    start: Literal["dead", "generic"] = "dead"
    dead_share: float = 0.5
    d: int = 100
    samples: int = 400
    noise: float = 0.1
    weight_decay: float = 2e-3
    sigma_ratios: tuple[float, ...] = (0.001, 0.01, 0.1)
    fix_shares: tuple[float, ...] = (0.1, 0.3, 0.5)
    lr: float = 0.02
    momentum: float = 0.9
    steps: int = 2000
    seeds: Seeds = 10
    device: str = "cpu"


PRESETS = {
    "quick": Config(),
    "quick-generic": Config(start="generic", weight_decay=2.0, lr=0.005),
    "paper": Config(d=1000, samples=4000, steps=20_000, lr=0.005, seeds=10),
}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms of the experiment: the remedy, its rivals, and the controls."""
    decay = config.weight_decay
    return [
        arms.vanilla(),
        arms.plain_decay(decay),
        *(arms.weight_fix(s, decay).renamed(f"W-fix {s:.0%}") for s in config.fix_shares),
        arms.metric_only(decay, 0.5),
        arms.perturbed_once(decay),
        arms.resampled_bias(decay, every=10),
        *(arms.syre(decay, s).renamed(f"syre {s:g}") for s in config.sigma_ratios),
    ]


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds, and measure error and dead share.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder to keep the run's state in, and to go on from.

    Returns
    -------
    pandas.DataFrame
        Columns arm, seed, step, train_loss, test_loss (mean squared errors) and dead, the share
        of pairs on their mirror plane: as near to (0, 0) as a millionth of the largest pair.
    """
    data = linear_regression(config.samples, config.samples, config.d, config.noise)
    dead = round(config.dead_share * config.d) if config.start == "dead" else 0

    def make_model() -> ProductRegression:
        model = ProductRegression(config.d)
        with torch.no_grad():
            model.u[:dead] = 0
            model.w[:dead] = 0
        return model

    return fit_many(
        make_model,
        data,
        compared_arms(config),
        seeds_of(config.seeds),
        steps=config.steps,
        loss=torch.nn.functional.mse_loss,
        optimizer=lambda p: torch.optim.SGD(p, lr=config.lr, momentum=config.momentum),
        measures={"dead": _dead},
        log_every=max(1, config.steps // 20),
        device=config.device,
        checkpoint=None if checkpoints is None else checkpoints / "dead_neurons.pt",
        checkpoint_every=max(1, config.steps // 20),
    )


def _dead(params: Mapping[str, Tensor], predict: object) -> Tensor:
    return dead_fraction(torch.hypot(params["u"], params["w"]))


def _times_better(last: pd.DataFrame) -> pd.Series:
    return last["test_loss"]["plain decay"] / last["test_loss"]["syre 0.01"]


CLAIMS = (
    Claim(
        text="Half dead at the start, plain decay leaves every dead coordinate dead.",
        paper="SGD collapses",
        measure=lambda last: last["dead"]["plain decay"],
        unit="share of dead pairs",
        holds=lambda values: bool((values == 0.5).all()),
        comment="The gradient at a dead pair is exactly zero, and decay has nothing to pull.",
    ),
    Claim(
        text="Half dead at the start, syre revives every coordinate.",
        paper="syre does not collapse",
        measure=lambda last: last["dead"]["syre 0.01"],
        unit="share of dead pairs",
        holds=lambda values: bool((values == 0).all()),
        comment="So does a single perturbation of the start: here it is enough to leave the plane.",
    ),
    Claim(
        text="syre's test error is far below that of plain decay.",
        paper="shown in a figure",
        measure=_times_better,
        unit="test error of plain decay over that of syre",
        holds=lambda values: bool((values > 100).all()),
        comment="The factor depends on how much of the target lies on the dead coordinates.",
    ),
    Claim(
        text="Freezing random weights (W-fix) does not prevent the collapse.",
        paper="W-fix collapses",
        measure=lambda last: last["dead"]["W-fix 10%"],
        unit="share of dead pairs",
        holds=lambda values: bool((values > 0.3).all()),
        comment="A dead pair revives only where one of its two weights happens to be frozen.",
    ),
    Claim(
        text="From a generic start, strong decay kills more than half of the coordinates.",
        paper="no such control",
        measure=lambda last: last["dead"]["plain decay"],
        unit="share of dead pairs",
        holds=lambda values: bool((values > 0.5).all()),
        comment="This is the shrinkage of an L1 penalty: these zeros are the optimum, no trap.",
        presets=("quick-generic",),
    ),
    Claim(
        text="Where zeros are the optimum, syre removes them and gains nothing.",
        paper="no such control",
        measure=_times_better,
        unit="test error of plain decay over that of syre",
        holds=lambda values: bool(((values - 1).abs() < 0.05).all()),
        comment="The share of exact zeros alone would have shown a success.",
        presets=("quick-generic",),
    ),
)
