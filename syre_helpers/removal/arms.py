"""Arms: ways to train that an experiment compares. The remedy, its rivals, and the controls.

An arm is data: a frozen dataclass whose fields are columns of every table. Each arm is an affine
pull (`Pull`), together with what happens before the first step, between steps, and after the last
one. Two arms are the same if their fields are.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from .._checks import check_fraction, check_nonnegative, check_positive_int
from .._random import generator
from .names import canonical_name
from .pull import Pull
from .syre import Syre
from .theta_0 import fan_ins, is_magnitude, uniform
from .warning import SyreWarning

Params = Mapping[str, Tensor]
Map = Callable[[Params], Params]
Start = Callable[[Params, int], Params]


# What a field of this name must be, in whatever arm it stands.
_CHECKS: dict[str, Callable[[str, Any], float]] = {
    "weight_decay": check_nonnegative,
    "sigma_ratio": check_nonnegative,
    "scale": check_nonnegative,
    "perturb": check_nonnegative,
    "tau": check_nonnegative,
    "fraction": check_fraction,
    "shrink": check_fraction,
}


@dataclass(frozen=True)
class Arm:
    """One way to train; the base of all others, which say in what they differ from this one.

    Fields named ``weight_decay``, ``sigma_ratio``, ``scale``, ``perturb``, ``tau`` (at least 0),
    ``fraction`` and ``shrink`` (0 to 1) are checked when an arm is made.

    Parameters
    ----------
    variant : str
        Words that tell the arm from others of the same settings, such as "generic start". Default:
        none.
    """

    method: ClassVar[str] = "vanilla"
    """The name of the method: a colour in figures and a column of tables."""

    variant: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        for name in (f.name for f in dataclasses.fields(self) if f.name in _CHECKS):
            _CHECKS[name](name, getattr(self, name))

    @property
    def label(self) -> str:
        """Words that tables and figures show, made of method, strength and variant."""
        return ", ".join(word for word in (self._strength(), self.variant) if word)

    def settings(self) -> dict[str, Any]:
        """Return method and fields by name, as columns of a table.

        Returns
        -------
        dict of str to object
            Numbers and words. Fields that hold a function are left out.
        """
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain = {name: value for name, value in fields.items() if not callable(value)}
        return {"method": self.method} | plain

    @property
    def pull_every(self) -> int:
        """How many steps a pull lasts before `pull` is asked again; 0 is for ever."""
        return 0

    @property
    def event_every(self) -> int:
        """How many steps lie between two calls of `event`; 0 is never."""
        return 0

    @property
    def resets_moments(self) -> bool:
        """True where the optimizer forgets what it remembers of the entries `event` changed."""
        return False

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:
        """Return the pull of a run: decay to 0 by the arm's ``weight_decay``, where it has one.

        Parameters
        ----------
        params : mapping of str to Tensor
            The initial parameters, as the model was made.
        seed : int
            The seed of the run.
        step : int
            The step from which on the pull holds. Default 0.

        Returns
        -------
        Pull
            The affine pull on parameters of these names.
        """
        return Pull(getattr(self, "weight_decay", 0.0))

    def start(self, params: Params, seed: int) -> Params:
        """Return the parameters to start from, given those that the model was made with."""
        return params

    def event(self, params: Params, seed: int, step: int) -> Params:
        """Return the parameters after what happens every `event_every` steps."""
        return params

    def finish(self, params: Params, seed: int) -> Params:
        """Return the parameters that the last measurement sees."""
        return params

    def _strength(self) -> str:
        """Return the method, with its strength where that tells arms apart."""
        return self.method


@dataclass(frozen=True)
class vanilla(Arm):
    """Training without any decay or bias."""


@dataclass(frozen=True)
class shift_only(Arm):
    """Training on ``l(theta + theta_0)`` without decay: a control, step by step equal to vanilla.

    The effective parameters ``theta + theta_0`` are what is started and measured.

    Parameters
    ----------
    sigma_ratio : float
        Size of ``theta_0``, which changes nothing. Default 0.01.
    """

    method = "shift only"
    sigma_ratio: float = 0.01


@dataclass(frozen=True)
class plain_decay(Arm):
    """Weight decay centred at 0.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's, which is twice the paper's gamma.
    """

    method = "plain decay"
    weight_decay: float


class _Biased(Arm):
    """What has a bias of the size of syre's, as a ratio or outright, in one role or another."""

    weight_decay: float
    sigma_ratio: float | None
    sigma_0: float | None

    def __post_init__(self) -> None:
        # Bad settings raise here and not in mid-run; the default of sigma_ratio becomes a number.
        remedy = Syre(self.weight_decay, self.sigma_ratio, self.sigma_0)
        object.__setattr__(self, "sigma_ratio", remedy.sigma_ratio)

    def _strength(self) -> str:
        if self.sigma_ratio is not None:
            return f"{self.method} {_percent(self.sigma_ratio)}"
        return f"{self.method}, sigma_0 = {self.sigma_0:g}"

    def _theta_0(self, params: Params, seed: int) -> Params:
        """Return the ``theta_0`` of syre at this size."""
        return (
            Syre(self.weight_decay, self.sigma_ratio, self.sigma_0, seed=seed).pull(params).centre
        )

    def _fresh(self, params: Params, seed: int, purpose: str) -> Params:
        """Return noise of this size that is not syre's."""
        return _gaussian(params, seed, purpose, self.sigma_ratio, self.sigma_0)


