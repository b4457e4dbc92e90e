"""Ranks of the weights and features of a class, under their standard names."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import measures
from .features import Features
from .units import State, UnitClass

_ROUNDINGS = 32  # what a few layers make of the rounding of one number


@dataclass(frozen=True)
class Ranks:
    """Ranks of one matrix; NaN for what is not known.

    Parameters
    ----------
    exact : float
        Number of singular values above rounding.
    most : float
        What it could be: the least of the units that live, their inputs, and the samples minus 1.
    effective, stable : float
        `effective_rank` and `stable_rank`.
    others : dict of str to float
        For features: srank, feature rank and so on, by the names of their functions.
    """

    exact: float = math.nan
    most: float = math.nan
    effective: float = math.nan
    stable: float = math.nan
    others: dict[str, float] | None = None

    @property
    def deficient(self) -> bool:
        """Whether rank is lost; False where it is not known."""
        return self.exact < self.most


def weight_ranks(units: UnitClass, state: State, live: Tensor) -> Ranks:
    """Return the ranks of the incoming weights of the units that live.

    Parameters
    ----------
    units : UnitClass
        The class.
    state : mapping of str to Tensor
        Parameters.
    live : Tensor
        Numbers of the units that live.

    Returns
    -------
    Ranks
        All 0 without live units; NaN without incoming weights, or where one is not finite. A
        tensor of zeros, with which a branch begins, makes nothing yet, and is not asked for rank.
    """
    parts = [(part, rows[live]) for part, rows in units.rows(state, "incoming") if rows.any()]
    if not len(live):
        return Ranks(0.0, 0.0, 0.0, 0.0)
    if not parts:
        return Ranks()
    eps = max(torch.finfo(state[part.tensor].dtype).eps for part, _ in parts)
    return _ranks(torch.cat([rows.cpu() for _, rows in parts], 1), eps)


def feature_ranks(features: Features, live: Tensor) -> Ranks:
    """Return the ranks of what the units that live do on a batch.

    Parameters
    ----------
    features : Features
        Of the class.
    live : Tensor
        Numbers of the units that live.

    Returns
    -------
    Ranks
        All 0 without live units; NaN with fewer than two samples. The exact rank, the effective
        and the stable rank are those of the centred features; the others are as in their sources.
    """
    h = features.values
    if not len(live):
        return Ranks(0.0, 0.0, 0.0, 0.0)
    if len(h) < 2:
        return Ranks()
    found = _ranks(h[:, live] - h[:, live].mean(0), features.eps)
    others = {
        "srank": float(measures.srank(h)),
        "feature_rank": float(measures.feature_rank(h)),
        "participation_ratio": float(measures.participation_ratio(h)),
        "alpha_req": float(measures.alpha_req(h)),
        "dormant_ratio": float(measures.dormant_ratio(h)),
    }
    most = min(found.most, len(h) - 1)
    return Ranks(found.exact, most, found.effective, found.stable, others)


def rotation_ranks(vectors: Tensor) -> Ranks:
    """Return the ranks of the inner dimension of products such as query and key, value and output.

    On a mirror plane of the rotations, both factors have lost the direction that is normal to it.

    Parameters
    ----------
    vectors : Tensor
        Both factors side by side, (members, units, scalars).

    Returns
    -------
    Ranks
        The least exact rank over the members, and the medians of the others.
    """
    found = [_ranks(one, float(torch.finfo(torch.float32).eps)) for one in vectors]
    return Ranks(
        min(one.exact for one in found),
        min(one.most for one in found),
        statistics.median(one.effective for one in found),
        statistics.median(one.stable for one in found),
    )


def _ranks(x: Tensor, eps: float) -> Ranks:
    squares = measures.squared_spectrum(x)
    if not squares.isfinite().all():
        return Ranks()
    values = squares.sqrt()
    largest = float(values[0])
    # The Gram matrix resolves singular values down to some 1e-8 of the largest.
    tolerance = max(_ROUNDINGS * eps, 1e-7)
    exact = float((values > tolerance * largest).sum())
    shares = values / max(float(values.sum()), 1e-300)
    effective = float(torch.special.xlogy(shares, shares).sum().neg().exp()) if largest else 0.0
    stable = float(squares.sum() / squares[0]) if largest else 0.0
    # Half precision rounds too much for an exact rank to be told.
    return Ranks(exact if tolerance < 1e-3 else math.nan, min(x.shape), effective, stable)
