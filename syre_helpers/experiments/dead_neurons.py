r"""Dead coordinates of a reparametrised linear regression, :math:`f(x) = (u \odot w)^T x`.

Each pair :math:`(u_i, w_i)` has a sign reflection, whose mirror plane is :math:`u_i = w_i = 0`: a
dead coordinate. From a start with half of the pairs dead, gradient descent never revives one; from
a generic start, strong decay shrinks pairs to zero as an L1 penalty does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import Tensor

from ..data import linear_regression
from ..measures import dead_fraction
from ..models import ProductRegression
from ..removal import Arm
from ..training import fit_many
from . import _rules as rules
from ._claims import Claim, of, ratio, value
from ._common import Descent, Seeds, file_in, fit_settings, standard_arms, usual_controls


@dataclass(frozen=True, kw_only=True)
class Config(Descent):
    """Settings of the experiment; those that others have too are in `Descent`."""

    start: Literal["dead", "generic"] = "dead"
    """Start with a share of the pairs exactly zero, or with none."""
    dead_share: float = 0.5
    """That share."""
    d: int = 100
    """Coordinates."""
    samples: int = 400
    """Samples of the training set."""
    noise: float = 0.1
    """Standard deviation of the noise of the targets."""
    weight_decay: float = 2e-3
    sigma_ratios: tuple[float, ...] = (0.001, 0.01, 0.1)
    fix_shares: tuple[float, ...] = (0.1, 0.3, 0.5)
    lr: float = 0.02
    steps: int = 2000
    seeds: Seeds = 10


PRESETS = {
    "quick": Config(),
    "quick-generic": Config(start="generic", weight_decay=2.0, lr=0.005),
    # The paper's sizes are not known.
    "full-size": Config(d=1000, samples=4000, steps=20_000, lr=0.005, seeds=10),
}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms of the experiment: the remedy, its rivals, and the controls."""
    decay = config.weight_decay
    return standard_arms(config, decay, *usual_controls(decay))


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
        The columns of `fit_many`; its losses are mean squared errors. dead is the share of pairs
        on their mirror plane: as near to (0, 0) as a millionth of the largest pair.
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
        loss=torch.nn.functional.mse_loss,
        measures={"dead": _dead},
        log_every=max(1, config.steps // 20),
        checkpoint=file_in(checkpoints, "dead_neurons.pt"),
        **fit_settings(config),
    )


def _dead(params: Mapping[str, Tensor], predict: object) -> Tensor:
    return dead_fraction(torch.hypot(params["u"], params["w"]))


_DECAY = of(method="plain decay")
_SYRE = of(method="syre", sigma_ratio=0.01)
# The full-size run was recorded with another W-fix, which froze values of 1 / sqrt(d).
_RECORDED_ANEW = ("quick",)

CLAIMS = (
    Claim(
        text="Half dead at the start, plain decay leaves every dead coordinate dead.",
        paper="SGD collapses",
        measure=value(_DECAY, "dead"),
        unit="share of dead pairs",
        holds=rules.between(0.5, 0.5),
        comment="The gradient at a dead pair is exactly zero, and decay has nothing to pull.",
    ),
    Claim(
        text="Half dead at the start, syre revives every coordinate.",
        paper="syre does not collapse",
        measure=value(_SYRE, "dead"),
        unit="share of dead pairs",
        holds=rules.between(0, 0),
        comment="So does a single perturbation of the start: here it is enough to leave the plane.",
    ),
    Claim(
        text="syre's test error is far below that of plain decay.",
        paper="shown in a figure",
        measure=ratio(_DECAY, _SYRE, "test_loss"),
        unit="test error of plain decay over that of syre",
        holds=rules.above(100),
        comment="The factor depends on how much of the target lies on the dead coordinates.",
    ),
    Claim(
        text="Freezing random weights (W-fix) does not prevent the collapse.",
        paper="W-fix collapses",
        measure=value(of(method="W-fix", fraction=0.1), "dead"),
        unit="share of dead pairs",
        holds=rules.above(0.3),
        comment="A dead pair revives only where one of its two weights happens to be frozen. With "
        "larger shares fewer pairs stay dead, see the chapter.",
        presets=_RECORDED_ANEW,
    ),
    Claim(
        text="The test error of W-fix stays at more than half of plain decay's.",
        paper="W-fix collapses",
        measure=ratio(of(method="W-fix", fraction=0.1), _DECAY, "test_loss"),
        unit="test error of W-fix over that of plain decay",
        holds=rules.above(0.5),
        comment="Frozen pairs are fixed at coefficients that are not theirs.",
        presets=_RECORDED_ANEW,
    ),
    Claim(
        text="From a generic start, strong decay kills more than half of the coordinates.",
        measure=value(_DECAY, "dead"),
        unit="share of dead pairs",
        holds=rules.above(0.5),
        comment="This is the shrinkage of an L1 penalty: these zeros are the optimum, no trap.",
        presets=("quick-generic",),
    ),
    Claim(
        text="Where zeros are the optimum, syre removes them and gains nothing.",
        measure=ratio(_DECAY, _SYRE, "test_loss"),
        unit="test error of plain decay over that of syre",
        holds=rules.between(0.95, 1.05),
        comment="The share of exact zeros alone would have shown a success.",
        presets=("quick-generic",),
    ),
)