@dataclass(frozen=True)
class syre(_Biased):
    """The remedy; the ``theta_0`` of each run is drawn from the seed of that run.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's, which is twice the paper's gamma.
    sigma_ratio : float, optional
        Standard deviation of ``theta_0`` in units of ``1 / sqrt(fan_in)`` of the layer that owns
        the parameter. Default (None, if `sigma_0` is not given): 0.01.
    sigma_0 : float, optional
        Standard deviation of ``theta_0`` outright, the same for all parameters. Excludes
        `sigma_ratio`.
    sigma_D : float
        Half-width of the uniform entries of ``D`` around 1, below 1. Default 0: basic removal;
        above it the method is "syre + D".
    """

    weight_decay: float
    sigma_ratio: float | None = None
    sigma_0: float | None = field(default=None, kw_only=True)
    sigma_D: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        Syre(self.weight_decay, self.sigma_ratio, self.sigma_0, self.sigma_D)  # checks sigma_D

    @property
    def method(self) -> str:  # type: ignore[override]
        """The name of the method."""
        return "syre + D" if self.sigma_D else "syre"

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:  # noqa: D102
        remedy = _quiet(self.weight_decay, self.sigma_ratio, self.sigma_0, self.sigma_D, seed)
        return remedy.pull(params)


@dataclass(frozen=True)
class metric_only(Arm):
    """Decay centred at 0 with unequal strengths: the ``D`` of syre without its bias.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's.
    sigma_D : float
        Half-width of the uniform entries of ``D`` around 1, below 1.
    """

    method = "D only"
    weight_decay: float
    sigma_D: float

    def __post_init__(self) -> None:
        _quiet(self.weight_decay, None, 0.0, self.sigma_D)

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:  # noqa: D102
        return _quiet(self.weight_decay, None, 0.0, self.sigma_D, seed).pull(params)


