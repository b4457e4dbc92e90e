r"""What lasts: the wait for a new target after a long time at the mirror plane.

A matrix is factorised as :math:`U U^T`. For a first phase the target is 0, so that the best answer
is :math:`U = 0`, the mirror plane of all rotations; then it becomes a matrix of some rank. How many
steps does it take to learn it, and does that grow with the length of the first phase? The paper has
no such experiment: it asks whether the bias must be fixed, and whether it must stay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from .._random import generator
from ..models import SymmetricFactorisation
from ..removal import Arm, arms
from ..training import fit_many
from . import _rules as rules
from ._claims import Claim, of, ratio
from ._common import Descent, file_in, fit_settings, strengths


@dataclass(frozen=True, kw_only=True)
class Config(Descent):
    """Settings of the experiment; those that others have too are in `Descent`.

    `steps` are those of the second phase. Every arm has the same decay. The first of the
    `sigma_ratios` is the size of all kicks and of the controls' biases.
    """

    rows: int = 6
    """Rows of the target, and of the factor."""
    inner: int = 3
    """Columns of the factor."""
    rank: int = 2
    """Rank of the second target; its eigenvalues are 1."""
    lengths: tuple[int, ...] = (250, 500, 1000, 2000, 4000)
    """Lengths of the first phase, in steps."""
    kick_every: int = 150
    """Steps between two kicks of the arm that is kicked again and again. It divides no length, so
    that no kick falls on the change of the target."""
    learned: float = 0.15
    """The share of the loss at the change of the target below which the target is learned."""
    weight_decay: float = 0.2
    sigma_ratios: tuple[float, ...] = (0.01,)
    fix_shares: tuple[float, ...] = ()
    lr: float = 0.05
    momentum: float = 0.0
    steps: int = 1000
    seeds: int | tuple[int, ...] = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank > min(self.inner, self.rows):
            raise ValueError(
                f"rank={self.rank} must be at most inner={self.inner} and rows={self.rows}: a "
                "target of a higher rank is never learned"
            )


PRESETS = {
    "quick": Config(),
    "full-size": Config(
        rows=20, inner=10, rank=5, lengths=(500, 1000, 2000, 4000, 8000), steps=2000, seeds=16
    ),
}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms of the experiment: the remedy, kicks, and biases of other kinds."""
    decay, size = config.weight_decay, config.sigma_ratios[0]
    return [
        arms.plain_decay(decay),
        arms.perturbed_once(decay, size),
        # Nothing is shrunk, so that what is left of this rival is a kick that comes again.
        arms.shrink_and_perturb(0.0, size, config.kick_every, decay, variant="kicks only"),
        arms.symmetric_bias(decay, columns_alike, size),
        arms.resampled_bias(decay, size),
        *(arms.syre(decay, **strength) for strength in strengths(config)),
    ]


