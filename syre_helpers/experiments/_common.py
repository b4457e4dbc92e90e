"""What the experiments share: settings, arms, optimizers, schedules and checkpoints."""

from __future__ import annotations

import itertools
import math
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from .._checks import (
    check_below_1,
    check_fraction,
    check_int,
    check_nonnegative,
    check_nonnegative_int,
    check_positive,
    check_positive_int,
)
from ..removal import Arm, arms
from ..training.device import check_device

Seeds = int | tuple[int, ...]
Check = Callable[[str, Any], Any]


def _check_points(argument: str, value: Any) -> int:
    if check_positive_int(argument, value) < 3:
        raise ValueError(f"{argument}={value!r} must be at least 3: two ends and one point between")
    return int(value)


# What the numbers of a setting must be, where that does not follow from its type: whole numbers are
# 1 or more, or 0 where that is the default; others are at least 0.
_RANGES: dict[str, Check] = {
    "dead": check_nonnegative_int,
    "dead_share": check_fraction,
    "fix_shares": check_fraction,
    "friction": check_positive,
    "gae_lambda": check_fraction,
    "gamma": check_fraction,
    "identical_share": check_fraction,
    "input_scale": check_positive,
    "learned": check_fraction,
    "momentum": check_below_1,
    "points": _check_points,
    "rates": check_below_1,
    "shift": check_nonnegative_int,
    "sigma_D": check_below_1,
    "temperature": check_positive,
    "warmup": check_fraction,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that all experiments have.

    A ``Config`` inherits them, gives other defaults where it needs them, and adds its own; each
    field has its docstring below it, once. All are checked when a ``Config`` is made: words against
    those that the field's type names, numbers against their ranges.
    """

    seeds: Seeds = 8
    """Number of seeds, counted from 0, or the seeds themselves."""
    device: str = "cpu"
    """Device to train on, as PyTorch calls it."""
    lr: float
    """Learning rate."""
    sigma_ratios: tuple[float, ...]
    """Strengths of syre to compare, in units of each layer's ``1 / sqrt(fan_in)``."""
    sigmas: tuple[float, ...] = ()
    """Strengths of syre to compare that are one number for all parameters, as the paper has it."""
    fix_shares: tuple[float, ...] = (0.1,)
    """Shares of each row of the weights that W-fix freezes, to compare."""
    fix_kappas: tuple[float, ...] = (1.0,)
    """Standard deviations of what W-fix freezes, to compare with each share; 1 as its authors."""

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(type(self)).items():
            value = _checked(name, getattr(self, name), kind, getattr(type(self), name, None))
            object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True)