@dataclass(frozen=True)
class weight_fix(Arm):
    """W-fix (W-Asymmetric): in each row of the weights a random share of the entries is frozen.

    Weights are tensors of two and more axes: matrices and kernels, whose rows lie along the first
    axis. Biases, and the gains and biases of norms, are left alone. A model of vectors only has
    these as its rows. The frozen values are random, and those of a row are drawn without
    replacement, so that each row has the same number of them.

    Parameters
    ----------
    fraction : float or tuple of float
        Share of the entries of each row that is frozen, 0 to 1, to the nearest whole number of
        entries; or one share per weight, in the order of the parameters.
    weight_decay : float
        Plain decay on the rest. Default 0.
    kappa : float or tuple of float
        Standard deviation of the frozen values outright, whatever the size of the layer; or one
        per weight, likewise. Default 1.

    Raises
    ------
    ValueError
        When it is used: if there are not as many weights as shares or kappas, or if no row of a
        model is long enough for a single frozen entry.

    References
    ----------
    Lim et al., "The Empirical Impact of Neural Parameter Symmetries, or Lack Thereof", NeurIPS
    2024, where the method is called W-Asymmetric. Their MLP of four layers for MNIST freezes 64 of
    784, 64 of 512, 64 of 512 and 256 of 512 entries of a row, with kappa 1, 1, 1/2 and 1/4
    (``lmc/train-mlp-mnist.py`` in their repository, cptq/asymmetric-networks).
    """

    method = "W-fix"
    fraction: float | tuple[float, ...]
    weight_decay: float = 0.0
    kappa: float | tuple[float, ...] = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        check_nonnegative("weight_decay", self.weight_decay)
        for share in _each(self.fraction):
            check_fraction("fraction", share)
        for size in _each(self.kappa):
            check_nonnegative("kappa", size)

    def settings(self) -> dict[str, Any]:  # noqa: D102
        # A column holds numbers: what differs by layer stands in the label.
        return {n: None if isinstance(v, tuple) else v for n, v in super().settings().items()}

    def start(self, params: Params, seed: int) -> Params:  # noqa: D102
        started = dict(params)
        sizes = self._by_weight("kappa", params)
        for name, frozen in self._frozen(params, seed).items():
            p = params[name]
            draw = generator(seed, "w-fix value", canonical_name(name))
            values = torch.randn(p.shape, generator=draw, dtype=torch.float64).to(p)
            started[name] = torch.where(frozen, sizes[name] * values, p)
        return started

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:  # noqa: D102
        mask = {n: (~frozen).to(params[n]) for n, frozen in self._frozen(params, seed).items()}
        return Pull(self.weight_decay, mask=mask)

    def _frozen(self, params: Params, seed: int) -> dict[str, Tensor]:
        """Return a mask of the frozen entries of each weight, by name."""
        found = {}
        for name, share in self._by_weight("fraction", params).items():
            p = params[name]
            rows = len(p) if p.ndim > 1 else 1
            index = torch.arange(p.numel(), device=p.device).reshape(rows, -1)
            order = uniform(seed, f"w-fix mask|{canonical_name(name)}", index).argsort(1)
            count = math.floor(share * index.shape[1] + 0.5)
            frozen = torch.zeros_like(index, dtype=torch.bool).scatter(1, order[:, :count], True)
            found[name] = frozen.reshape(p.shape)
        if max(_each(self.fraction), default=0) > 0 and not any(
            bool(f.any()) for f in found.values()
        ):
            raise ValueError(
                f"fraction={self.fraction!r} freezes no entry of any row of {list(found)}; take a "
                "larger share"
            )
        return found

    def _by_weight(self, setting: str, params: Params) -> dict[str, float]:
        """Return a setting for each weight, by name."""
        axes = min(2, max((p.ndim for p in params.values()), default=0))
        names = [
            name
            for name, p in params.items()
            if axes and p.ndim >= axes and not is_magnitude(canonical_name(name))
        ]
        value = getattr(self, setting)
        values = value if isinstance(value, tuple) else (value,) * len(names)
        if len(values) != len(names):
            raise ValueError(
                f"{setting}={value!r} has {len(values)} numbers for the weights {names}"
            )
        return dict(zip(names, values, strict=True))

    def _strength(self) -> str:
        shares = "/".join(_percent(share) for share in _each(self.fraction))
        sizes = "/".join(f"{size:.3g}" for size in _each(self.kappa))
        return f"{self.method} {shares}" + (f", kappa = {sizes}" if self.kappa != 1 else "")