def columns_alike(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the nearest factor whose columns are all alike: on the planes of all their swaps."""
    return {n: p.mean(1, keepdim=True).expand_as(p).clone() for n, p in params.items()}


def target_of(config: Config) -> Tensor:
    """Return the second target, shape (rows, rows): a projection of the given rank."""
    draw = torch.randn(
        config.rows, config.rows, generator=generator(0, "target"), dtype=torch.float64
    )
    basis = torch.linalg.qr(draw).Q[:, : config.rank]
    return basis @ basis.T


def cost_of_waiting(config: Config) -> float:
    """Return the steps of learning that each step of the first phase costs under plain decay."""
    # What is left of the factor shrinks by 1 - lr * decay per step; then it grows by
    # 1 + lr * (2 - decay), since the target's eigenvalues are 1.
    lr, decay = config.lr, config.weight_decay
    return -math.log1p(-lr * decay) / math.log1p(lr * (2 - decay))


def cost_of_resampling(config: Config) -> float:
    """Return the delay, in steps, of training whose bias is drawn anew at each step."""
    # The factor then rests not theta_0 away from 0 but at an average of many of them, whose
    # standard deviation is sigma_0 * sqrt(pull / (2 - pull)).
    pull = config.lr * config.weight_decay
    return math.log((2 - pull) / pull) / 2 / math.log1p(config.lr * (2 - config.weight_decay))


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds through both phases, for each length of the first.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder to keep the run's state in, and to go on from.

    Returns
    -------
    pandas.DataFrame
        One row per arm, length of the first phase, and seed: first (that length), step (the steps
        after the change), wait (steps after the change until the target is learned; NaN if it never
        is) and train_loss at the end. All seeds have the same target.
    """
    target = target_of(config)
    start = 0.5 * target.square().sum().item()
    tables = []
    for first in config.lengths:
        curves = fit_many(
            lambda: SymmetricFactorisation(config.rows, config.inner).double(),
            _two_phases(target.to(config.device), first),
            compared_arms(config),
            loss=lambda output, goal: 0.5 * (output - goal).square().sum(),
            log_every=range(first + 1, first + config.steps),
            checkpoint=file_in(checkpoints, f"first {first}.pt"),
            **fit_settings(replace(config, steps=first + config.steps)),
        )
        keys = [*curves.columns[: curves.columns.get_loc("step")]]
        after = curves[curves.step > first]
        runs = after[after.step == after.step.max()].reset_index(drop=True)
        learned = after[after.train_loss < config.learned * start]
        waits = (learned.groupby(["arm", "seed"]).step.min() - first).rename("wait")
        runs = runs.assign(first=first, step=config.steps).join(waits, on=["arm", "seed"])
        tables.append(runs[[*keys, "first", "step", "wait", "train_loss"]])
    return pd.concat(tables, ignore_index=True)


def _two_phases(target: Tensor, first: int) -> Callable[[int], tuple[None, Tensor]]:
    return lambda step: (None, target if step >= first else 0 * target)


# Decay and learning rate, and with them both theories, are the same in all presets.
_QUICK = PRESETS["quick"]


def _middle(lengths: pd.Series) -> float:
    return float(lengths.drop_duplicates().median())


def _growth(method: str) -> ratio:
    """Return the measure of an arm's wait after the longest first phase over the middle one."""
    return ratio(of(method=method, first=max), of(method=method, first=_middle), "wait")


def _paid_for_waiting(last: pd.DataFrame) -> pd.Series:
    """Return the cost to plain decay of a step of waiting, over the theory's, seed by seed."""
    longest = of(method="plain decay", first=max)(last)
    middle = of(method="plain decay", first=_middle)(last)
    steps = longest["first"].iloc[0] - middle["first"].iloc[0]
    return (longest.wait - middle.wait) / steps / cost_of_waiting(_QUICK)


def _paid_for_resampling(last: pd.DataFrame) -> pd.Series:
    """Return the delay of a resampled bias behind syre, over the theory's, seed by seed."""
    resampled, fixed = (of(method=m, first=max)(last).wait for m in ("resampled bias", "syre"))
    return (resampled - fixed) / cost_of_resampling(_QUICK)


_GROWTH = "wait after the longest first phase over that after a quarter of it"
_LASTS = rules.below(1.25)
_IS_FORGOTTEN = rules.above(2)

CLAIMS = (
    Claim(
        text="Under plain decay each step at the mirror plane costs what theory says.",
        measure=_paid_for_waiting,
        unit="steps of learning per step of the first phase, over the ratio of the logarithms",
        holds=rules.between(0.9, 1.1),
        comment="What is left of the weights shrinks by a factor per step, and must grow again.",
    ),
    Claim(
        text="A kick at the start is forgotten.",
        measure=_growth("perturbed once"),
        unit=_GROWTH,
        holds=_IS_FORGOTTEN,
        comment="Decay shrinks what the kick has left as it shrinks all else.",
    ),
    Claim(
        text="A lasting bias that respects the symmetry does not help.",
        measure=_growth("symmetric bias"),
        unit=_GROWTH,
        holds=_IS_FORGOTTEN,
        comment="It has the norm of theta_0, but all its columns are alike: of rank 1, where more "
        "is asked for. At 440 steps its wait stops growing, since rounding in float64 keeps the "
        "columns apart by 1e-17 of a weight.",
    ),
    Claim(
        text="The bias of syre is not forgotten.",
        measure=_growth("syre"),
        unit=_GROWTH,
        holds=_LASTS,
        comment="The weights come to rest about theta_0 away from the plane, however long they "
        "wait.",
    ),
    Claim(
        text="After the longest first phase syre learns in less than half the time of one kick.",
        measure=ratio(of(method="syre", first=max), of(method="perturbed once", first=max), "wait"),
        unit="wait of syre over that of one kick",
        holds=rules.below(0.5),
        comment="The one thing that the default does and a kick does not.",
    ),
    Claim(
        text="A kick that comes again and again is not forgotten either.",
        measure=_growth("shrink and perturb"),
        unit=_GROWTH,
        holds=_LASTS,
        comment="So what counts is that the push stays; that it is always the same does not.",
    ),
    Claim(
        text="A kick that comes again learns within one and a half times the wait of syre.",
        measure=ratio(
            of(method="shrink and perturb", first=max), of(method="syre", first=max), "wait"
        ),
        unit="wait of the repeated kick over that of syre, after the longest first phase",
        holds=rules.below(1.5),
        comment="Between two kicks decay takes a part of the last one away.",
    ),
    Claim(
        text="A bias that is drawn anew at each step is not forgotten either.",
        measure=_growth("resampled bias"),
        unit=_GROWTH,
        holds=_LASTS,
        comment="Its average over time is small, but it does not shrink.",
    ),
    Claim(
        text="A bias that is drawn anew learns later than syre by as many steps as theory says.",
        measure=_paid_for_resampling,
        unit="steps later than syre, after the longest first phase, over the theory's 30.7",
        holds=rules.between(0.6, 1.4),
        comment="A constant: the logarithm of sqrt(2 / (lr * weight_decay) - 1), over the growth "
        "per step.",
    ),
)