class Decayed(Settings):
    """Settings of an experiment whose arms all have the same strength of decay."""

    weight_decay: float
    """PyTorch's decay, which is twice the paper's gamma; coupled where nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class Stepped(Settings):
    """Settings of an experiment that trains for some steps."""

    momentum: float = 0.9
    """Momentum of gradient descent; Adam and AdamW have their own."""
    steps: int
    """Training steps."""


@dataclass(frozen=True, kw_only=True)
class Descent(Decayed, Stepped):
    """Settings of an experiment that trains for some steps, with one strength of decay."""


def _checked(name: str, value: Any, kind: Any, default: Any) -> Any:
    """Return the value of a setting as its type holds it, or raise TypeError or ValueError."""
    if name in ("seeds", "device"):
        return _checked_seeds(value) if name == "seeds" else check_device(name, value)
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if value not in parts:
            raise ValueError(f"{name}={value!r} is not offered; use one of {', '.join(parts)}")
    elif typing.get_origin(kind) is tuple:
        if not isinstance(value, tuple | list):
            raise TypeError(f"{name}={value!r} must be several numbers in a tuple, such as (1,)")
        if Ellipsis not in parts and len(value) != len(parts):
            raise ValueError(f"{name}={value!r} must be {len(parts)} numbers")
        return type(value)(_checked(name, number, parts[0], None) for number in value)
    elif isinstance(kind, types.UnionType):  # int | None
        return None if value is None else _checked(name, value, parts[0], default)
    elif kind in (bool, str):
        if not isinstance(value, kind):
            what = "True or False" if kind is bool else "text"
            raise TypeError(f"{name}={value!r} must be {what}")
    else:
        whole = check_nonnegative_int if default == 0 else check_positive_int
        return _RANGES.get(name, whole if kind is int else check_nonnegative)(name, value)
    return value


def _checked_seeds(seeds: Any) -> Seeds:
    if not isinstance(seeds, tuple | list):
        return check_positive_int("seeds", seeds)
    return tuple(check_int("seeds", seed) for seed in seeds_of(tuple(seeds)))


def seeds_of(seeds: Seeds) -> Sequence[int]:
    """Return the seeds that the field ``seeds`` of a ``Config`` stands for.

    Parameters
    ----------
    seeds : int or tuple of int
        A number of seeds, or the seeds themselves: a part of a run, see `grid`.

    Returns
    -------
    sequence of int
        The seeds in order.

    Raises
    ------
    ValueError
        If there is none, or one comes twice.

    Examples
    --------
    >>> list(seeds_of(3)), list(seeds_of((2, 5)))
    ([0, 1, 2], [2, 5])
    """
    found: Sequence[int] = range(seeds) if isinstance(seeds, int) else tuple(seeds)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds={seeds!r} must be at least one, all different")
    return found


def standard_arms(config: Settings, decay: float, *controls: Arm) -> list[Arm]:
    """Return the arms that most experiments compare.

    Parameters
    ----------
    config : Settings
        Gives the shares and kappas of W-fix, and the strengths of syre.
    decay : float
        That of all arms but vanilla, as PyTorch's.
    *controls : Arm
        Arms of the experiment's own, which come before syre.

    Returns
    -------
    list of Arm
        Vanilla, plain decay, W-fix, the controls, and syre at each of `strengths`.
    """
    return [
        arms.vanilla(),
        arms.plain_decay(decay),
        *weight_fixes(config, decay),
        *controls,
        *(arms.syre(decay, **strength) for strength in strengths(config)),
    ]


def weight_fixes(config: Settings, decay: float) -> list[Arm]:
    """Return the arms of W-fix: every share with every kappa."""
    pairs = itertools.product(config.fix_shares, config.fix_kappas)
    return [arms.weight_fix(share, decay, kappa=kappa) for share, kappa in pairs]


def strengths(config: Settings) -> list[dict[str, Any]]:
    """Return all strengths of syre to compare, as arguments of its arm and of its controls."""
    ratios = [{"sigma_ratio": ratio} for ratio in config.sigma_ratios]
    return [*ratios, *({"sigma_0": sigma} for sigma in config.sigmas)]


def usual_controls(weight_decay: float) -> list[Arm]:
    """Return the controls of a collapse that a mirror plane holds: D only, one kick, lasting noise.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's.

    Returns
    -------
    list of Arm
        Three arms.
    """
    return [
        arms.metric_only(weight_decay, 0.5),
        arms.perturbed_once(weight_decay),
        arms.resampled_bias(weight_decay, every=10),
    ]


def optimizer(
    name: Literal["sgd", "adam", "adamw"], lr: float, momentum: float = 0.0
) -> Callable[[Iterable[Tensor]], torch.optim.Optimizer]:
    """Return a function of the parameters that makes their optimizer, without decay of its own.

    Parameters
    ----------
    name : {"sgd", "adam", "adamw"}
        Which optimizer.
    lr : float
        Learning rate.
    momentum : float
        Momentum of SGD; the others have their own. Default 0.

    Returns
    -------
    callable
        ``make(params)``.
    """
    makers: dict[str, Callable[[Iterable[Tensor]], torch.optim.Optimizer]] = {
        "sgd": partial(torch.optim.SGD, lr=lr, momentum=momentum),
        "adam": partial(torch.optim.Adam, lr=lr),
        "adamw": partial(torch.optim.AdamW, lr=lr, weight_decay=0),
    }
    return makers[name]


def fit_settings(config: Stepped, name: Literal["sgd", "adam", "adamw"] = "sgd") -> dict[str, Any]:
    """Return the arguments of `fit` and `fit_many` that follow from the settings of a descent.

    Parameters
    ----------
    config : Stepped
        The experiment's settings.
    name : {"sgd", "adam", "adamw"}
        The optimizer. Default "sgd".

    Returns
    -------
    dict
        Seeds, steps, optimizer, device, and a checkpoint at each tenth of the run.
    """
    return {
        "seeds": seeds_of(config.seeds),
        "steps": config.steps,
        "optimizer": optimizer(name, config.lr, config.momentum),
        "device": config.device,
        "checkpoint_every": max(1, config.steps // 10),
    }


def cosine(steps: int, warm_up: int = 0) -> Callable[[int], float]:
    """Return a schedule that falls to 0 as half a cosine.

    Parameters
    ----------
    steps : int
        Training steps.
    warm_up : int
        First steps, in which the learning rate rises from near 0 along a line. Default 0.

    Returns
    -------
    callable
        ``factor(step)`` multiplies the learning rate.

    Examples
    --------
    >>> [round(cosine(10, warm_up=2)(step), 2) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.04]
    """

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        done = (step - warm_up) / max(1, steps - warm_up)
        return 0.5 * (1 + math.cos(math.pi * done))

    return factor


def file_in(folder: Path | None, name: str) -> Path | None:
    """Return a file of a folder of checkpoints, or None where there is no such folder."""
    return None if folder is None else folder / name