@dataclass(frozen=True)
class pull_to_start(plain_decay):
    """Decay centred at the initial parameters (regenerative regularisation, L2 Init).

    Parameters
    ----------
    weight_decay : float
        As PyTorch's.
    scale : float
        The centre is the initial parameters times this factor. Default 1.
    """

    method = "pull to start"
    scale: float = field(default=1.0, kw_only=True)

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:  # noqa: D102
        centre = dict(params) if self.scale == 1 else {n: self.scale * p for n, p in params.items()}
        return Pull(self.weight_decay, centre=centre)

    def _strength(self) -> str:
        return self.method if self.scale == 1 else f"{self.method} x{self.scale:.3g}"


@dataclass(frozen=True)
class shrink_and_perturb(Arm):
    """Now and then the parameters are multiplied by ``1 - shrink``, and fresh noise is added.

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

    method = "shrink and perturb"
    shrink: float
    perturb: float
    every: int
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive_int("every", self.every)

    @property
    def event_every(self) -> int:
        """How many steps lie between two events."""
        return self.every

    def event(self, params: Params, seed: int, step: int) -> Params:  # noqa: D102
        fresh = _gaussian(params, seed, f"shrink and perturb {step}", self.perturb)
        return {name: (1 - self.shrink) * p + fresh[name] for name, p in params.items()}


@dataclass(frozen=True)
class _Control(_Biased):
    """What has a bias of the size of syre's in another role."""

    weight_decay: float
    sigma_ratio: float | None = None
    sigma_0: float | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class perturbed_once(_Control):
    """Plain decay from a start to which noise of the size of syre's bias is added: a control.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's.
    sigma_ratio : float, optional
        Size of the noise in units of ``1 / sqrt(fan_in)``. Default (None, if `sigma_0` is not
        given): 0.01.
    sigma_0 : float, optional
        Size of the noise outright, the same for all parameters. Excludes `sigma_ratio`.
    """

    method = "perturbed once"

    def start(self, params: Params, seed: int) -> Params:  # noqa: D102
        fresh = self._fresh(params, seed, "perturbed once")
        return {name: p + fresh[name] for name, p in params.items()}


@dataclass(frozen=True)
class resampled_bias(_Control):
    """Decay towards a bias of the size of syre's that is drawn anew again and again: a control.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's.
    sigma_ratio : float, optional
        Size of the bias in units of ``1 / sqrt(fan_in)``. Default (None, if `sigma_0` is not
        given): 0.01.
    sigma_0 : float, optional
        Size of the bias outright, the same for all parameters. Excludes `sigma_ratio`.
    every : int
        Steps that a bias lasts, at least 1. Default 1.
    """

    method = "resampled bias"
    every: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive_int("every", self.every)

    @property
    def pull_every(self) -> int:
        """How many steps a bias lasts."""
        return self.every

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:  # noqa: D102
        return Pull(self.weight_decay, centre=self._fresh(params, seed, f"resampled {step}"))


@dataclass(frozen=True)
class symmetric_bias(_Biased):
    """Decay towards a bias of the norm of syre's that respects the symmetry: a control.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's.
    symmetrise : callable
        Maps parameters to a symmetric state, such as ``reflection.nearest``.
    sigma_ratio : float, optional
        Size of the bias before it is made symmetric, and of its norm afterwards, in units of
        ``1 / sqrt(fan_in)``. Default (None, if `sigma_0` is not given): 0.01.
    sigma_0 : float, optional
        The same outright, for all parameters. Excludes `sigma_ratio`.
    """

    method = "symmetric bias"
    weight_decay: float
    symmetrise: Map
    sigma_ratio: float | None = None
    sigma_0: float | None = field(default=None, kw_only=True)

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:  # noqa: D102
        bias = self._theta_0(params, seed)
        symmetric = self.symmetrise(bias)
        ratio = _norm(bias) / _norm(symmetric).clamp_min(torch.finfo(torch.float64).tiny)
        centre = {n: ratio.to(p) * p for n, p in symmetric.items()}
        return Pull(self.weight_decay, centre=centre)


