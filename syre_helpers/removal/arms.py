"""Arms: ways to train that an experiment compares. The remedy, its rivals, and the controls.

Every arm is an affine pull (`Pull`) together with what happens before the first step, between
steps, and after the last one.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .._checks import nonnegative, share, whole
from . import theta_0 as noise
from .names import canonical_name
from .pull import Pull
from .syre import Syre
from .theta_0 import fan_ins
from .warning import SyreWarning

Params = Mapping[str, Tensor]
InitialMap = Callable[[Params, int], Params]
PullAt = Callable[[Params, int, int], Pull]
Event = Callable[[Params, int, int], Params]


def _no_pull(params: Params, seed: int, step: int) -> Pull:
    return Pull()


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Parameters
    ----------
    name : str
        What tables and figures call it.
    pull : callable
        ``pull(params, seed, step)`` returns the `Pull`; `params` are the initial parameters as the
        model was made. Default: no pull.
    start : callable, optional
        ``start(params, seed)`` returns the parameters to start from.
    refresh : int
        The pull is asked for again every `refresh` steps. Default 0: only before the first.
    event : callable, optional
        ``event(params, seed, step)`` returns changed parameters; called after step numbers
        divisible by `every`.
    every : int
        See `event`. Default 0: never.
    finish : callable, optional
        ``finish(params, seed)`` returns the parameters that the last measurement sees.
    """

    name: str
    pull: PullAt = _no_pull
    start: InitialMap | None = None
    refresh: int = 0
    event: Event | None = None
    every: int = 0
    finish: InitialMap | None = None

    def renamed(self, name: str) -> Arm:
        """Return the same arm under another name, such as "syre 0.1"."""
        return replace(self, name=name)


def vanilla() -> Arm:
    """Return the arm without any decay or bias.

    "Shift only" (train on ``l(theta + theta_0)`` without decay) is this arm too, step by step, once
    the effective parameters are what is started and measured.
    """
    return Arm("vanilla")


def plain_decay(weight_decay: float) -> Arm:
    """Return weight decay centred at 0; `weight_decay` as PyTorch's."""
    decay = nonnegative("weight_decay", weight_decay)
    return Arm("plain decay", pull=lambda params, seed, step: Pull(decay))


def syre(
    weight_decay: float,
    sigma_ratio: float | None = None,
    *,
    sigma_0: float | None = None,
    sigma_D: float = 0.0,
) -> Arm:
    """Return the remedy; each run's ``theta_0`` is drawn from the run's own seed.

    The arguments are those of `Syre`. The name is "syre", or "syre + D" when ``sigma_D > 0``.
    """
    Syre(weight_decay, sigma_ratio, sigma_0, sigma_D)  # bad settings raise here, not in mid-run

    def pull(params: Params, seed: int, step: int) -> Pull:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyreWarning)  # said once, above
            return Syre(weight_decay, sigma_ratio, sigma_0, sigma_D, seed=seed).pull(params)

    return Arm("syre + D" if sigma_D else "syre", pull=pull)


