r"""Syre, the remedy of Ziyin, Xu and Chuang (ICLR 2025), and its three ways of being applied.

Basic removal trains on :math:`\ell(\theta + \theta_0) + \gamma \|\theta\|^2` with a small, random,
fixed :math:`\theta_0`. With :math:`p = \theta + \theta_0` that is the original loss with weight
decay centred at :math:`\theta_0`: a pull. Advanced removal replaces :math:`\|\theta\|^2` by
:math:`\theta^T D \theta` with a diagonal, positive :math:`D` of distinct entries.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .._checks import check_int, check_nonnegative, check_parameters, check_tensor
from .attach import Attachment, attachments
from .names import (
    Where,
    canonical_name,
    named_parameters,
    padding_rows,
    saved_names,
    select,
)
from .on_the_fly import pull_on_the_fly_
from .parametrize import parametrization_of, parametrize_, remove_parametrizations
from .pull import Pull, pull_together_
from .sharded import distribute_like, global_indices, is_sharded, local
from .theta_0 import Specification, fan_ins
from .warning import SyreWarning

DEFAULT_SIGMA_RATIO = 0.01
_SETTINGS = ("weight_decay", "sigma_ratio", "sigma_0", "sigma_D", "seed")
Make = Callable[[Specification, Tensor, int | None], Tensor]


class Syre:
    r"""Remove the reflection symmetries of a loss by a small, random, fixed bias.

    Parameters
    ----------
    weight_decay : float
        PyTorch's ``weight_decay``, which is twice the paper's :math:`\gamma`. Default 0.01.
    sigma_ratio : float, optional
        Standard deviation of :math:`\theta_0` in units of ``1 / sqrt(fan_in)`` of the layer that
        owns the parameter. Default (None, if `sigma_0` is not given): 0.01, the paper's.
    sigma_0 : float, optional
        Standard deviation of :math:`\theta_0` outright, the same for all parameters. Excludes
        `sigma_ratio`.
    sigma_D : float
        Half-width of the uniform entries of :math:`D` around 1, below 1. Default 0: basic removal.
        The theory wants it small against :math:`\sigma_0`.
    seed : int
        Seed of :math:`\theta_0` and :math:`D`. Default 0.

    Raises
    ------
    ValueError
        If a number is negative, NaN or infinite, if ``sigma_D >= 1``, or if both `sigma_ratio` and
        `sigma_0` are given.

    Warns
    -----
    SyreWarning
        If `sigma_D` is larger than the bias it should be small against.

    Notes
    -----
    Each value of :math:`\theta_0` depends on the seed, the parameter's canonical name and the
    element's index only: not on the device, the order of parameters, or how they are sharded.

    References
    ----------
    Ziyin, Xu and Chuang, "Remove Symmetries to Control Model Expressivity and Improve
    Optimization", ICLR 2025, sections 4 (basic) and 5 (advanced removal).

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Linear(4, 2)
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0)
    >>> handle = Syre(weight_decay=0.1, seed=1).attach(optimizer, model)
    >>> model(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()  # pulls towards theta_0, then steps
    >>> handle.remove()
    """

    def __init__(
        self,
        weight_decay: float = 1e-2,
        sigma_ratio: float | None = None,
        sigma_0: float | None = None,
        sigma_D: float = 0.0,
        seed: int = 0,
    ) -> None:
        if sigma_ratio is not None and sigma_0 is not None:
            raise ValueError(
                f"sigma_ratio={sigma_ratio!r} and sigma_0={sigma_0!r} exclude each other: give "
                "sigma_ratio for a bias in units of 1 / sqrt(fan_in), or sigma_0 for its standard "
                "deviation outright"
            )
        if sigma_ratio is None and sigma_0 is None:
            sigma_ratio = DEFAULT_SIGMA_RATIO
        self.weight_decay = check_nonnegative("weight_decay", weight_decay)
        self.sigma_ratio, self.sigma_0 = (
            None if value is None else check_nonnegative(name, value)
            for name, value in (("sigma_ratio", sigma_ratio), ("sigma_0", sigma_0))
        )
        self.sigma_D = check_nonnegative("sigma_D", sigma_D)
        if self.sigma_D >= 1:
            raise ValueError(
                f"sigma_D={sigma_D!r} must be below 1, or D has entries that are not positive"
            )
        self.seed = check_int("seed", seed)
        bias = self.sigma_ratio or self.sigma_0 or 0.0
        if self.sigma_D > bias:
            warnings.warn(
                f"sigma_D={self.sigma_D:g} is not small against the bias ({bias:g}); the theory of "
                "advanced removal wants sigma_D well below it. Where this is intended, ignore "
                "syre_helpers.SyreWarning.",
                SyreWarning,
                stacklevel=2,
            )
        # Of all names met so far, in models or in a state; those of the state, by today's names.
        self._scales: dict[str, float] = {}
        self._saved: tuple[str, ...] = ()
        self._loads = 0
        self._aliases: dict[str, str] = {}
        # theta_0 and D - 1 as attach and penalty use them at every step.
        self._stored: dict[object, Tensor] = {}

    def __repr__(self) -> str:
        given = {key: getattr(self, key) for key in _SETTINGS}
        return f"Syre({', '.join(f'{k}={v!r}' for k, v in given.items() if v is not None)})"

    def bias(self, name: str, tensor: Tensor) -> Tensor:
        r"""Return :math:`\theta_0` of one parameter.

        Parameters
        ----------
        name : str
            The parameter's name; what wrappers insert (``module.``, ``_orig_mod.``) does not
            matter.
        tensor : Tensor
            Gives the shape (that of the whole parameter), dtype and device; of a sharded one
            (``DTensor``) also which elements are here.

        Returns
        -------
        Tensor
            Like `tensor`, and sharded where that is. Its standard deviation is `sigma_0`, or
            ``sigma_ratio / sqrt(fan_in)``; a vector has the fan-in of the weight beside it in the
            model with this name that was met last, or in the loaded state, else its own length.

        Raises
        ------
        TypeError
            If the tensor is not of a real floating type.
        """
        return _theta_0(self._specification(name, tensor), tensor)

    def metric(self, name: str, tensor: Tensor) -> Tensor:
        r"""Return the diagonal of :math:`D` for one parameter.

        Parameters
        ----------
        name : str
            The parameter's name.
        tensor : Tensor
            Gives the shape, dtype and device.

        Returns
        -------
        Tensor
            Like `tensor`, between ``1 - sigma_D`` and ``1 + sigma_D``. In float32 entries that
            differ by less than one part in 10 million coincide; the pull itself uses the finer ``D
            - 1``.
        """
        return 1 + _D_minus_1(self._specification(name, tensor), tensor)

    def pull(self, params: Mapping[str, Tensor]) -> Pull:
        """Return the affine pull on named parameters.

        Parameters
        ----------
        params : mapping of str to Tensor
            All parameters of a model; a bias finds the fan-in of its layer among them.

        Returns
        -------
        Pull
            With the names of `params`.
        """
        check_parameters("params", params)
        return _OfModel(self, params).pull(params)

    def attach(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        *,
        where: Where | None = None,
        store: bool = True,
    ) -> Attachment:
        r"""Pull the parameters before each step of an optimizer, decoupled, as AdamW decays.

        Parameters
        ----------
        optimizer : torch.optim.Optimizer
            Any whose ``step()`` updates the parameters once per evaluation, or a wrapper of such a
            one (accelerate, Lightning, Lookahead, SAM): the inner one is pulled. Its own
            ``weight_decay`` must be 0. The pull follows the learning rate of each group, times the
            factor ``d`` that Prodigy and D-Adaptation learn.
        model : nn.Module
            The model whose parameters the optimizer holds; gives their names.
        where : callable, optional
            ``where(name, parameter)`` is true for the parameters to pull. Default: all that the
            optimizer holds.
        store : bool
            Keep :math:`\theta_0`, 4 bytes a parameter in float32, and as much again for
            :math:`D`. Default. With False both are computed anew in every step, to the last bit
            the same, and nothing is kept: right where memory is what is short. See the notes.

        Returns
        -------
        Attachment
            A handle: ``handle.remove()`` ends the pull.

        Raises
        ------
        ValueError
            If a group has its own weight decay (also later, at ``optimizer.step()``, where a
            loaded state or a schedule brings one), if no parameter of the model is in the
            optimizer, if a parameter is pulled already, if the model is parametrized by
            `parametrize`, or if no pull is right for the optimizer: it evaluates the loss several
            times per step (LBFGS), computes its parameters from other points (schedule-free),
            differentiates in its step (AdaHessian), or chooses its step size out of sight.
        TypeError
            If there is no optimizer.

        Warns
        -----
        SyreWarning
            If the parameters' precision cannot hold the pull; if another model of the same
            architecture is attached, which gets the same :math:`\theta_0`. At the first step, with
            ``store=False``, if no compiler works. Later, if parameters join the optimizer that are
            not in the model, or if the parameters change and no step of the optimizer was seen.

        Notes
        -----
        The pull happens once a step, after the gradients are there, and not in a step that
        ``torch.amp.GradScaler`` skips. Parameters without a gradient are left alone, as the
        optimizers do.

        With ``store=False`` one kernel, compiled by ``torch.compile`` in the first step (up to a
        minute, some seconds where it is on disk already), computes :math:`\theta_0` and pulls.
        Without a compiler, and for parameters of 16 bits (to a rounding then), plain operations on
        pieces of 65,536 elements do it, several times slower. A parameter that lies in memory in
        another order (``channels_last``) is copied for the pull. Four parameters are pulled by one
        call, which takes about a tenth of a millisecond on a CPU, so that small networks pay most.

        Names decide :math:`\theta_0`, so that two models of one architecture attached one by one
        get the same (twin critics, say): attach ``nn.ModuleDict({"a": a, "b": b})`` instead. The
        padding row of an ``nn.Embedding`` has :math:`\theta_0 = 0` and stays at 0.
        """
        own = _OfModel(self, named_parameters(model), padding_rows(model), store)
        handle = Attachment(optimizer, model, where, own, self._relative_step)
        self._warn_of_twins(handle)
        return handle

    def _relative_step(self, p: Tensor) -> float:
        """Return the share of a parameter's size by which a pull at learning rate 1 moves it."""
        if self.sigma_ratio is not None:
            return self.weight_decay * self.sigma_ratio
        values = local(p.detach())
        if values.is_meta or not values.numel():
            return math.inf  # nothing to round yet
        size = values.abs().float().square().mean().sqrt().item()
        return self.weight_decay * (self.sigma_0 or 0.0) / size if size else math.inf

    def parametrize(self, model: nn.Module, *, where: Where | None = None) -> nn.Module:
        r"""Let the model compute with ``theta + theta_0``: the paper's form.

        The optimizer then sees ``theta``, and its own ``weight_decay`` (the same number as here)
        decays it. What the model computes at this moment is kept, to rounding
        (``theta = p - theta_0``), and ``layer.weight`` stays readable and assignable. A symmetric
        start with exact duplicates needs `attach`, since rounding separates them.

        Parameters
        ----------
        model : nn.Module
            Changed in place. An optimizer made before or after works.
        where : callable, optional
            ``where(name, parameter)`` is true for the parameters to shift. Default: all that
            require a gradient.

        Returns
        -------
        nn.Module
            The model itself.

        Raises
        ------
        ValueError
            If a parameter is parametrized or sharded already, or is held by a recurrent layer. With
            ``sigma_D > 0``, later at ``optimizer.step()``, if the decay of that optimizer is not
            known to be coupled. Later, at what writes to ``layer.weight`` in place (``nn.init``,
            ``layer.weight.data``, ``clamp_`` on a parameter), which would have no effect.

        Warns
        -----
        SyreWarning
            If a parameter is pruned, which is left alone. At the first ``optimizer.step()``, if the
            optimizer decays by another number.

        Notes
        -----
        With ``sigma_D > 0`` each step adds ``weight_decay * (D - 1) * theta`` to the gradient,
        which is right for optimizers with coupled decay (SGD, Adam).
        """
        named = named_parameters(model)
        chosen = select(named, where or _trains)
        pull = _OfModel(self, named, padding_rows(model)).pull(chosen)
        parametrize_(model, pull.centre, pull.xi, self.weight_decay)
        self._stored.clear()  # the model holds it now
        return model

    def remove(self, model: nn.Module) -> nn.Module:
        """Undo `parametrize`: the model keeps what it computes, with ordinary parameters again.

        Needed before deployment and before a checkpoint that other programs read.

        Parameters
        ----------
        model : nn.Module
            Changed in place.

        Returns
        -------
        nn.Module
            The model itself.

        Raises
        ------
        ValueError
            If no parameter of the model is under `parametrize`, if it is sharded, or if another
            parametrization lies on top. Nothing is changed then.
        """
        remove_parametrizations(model)
        return model

    def penalty(self, model: nn.Module, *, where: Where | None = None) -> Tensor:
        r"""Return :math:`\gamma (p - \theta_0)^T D (p - \theta_0)`, to add to a loss.

        Parameters
        ----------
        model : nn.Module
            A model that is not under `parametrize`.
        where : callable, optional
            ``where(name, parameter)`` is true for the parameters to count. Default: all that
            require a gradient.

        Returns
        -------
        Tensor
            A scalar with a gradient; :math:`\gamma` is ``weight_decay / 2``.

        Raises
        ------
        ValueError
            If the model is parametrized (its decay is the optimizer's) or sharded.
        """
        named = named_parameters(model)
        if any(parametrization_of(p) is not None for p in named.values()):
            raise ValueError(
                "the model is under parametrize, where the optimizer's weight_decay is the "
                "penalty; call syre.remove(model) first, or leave the penalty out"
            )
        sharded = [name for name, p in named.items() if is_sharded(p)]
        if sharded:
            raise ValueError(
                f"parameter {sharded[0]!r} is sharded, so that no process can add up the penalty; "
                "use syre.attach(optimizer, model)"
            )
        chosen = select(named, where or _trains)
        return _OfModel(self, named, padding_rows(model)).pull(chosen).penalty(chosen)

    def state_dict(self) -> dict[str, Any]:
        """Return the settings and the scales seen so far: plain numbers and strings.

        Returns
        -------
        dict
            Fit for JSON and for ``torch.load(..., weights_only=True)``.
        """
        return {key: getattr(self, key) for key in _SETTINGS} | {"scales": dict(self._scales)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over settings and scales; what is attached follows at its next step.

        Parameters
        ----------
        state : mapping
            From `state_dict`.

        Raises
        ------
        TypeError
            If a value is of a type that `Syre` does not take. Nothing is changed then.
        ValueError
            If keys are missing or unknown, or a value is one that `Syre` refuses. Nothing is
            changed then.

        Warns
        -----
        SyreWarning
            If the remedy is attached already, with other settings: those of the state win.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"state is a {type(state).__name__}; pass what Syre.state_dict() returned"
            )
        expected = set(self.state_dict())
        if set(state) != expected:
            raise ValueError(
                f"state has the keys {sorted(state)}, expected {sorted(expected)}; pass what "
                "Syre.state_dict() returned"
            )
        settings = {key: state[key] for key in _SETTINGS}
        scales = {
            str(name): check_nonnegative(f"the scale of {name!r}", scale)
            for name, scale in dict(state["scales"]).items()
        }
        new = Syre(**settings)  # what is refused raises here, before anything is changed
        before = {key: getattr(self, key) for key in settings}
        vars(self).update({key: getattr(new, key) for key in settings})
        other = [key for key, value in before.items() if getattr(self, key) != value]
        if other and any(_syre_of(one) is self for one in attachments()):
            warnings.warn(
                f"the state has {', '.join(f'{key}={settings[key]!r}' for key in other)}, this "
                f"remedy was attached with {', '.join(f'{key}={before[key]!r}' for key in other)}; "
                "from its next step on the pull is that of the state",
                SyreWarning,
                stacklevel=2,
            )
        self._scales, self._saved, self._aliases = scales, tuple(scales), {}
        self._loads += 1
        self._stored.clear()

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_stored": {}}

    def _meet(self, shapes: Mapping[str, torch.Size]) -> dict[str, float]:
        """Return the scale of each parameter of a model; note them, and names that a state has."""
        scales = {name: self._scale(fan_in) for name, fan_in in fan_ins(shapes).items()}
        missing = sorted(set(scales) - set(self._saved) - set(self._aliases))
        if self._saved and missing:
            aliases = saved_names(scales, {name: self._scales[name] for name in self._saved})
            self._aliases |= aliases
            example = next(iter(aliases.items()), None)
            warnings.warn(
                f"the state knows no parameter {missing[0]!r}; "
                + (
                    f"theta_0 of {example[0]!r} is that of {example[1]!r} there, and so on"
                    if example
                    else f"theta_0 of {len(missing)} parameters is not that of the saved run"
                ),
                SyreWarning,
                stacklevel=4,
            )
        self._scales |= {self._aliases.get(name, name): s for name, s in scales.items()}
        return scales

    def _scale(self, fan_in: int) -> float:
        if self.sigma_ratio is None:
            assert self.sigma_0 is not None  # one of the two is set
            return self.sigma_0
        return self.sigma_ratio / max(fan_in, 1) ** 0.5

    def _specification(
        self, name: str, tensor: Tensor, scale: float | None = None
    ) -> Specification:
        """Return the specification of one parameter, of an unknown model if no scale is given."""
        check_tensor("tensor", tensor)
        if not tensor.is_floating_point():
            raise TypeError(
                f"parameter {name!r} has dtype {tensor.dtype}; syre needs a real floating type"
            )
        name = canonical_name(name)
        known = self._aliases.get(name, name)
        if scale is None:
            own = self._scale(fan_ins({name: tensor.shape})[name])
            scale = own if tensor.ndim > 1 else self._scales.get(known, own)
        return Specification(self.seed, known, scale, self.sigma_D)

    def _warn_of_twins(self, handle: Attachment) -> None:
        """Warn where parameters of another model have the same theta_0, since names decide it."""
        for other in attachments():
            same = _syre_of(other) is self or other.optimizer is handle.optimizer
            seed = getattr(_syre_of(other), "seed", None)
            shapes, others = (
                {name: p.shape for name, p in one.named.items()} for one in (handle, other)
            )
            if other is handle or not same or seed != self.seed or shapes != others:
                continue
            warnings.warn(
                "two models of one architecture are attached one by one and get the same theta_0, "
                f"by the names {min(shapes)!r} and so on: swaps of the two are not removed. Attach "
                "nn.ModuleDict({...}) of both, which gives them names of their own, or use another "
                "seed.",
                SyreWarning,
                stacklevel=3,
            )


class _OfModel:
    """theta_0 and D of the parameters of one model, and the pull of them for `Attachment`."""

    def __init__(
        self,
        syre: Syre,
        named: Mapping[str, Tensor],
        padding: Mapping[str, int] | None = None,
        store: bool = True,
    ) -> None:
        self.syre, self._padding, self._store = syre, padding or {}, store
        self.meet(named)

    def meet(self, named: Mapping[str, Tensor]) -> None:
        """Take over the names and shapes of all parameters of the model."""
        self._shapes = {canonical_name(name): p.shape for name, p in named.items()}
        self._follow()

    def _follow(self) -> None:
        """Follow the remedy's settings, which a loaded state may have changed."""
        self._scales, self._loads = self.syre._meet(self._shapes), self.syre._loads
        self._specifications: dict[str, Specification] = {}

    def pull(self, params: Mapping[str, Tensor]) -> Pull:
        """Return the pull on some parameters of the model."""
        advanced = params if self.syre.sigma_D else {}
        return Pull(
            self.syre.weight_decay,
            centre={name: self._stored(_theta_0, name, p) for name, p in params.items()},
            xi={name: self._stored(_D_minus_1, name, p) for name, p in advanced.items()},
        )

    def __call__(self, params: Sequence[Tensor], names: Sequence[str], lr: float | Tensor) -> None:
        """Pull parameters in place."""
        rate = lr * self.syre.weight_decay
        if not isinstance(rate, Tensor) and rate == 0:
            return
        if self._loads != self.syre._loads:
            self._follow()
        pairs = list(zip(names, params, strict=True))
        if not self._store:
            # Few parameters have a padding row; they are pulled as if they were stored.
            plain = [(name, p) for name, p in pairs if name not in self._padding]
            specifications = [self._specification(name, p) for name, p in plain]
            pull_on_the_fly_([p for _, p in plain], specifications, rate)
            pairs = [(name, p) for name, p in pairs if name in self._padding]
        theta_0 = [local(self._stored(_theta_0, name, p)) for name, p in pairs]
        advanced = pairs if self.syre.sigma_D else []
        xi = [local(self._stored(_D_minus_1, name, p)) for name, p in advanced]
        if pairs:
            pull_together_([local(p) for _, p in pairs], theta_0, xi, rate)

    def _specification(self, name: str, p: Tensor) -> Specification:
        known = self._specifications
        if name not in known:
            known[name] = self.syre._specification(name, p, self._scales[canonical_name(name)])
        return known[name]

    @torch.no_grad()
    def _stored(self, make: Make, name: str, p: Tensor) -> Tensor:
        specification, row = self._specification(name, p), self._padding.get(name)
        spread = getattr(p, "placements", None), getattr(p, "device_mesh", None)
        key = make, specification, row, p.shape, p.dtype, p.device, spread
        kept = self.syre._stored if self._store else {}
        if key not in kept:
            kept[key] = make(specification, p, row)
        return kept[key]


def _theta_0(specification: Specification, tensor: Tensor, padding: int | None = None) -> Tensor:
    """Return theta_0, spread as the tensor is, and 0 in a padding row, which is to stay at 0."""
    index = global_indices(tensor)
    values = specification.theta_0(index, tensor.dtype)
    if padding is not None:
        values = values.masked_fill(index // tensor.shape[1] == padding, 0)
    return distribute_like(values, tensor)


def _D_minus_1(specification: Specification, tensor: Tensor, padding: int | None = None) -> Tensor:
    values = specification.D_minus_1(global_indices(tensor), tensor.dtype)
    return distribute_like(values, tensor)


def _trains(name: str, parameter: Tensor) -> bool:
    return parameter.requires_grad


def _syre_of(attachment: Attachment) -> object:
    return getattr(attachment.apply, "syre", None)
