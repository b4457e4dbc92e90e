r"""Degree of symmetry against objective, on a loss whose mirrors are known.

The loss is :math:`\frac14 \sum_i ((v_i^T w)^2 - a_i)^2` with orthonormal :math:`v_i`: for each of
them it has the reflection that turns :math:`v_i^T w` round. Half of the :math:`a_i`, the spectrum,
are positive: there the mirror plane is a saddle. At the others it is the minimum. So the best state
lies on about half of the planes, and to leave more of them costs objective. The axes of
:math:`v_i` are turned at random against those of the weights.

In these coordinates all is known: without decay the squares end at :math:`\max(0, a_i)`, with decay
:math:`\lambda` at :math:`\max(0, a_i - \lambda)`, and syre solves a cubic equation (`at_rest`).

The paper has such a figure (its section 6.2). What is known to us is that the mirrors
:math:`v_i` are given, that the degree of symmetry is the share with :math:`|v_i^T w| < c`, that
there is a structured and an unstructured spectrum, and which methods are compared. The loss, both
spectra, c, the start, and all strengths are chosen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..removal import Arm, arms
from ..training import fit_many
from . import _rules as rules
from ._claims import Claim, of, value
from ._common import Descent, file_in, fit_settings, weight_fixes
from ._mirrors import (
    ON_PLANES,
    SPECTRA,
    FromPlanes,
    KnownMirrors,
    OnWeights,
    Spectrum,
    across,
    dropout,
    excess,
    price,
)
from ._mirrors import at_rest as at_rest


@dataclass(frozen=True, kw_only=True)
class Config(Descent):
    """Settings of the experiment; those that others have too are in `Descent`.

    Each method has twelve settings: as many decays, or rates, or products of shares, sizes and
    decays, or products of strengths and decays.
    """

    d: int = 48
    """Weights, and mirrors; an even number."""
    near: float = 0.05
    """The distance from a mirror plane below which the weights count as on it: c."""
    weight_decay: float = 0.1
    """That of all arms that start on the planes."""
    decays: tuple[float, ...] = (0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0)
    """Strengths of plain decay."""
    rates: tuple[float, ...] = (
        0.003, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
    )  # fmt: skip
    """Shares of the weights that dropout leaves out at a step."""
    fix_shares: tuple[float, ...] = (0.1, 0.3)
    fix_kappas: tuple[float, ...] = (0.1, 0.3, 1.0)
    fix_decays: tuple[float, ...] = (0.0, 0.03)
    """Decays that W-fix is combined with; it needs none."""
    sigma_ratios: tuple[float, ...] = (0.01,)
    sigmas: tuple[float, ...] = (0.1, 0.3, 0.5, 1.0, 2.0, 4.0)
    pulls: tuple[float, ...] = (0.03, 0.1)
    """Strengths of the decay of syre."""
    lr: float = 0.05  # at twice that, strong dropout diverges
    steps: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d % 2:
            raise ValueError(f"d={self.d} must be even: half of the spectrum is positive")


PRESETS = {"quick": Config(), "full-size": Config(d=96, seeds=24)}


def compared_arms(config: Config) -> list[Arm]:
    """Return the arms: each method at all its settings, then some of them from the planes."""
    decay = config.weight_decay
    from_planes = [
        arms.vanilla(),
        arms.plain_decay(decay),
        dropout(config.rates[-1]),
        weight_fixes(config, decay)[0],
        *(OnWeights(arms.syre(decay, ratio)) for ratio in config.sigma_ratios),
    ]
    return [
        arms.vanilla(),
        *(arms.plain_decay(strength) for strength in config.decays),
        *(dropout(rate) for rate in config.rates),
        *(fix for less in config.fix_decays for fix in weight_fixes(config, less)),
        *(OnWeights(arms.syre(pull, sigma_0=s)) for pull in config.pulls for s in config.sigmas),
        *map(FromPlanes, from_planes),
    ]


def run(config: Config, checkpoints: Path | None = None) -> pd.DataFrame:
    """Train all arms and seeds on both spectra, and measure degree of symmetry and objective.

    Parameters
    ----------
    config : Config
        The settings.
    checkpoints : Path, optional
        A folder to keep the run's state in, and to go on from.

    Returns
    -------
    pandas.DataFrame
        The columns of `fit_many`, at the start and at the end; spectrum; degree, the share of the
        mirror planes that the weights are nearer to than `near`; and excess, the loss (without
        decay) above its minimum, in units of that where all planes meet. A seed sets mirrors,
        start, and the unstructured spectrum. What dropout leaves out is drawn for all models of
        the run together, so that its rows, and no others, are other ones where seeds are split.
    """
    tables = []
    for spectrum in SPECTRA:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # what dropout leaves out comes from the global generator
            table = fit_many(
                partial(_model, config.d, spectrum),
                (None, torch.zeros(1, dtype=torch.float64, device=config.device)),
                compared_arms(config),
                loss=lambda output, _: output,
                measures={
                    "degree": lambda p, _: (across(p).abs() < config.near).double().mean(),
                    "excess": lambda p, _: excess(p),
                },
                checkpoint=file_in(checkpoints, f"{spectrum}.pt"),
                **fit_settings(config),
            )
        tables.append(table.assign(spectrum=spectrum))
    return pd.concat(tables, ignore_index=True)


def prices(last: pd.DataFrame, spectrum: Spectrum) -> pd.DataFrame:
    """Return the `price` of each method, from generic starts: one row per seed."""
    generic = last[(last.spectrum == spectrum) & (last.variant.fillna("") == "")]
    groups = generic.groupby(["seed", "method"])[["degree", "excess"]]
    return groups.apply(price).unstack("method")


@dataclass(frozen=True)
class _Dearer:
    """The measure of a claim: the price of the best rival minus that of syre, seed by seed."""

    spectrum: Spectrum

    def __call__(self, last: pd.DataFrame) -> pd.Series:
        found = prices(last, self.spectrum)
        return found[["plain decay", "dropout", "W-fix"]].min(axis=1, skipna=False) - found["syre"]


def _largest_step(last: pd.DataFrame) -> pd.Series:
    """Return the largest change of syre's degree between neighbouring sigma_0, seed by seed."""
    generic = last[(last.variant.fillna("") == "") & (last.weight_decay == _SMOOTH)]
    keys = ["seed", "spectrum"]
    syre = generic[generic.method == "syre"]
    degrees = syre.pivot(index=keys, columns="sigma_0", values="degree")
    plain = generic[generic.method == "plain decay"].set_index(keys).degree
    degrees.insert(0, 0.0, plain)
    return degrees.diff(axis=1).abs().max(axis=1).groupby("seed").max()