@dataclass(frozen=True)
class bias_added_after(_Control):
    """Plain decay, with syre's bias added to the trained parameters: a control of ranks.

    Parameters
    ----------
    weight_decay : float
        As PyTorch's.
    sigma_ratio : float, optional
        Size of the bias in units of ``1 / sqrt(fan_in)``. Default (None, if `sigma_0` is not
        given): 0.01.
    sigma_0 : float, optional
        Size of the bias outright, the same for all parameters. Excludes `sigma_ratio`.
    """

    method = "bias added after"

    def finish(self, params: Params, seed: int) -> Params:  # noqa: D102
        bias = self._theta_0(params, seed)
        return {name: p + bias[name] for name, p in params.items()}


@dataclass(frozen=True)
class Wrapped(Arm):
    """An arm that changes another one; it does all that it does not change as that one does.

    Parameters
    ----------
    arm : Arm
        The arm that is changed.
    """

    arm: Arm

    @property
    def method(self) -> str:  # type: ignore[override]
        """The method of the arm that is changed."""
        return self.arm.method

    def settings(self) -> dict[str, Any]:
        """Return the settings of the arm that is changed, with those of the change.

        Returns
        -------
        dict of str to object
            As `Arm.settings`; ``variant`` holds the variants of both.
        """
        own = {name: value for name, value in super().settings().items() if name != "arm"}
        variant = ", ".join(word for word in (self.arm.variant, self.variant) if word)
        return self.arm.settings() | own | {"variant": variant}

    @property
    def pull_every(self) -> int:
        """As the arm that is changed."""
        return self.arm.pull_every

    @property
    def event_every(self) -> int:
        """As the arm that is changed."""
        return self.arm.event_every

    @property
    def resets_moments(self) -> bool:
        """As the arm that is changed."""
        return self.arm.resets_moments

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:  # noqa: D102
        return self.arm.pull(params, seed, step)

    def start(self, params: Params, seed: int) -> Params:  # noqa: D102
        return self.arm.start(params, seed)

    def event(self, params: Params, seed: int, step: int) -> Params:  # noqa: D102
        return self.arm.event(params, seed, step)

    def finish(self, params: Params, seed: int) -> Params:  # noqa: D102
        return self.arm.finish(params, seed)

    def _strength(self) -> str:
        return self.arm.label


@dataclass(frozen=True)
class starting_from(Wrapped):
    """An arm that starts elsewhere than where the model was made.

    Parameters
    ----------
    arm : Arm
        How to train.
    origin : callable
        ``origin(params, seed)`` returns the parameters from which the arm starts, given those that
        the model was made with.
    """

    origin: Start

    def start(self, params: Params, seed: int) -> Params:  # noqa: D102
        return self.arm.start(self.origin(params, seed), seed)


def _gaussian(
    params: Params, seed: int, purpose: str, ratio: float | None, sigma: float | None = None
) -> dict[str, Tensor]:
    """Return noise of standard deviation ``ratio / sqrt(fan_in)``, or `sigma`, for every parameter.

    Rivals and controls need no values that are independent of the order of parameters, so an
    ordinary generator does.

    Parameters
    ----------
    params : mapping of str to Tensor
        All parameters of a model.
    seed : int
        The seed of the run.
    purpose : str
        What the noise is for.
    ratio : float, optional
        Standard deviation in units of ``1 / sqrt(fan_in)``.
    sigma : float, optional
        Standard deviation outright, where `ratio` is None.

    Returns
    -------
    dict of str to Tensor
        Like `params`.
    """
    draw = generator(seed, purpose)
    inputs = fan_ins({canonical_name(name): p.shape for name, p in params.items()})

    def std(name: str) -> float:
        if ratio is None:
            return sigma or 0.0
        return ratio / max(inputs[canonical_name(name)], 1) ** 0.5

    return {
        name: torch.randn(p.shape, generator=draw, dtype=torch.float64).to(p) * std(name)
        for name, p in params.items()
    }


def _quiet(*settings: Any) -> Syre:
    """Return a remedy without its warning of a large D: it came with the arm, or D is the point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyreWarning)
        return Syre(*settings)


def _each(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def _norm(params: Params) -> Tensor:
    return torch.stack([p.double().square().sum() for p in params.values()]).sum().sqrt()