def metric_only(weight_decay: float, sigma_D: float) -> Arm:
    """Return decay centred at 0 with unequal strengths: the ``D`` of syre without its bias."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyreWarning)  # a D that is not small is the point here
        return replace(syre(weight_decay, sigma_0=0.0, sigma_D=sigma_D), name="D only")


def weight_fix(fraction: float, weight_decay: float = 0.0, *, scale: float = 1.0) -> Arm:
    """Return W-fix: freeze a random share of the weights at random values (Lim et al., 2024).

    Parameters
    ----------
    fraction : float
        Share of the entries of each parameter that is frozen, 0 to 1.
    weight_decay : float
        Plain decay on the rest. Default 0.
    scale : float
        Standard deviation of the frozen values in units of ``1 / sqrt(fan_in)``. Default 1.
    """
    frozen_share = share("fraction", fraction)
    decay = nonnegative("weight_decay", weight_decay)
    spread = nonnegative("scale", scale)

    def frozen(name: str, p: Tensor, seed: int) -> Tensor:
        unit = noise.uniform(seed, f"w-fix mask|{canonical_name(name)}", _index(p))
        return (unit < 2 * frozen_share - 1).reshape(p.shape)

    def start(params: Params, seed: int) -> Params:
        values = _gaussian(params, seed, "w-fix value", spread)
        return {n: torch.where(frozen(n, p, seed), values[n], p) for n, p in params.items()}

    def pull(params: Params, seed: int, step: int) -> Pull:
        return Pull(decay, mask={n: (~frozen(n, p, seed)).to(p) for n, p in params.items()})

    return Arm("W-fix", pull=pull, start=start)


def pull_to_start(weight_decay: float) -> Arm:
    """Return decay centred at the initial parameters (regenerative regularisation)."""
    decay = nonnegative("weight_decay", weight_decay)
    return Arm("pull to start", pull=lambda params, seed, step: Pull(decay, centre=dict(params)))


def shrink_and_perturb(shrink: float, perturb: float, every: int, weight_decay: float = 0.0) -> Arm:
    """Return shrink and perturb: now and then multiply by ``1 - shrink`` and add fresh noise.

    Parameters
    ----------
    shrink : float
        Share taken off, 0 to 1.
    perturb : float
        Standard deviation of the noise in units of ``1 / sqrt(fan_in)``.
    every : int
        Steps between two such events, at least 1.
    weight_decay : float
        Plain decay at all steps. Default 0.
    """
    factor = 1 - share("shrink", shrink)
    spread = nonnegative("perturb", perturb)
    if whole("every", every) < 1:
        raise ValueError(f"every={every} must be at least 1 step")

    def event(params: Params, seed: int, step: int) -> Params:
        fresh = _gaussian(params, seed, f"shrink and perturb {step}", spread)
        return {name: factor * p + fresh[name] for name, p in params.items()}

    return replace(plain_decay(weight_decay), name="shrink and perturb", event=event, every=every)


def perturbed_once(weight_decay: float, sigma_ratio: float = 0.01) -> Arm:
    """Return plain decay from a start to which noise of syre's size is added once: a control."""
    spread = nonnegative("sigma_ratio", sigma_ratio)

    def start(params: Params, seed: int) -> Params:
        fresh = _gaussian(params, seed, "perturbed once", spread)
        return {name: p + fresh[name] for name, p in params.items()}

    return replace(plain_decay(weight_decay), name="perturbed once", start=start)


def resampled_bias(weight_decay: float, sigma_ratio: float = 0.01, *, every: int = 1) -> Arm:
    """Return a pull to a bias of syre's size that is drawn anew every `every` steps: a control."""
    decay = nonnegative("weight_decay", weight_decay)
    spread = nonnegative("sigma_ratio", sigma_ratio)

    def pull(params: Params, seed: int, step: int) -> Pull:
        return Pull(decay, centre=_gaussian(params, seed, f"resampled {step}", spread))

    return Arm("resampled bias", pull=pull, refresh=every)


def symmetric_bias(
    weight_decay: float, symmetrise: Callable[[Params], Params], sigma_ratio: float = 0.01
) -> Arm:
    """Return a pull to a bias of the same norm as syre's that respects the symmetry: a control.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's.
    symmetrise : callable
        Maps parameters to a symmetric state, such as ``reflection.nearest``.
    sigma_ratio : float
        Size of the bias before it is made symmetric, and of its norm afterwards.
    """
    decay = nonnegative("weight_decay", weight_decay)
    spread = nonnegative("sigma_ratio", sigma_ratio)

    def pull(params: Params, seed: int, step: int) -> Pull:
        bias = Syre(decay, spread, seed=seed).pull(params).centre
        symmetric = symmetrise(bias)
        ratio = _norm(bias) / _norm(symmetric).clamp_min(torch.finfo(torch.float64).tiny)
        return Pull(decay, centre={n: ratio.to(p) * p for n, p in symmetric.items()})

    return Arm("symmetric bias", pull=pull)


def bias_added_after(weight_decay: float, sigma_ratio: float = 0.01) -> Arm:
    """Return plain decay with syre's bias added to the trained parameters: a control of ranks."""
    spread = nonnegative("sigma_ratio", sigma_ratio)

    def finish(params: Params, seed: int) -> Params:
        bias = Syre(weight_decay, spread, seed=seed).pull(params).centre
        return {name: p + bias[name] for name, p in params.items()}

    return replace(plain_decay(weight_decay), name="bias added after", finish=finish)


def _gaussian(params: Params, seed: int, purpose: str, ratio: float) -> dict[str, Tensor]:
    """Draw noise of standard deviation ``ratio / sqrt(fan_in)`` for every parameter.

    Rivals and controls need no values that are independent of the order of parameters, so an
    ordinary generator does; it is on the CPU so that all devices see the same numbers.
    """
    digest = hashlib.sha256(f"{seed}|{purpose}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    scales = fan_ins({canonical_name(name): p.shape for name, p in params.items()})
    return {
        name: torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p)
        * (ratio / max(scales[canonical_name(name)], 1) ** 0.5)
        for name, p in params.items()
    }


def _index(p: Tensor) -> Tensor:
    return torch.arange(p.numel(), device=p.device)


def _norm(params: Params) -> Tensor:
    return torch.stack([p.double().square().sum() for p in params.values()]).sum().sqrt()
