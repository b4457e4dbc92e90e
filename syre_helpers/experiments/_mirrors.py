"""A loss whose mirrors are known, arms for it, and the price of low symmetry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..removal import Pull, arms

Params = Mapping[str, Tensor]
Spectrum = Literal["structured", "unstructured"]
SPECTRA: tuple[Spectrum, ...] = ("structured", "unstructured")
ON_PLANES = "from the planes"


class KnownMirrors(nn.Module):
    """A loss with a mirror for each of its weights, in random directions; its output is the loss.

    Parameters
    ----------
    d : int
        Weights, and mirrors.
    spectrum : {"structured", "unstructured"}
        Structured: plus and minus 1, 1/2, 1/3, ... Unstructured: uniform between -1 and 1.

    Attributes
    ----------
    weight : nn.Parameter
        The trained weights, shape (1, d).
    mirrors : nn.Parameter
        The unit vectors :math:`v_i`, one per row; never trained.
    spectrum : nn.Parameter
        The :math:`a_i`; never trained.
    rate : nn.Parameter
        The share of the weights that a step leaves out; without gradient, and 0 at first.
    """

    def __init__(self, d: int, spectrum: Spectrum) -> None:
        super().__init__()
        self.weight = nn.Parameter((2 * torch.rand(1, d) - 1) / d**0.5)
        directions = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64)).Q
        if spectrum == "structured":
            half = 1 / torch.arange(1, d // 2 + 1, dtype=torch.float64)
            values = torch.cat([half, -half])
        else:
            values = 2 * torch.rand(d, dtype=torch.float64) - 1
        self.mirrors = nn.Parameter(directions, requires_grad=False)
        self.spectrum = nn.Parameter(values, requires_grad=False)
        self.rate = nn.Parameter(torch.zeros(()))  # a parameter, so that arms may differ in it

    def forward(self) -> Tensor:
        """Return the loss with some of the weights left out, as dropout does."""
        rate = self.rate.detach()
        kept = (torch.rand_like(self.weight) >= rate) / (1 - rate)
        return loss_of(self.weight * kept, self.mirrors, self.spectrum)


def across(params: Params) -> Tensor:
    """Return the positions across the mirror planes, :math:`v_i^T w`, shape (d,)."""
    return (params["weight"] @ params["mirrors"].mT)[0]


def loss_of(weight: Tensor, mirrors: Tensor, spectrum: Tensor) -> Tensor:
    """Return the loss of some weights."""
    return (((weight @ mirrors.mT).square() - spectrum).square() / 4).sum()


def excess(params: Params) -> Tensor:
    """Return the loss above its minimum, in units of what it is where all mirror planes meet."""
    called, spectrum = params["spectrum"].clamp_min(0), params["spectrum"]
    lowest = (called - spectrum).square().sum() / 4
    there = spectrum.square().sum() / 4
    return (loss_of(params["weight"], params["mirrors"], spectrum) - lowest) / (there - lowest)


def at_rest(a: float, decay: float, theta_0: float) -> float:
    r"""Return the point at which training comes to rest across one mirror plane.

    It solves :math:`y^3 - a y + \lambda (y - \theta_0) = 0`, on the side of :math:`\theta_0`.

    Parameters
    ----------
    a : float
        The spectrum's value there.
    decay : float
        PyTorch's ``weight_decay``.
    theta_0 : float
        The bias's part across the plane; 0 for plain decay.

    Returns
    -------
    float
        The position with the lowest loss and decay.

    Examples
    --------
    >>> round(at_rest(0.5, 0.1, 0.0) ** 2, 6)
    0.4
    """
    roots = np.roots([1.0, 0.0, decay - a, -decay * theta_0])
    real = roots[abs(roots.imag) < 1e-9].real
    cost = (real**2 - a) ** 2 / 4 + decay / 2 * (real - theta_0) ** 2
    best = real[cost <= cost.min() + 1e-12]
    return float(best.max())


@dataclass(frozen=True)
class dropout(arms.Arm):
    """Training with a random share of the weights left out at each step.

    Parameters
    ----------
    fraction : float
        That share.
    """

    method = "dropout"
    fraction: float

    def start(self, params: Params, seed: int) -> Params:
        return {**params, "rate": torch.full_like(params["rate"], self.fraction)}

    def _strength(self) -> str:
        return f"{self.method} {100 * self.fraction:.3g}%"


@dataclass(frozen=True)
class OnWeights(arms.Wrapped):
    """An arm that pulls the weights, and not the rate of a dropout that it does not have."""

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:
        pull = self.arm.pull(params, seed, step)
        return replace(pull, mask={**pull.mask, "rate": torch.zeros_like(params["rate"])})


@dataclass(frozen=True)
class FromPlanes(arms.Wrapped):
    """An arm that starts where all mirror planes meet: at weights of exactly 0."""

    variant: str = field(default=ON_PLANES, kw_only=True)

    def start(self, params: Params, seed: int) -> Params:
        meeting = {**params, "weight": torch.zeros_like(params["weight"])}
        return self.arm.start(meeting, seed)


_LEVELS = np.linspace(0, 0.4, 9)


def price(rows: pd.DataFrame) -> float:
    """Return the price of low symmetry: the mean excess over nine degrees of symmetry.

    For each degree from 0 to 0.4 it is the lowest excess that a setting of the method has at that
    degree or a lower one, and 1, the excess where all planes meet, if there is none or a worse one.

    Parameters
    ----------
    rows : pandas.DataFrame
        One row per setting, with the columns degree and excess.

    Returns
    -------
    float
        From 0 to 1; NaN where a setting has diverged.
    """
    if rows.excess.isna().any():
        return math.nan
    lowest = [rows.excess[rows.degree <= level].min() for level in _LEVELS]
    return float(np.fmin(lowest, 1.0).mean())