@dataclass(frozen=True)
class _LowestDegree:
    """The measure of a claim: the lowest degree of symmetry that a method reaches."""

    method: str

    def __call__(self, last: pd.DataFrame) -> pd.Series:
        own = last[(last.method == self.method) & (last.variant.fillna("") == "")]
        return own.groupby(["seed", "spectrum"]).degree.min().groupby("seed").max()


def _from_planes(method: str, **settings: Any) -> of:
    return of(method=method, variant=ON_PLANES, spectrum="unstructured", **settings)


def _model(d: int, spectrum: Spectrum) -> KnownMirrors:
    return KnownMirrors(d, spectrum).double()


_SMOOTH = 0.1
"""The decay at which syre's strengths are gone through."""
_PAPER = "syre alone moves smoothly between well-optimised and low-symmetry (figure)"
CLAIMS = (
    *(
        Claim(
            text=f"Low symmetry costs less objective under syre than under any rival: "
            f"{spectrum} spectrum.",
            paper=_PAPER,
            measure=_Dearer(spectrum),
            unit="mean lowest excess of the best rival at degrees 0 to 0.4, minus that of syre",
            holds=rules.above(0),
            comment="Each method has twelve settings, and the best rival is chosen seed by seed.",
        )
        for spectrum in SPECTRA
    ),
    Claim(
        text="Under syre the degree of symmetry falls without a jump as sigma_0 grows.",
        paper=_PAPER,
        measure=_largest_step,
        unit="largest change of the degree between neighbouring strengths, of both spectra",
        holds=rules.below(0.25),
        comment="From plain decay of 0.1 up, in seven strengths.",
    ),
    Claim(
        text="Syre reaches a low degree of symmetry.",
        paper=_PAPER,
        measure=_LowestDegree("syre"),
        unit="lowest degree of all strengths, the higher one of both spectra",
        holds=rules.below(0.15),
        comment="The best state has about 0.5: half of the planes are minima.",
    ),
    Claim(
        text="Plain decay does not: it only adds symmetry.",
        paper=_PAPER,
        measure=_LowestDegree("plain decay"),
        unit="lowest degree of all strengths, the higher one of both spectra",
        holds=rules.above(0.4),
        comment="Its squares end at a - lambda, or on the plane.",
    ),
    Claim(
        text="Where all planes meet, plain decay stays on all of them.",
        measure=value(_from_planes("plain decay"), "degree"),
        unit="degree of symmetry",
        holds=rules.between(1, 1),
        comment="The gradient is zero there, for vanilla and under dropout too.",
    ),
    Claim(
        text="Syre at its default leaves there, and optimises.",
        measure=value(_from_planes("syre", sigma_ratio=0.01), "excess"),
        unit="loss above its minimum, 1 at the start",
        holds=rules.below(0.05),
        comment="What is left is the price of its decay of 0.1.",
    ),
    Claim(
        text="W-fix leaves there too, and optimises.",
        measure=value(_from_planes("W-fix"), "excess"),
        unit="loss above its minimum, 1 at the start",
        holds=rules.below(0.05),
        comment="With 10% of the weights frozen at a size of 0.1.",
    ),
)
