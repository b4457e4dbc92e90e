"""Syre on an optimizer: a decoupled pull before each step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from .sharding import local
from .shift import shift_of
from .warning import SyreWarning

if TYPE_CHECKING:
    from .syre import Syre


class Attachment:
    """A handle on a pull that `Syre.attach` put before an optimizer's steps.

    Parameters
    ----------
    syre : Syre
        The remedy; a later ``load_state_dict`` is followed.
    optimizer : torch.optim.Optimizer
        Holds the parameters; its groups must not decay by themselves.
    named : mapping of str to nn.Parameter
        The parameters to pull, by canonical name.
    """

    def __init__(self, syre: Syre, optimizer: Optimizer, named: Mapping[str, nn.Parameter]) -> None:
        self._syre = syre
        # accelerate hands out optimizers in a wrapper, which takes no hooks.
        while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
            optimizer = inner
        self._names = _held_names(optimizer, named)
        _check_groups(optimizer, self._names)
        _check_precision(syre, optimizer, self._names)
        for parameter in self._names:
            parameter._syre_attached = True  # type: ignore[attr-defined]
        self._hook = optimizer.register_step_pre_hook(self._before_step)

    def remove(self) -> None:
        """End the pull; the optimizer and the parameters stay as they are."""
        self._hook.remove()
        for parameter in self._names:
            del parameter._syre_attached  # type: ignore[attr-defined]
        self._names = {}

    @torch.no_grad()
    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not any(p in self._names for group in optimizer.param_groups for p in group["params"]):
            raise ValueError(
                "the optimizer holds none of the parameters any longer that syre was attached to; "
                "shard or prepare the model first, then attach"
            )
        for group in optimizer.param_groups:
            # As the optimizers themselves do, leave alone what got no gradient.
            held = [p for p in group["params"] if p.grad is not None and p in self._names]
            rate = float(group["lr"]) * self._syre.weight_decay
            if not held or rate == 0:
                continue
            moving = [local(p) for p in held]
            theta_0 = [local(self._syre._fixed_bias(self._names[p], p)) for p in held]
            if self._syre.sigma_D == 0:
                torch._foreach_lerp_(moving, theta_0, rate)
                continue
            xi = [local(self._syre._fixed_xi(self._names[p], p)) for p in held]
            diff = torch._foreach_sub(moving, theta_0)
            torch._foreach_addcmul_(diff, diff, xi)  # diff + diff * xi
            torch._foreach_add_(moving, diff, alpha=-rate)


def _held_names(optimizer: Optimizer, named: Mapping[str, nn.Parameter]) -> dict[nn.Parameter, str]:
    held = {p for group in optimizer.param_groups for p in group["params"]}
    names = {p: name for name, p in named.items() if p in held}
    if not names:
        raise ValueError(
            "the optimizer holds none of the model's parameters; pass the model that the optimizer "
            "was made for, after any change that replaces its parameters"
        )
    for parameter, name in names.items():
        if shift_of(parameter) is not None:
            raise ValueError(
                f"parameter {name!r} is under parametrize; call syre.remove(model) first, since "
                "both together would pull twice"
            )
        if hasattr(parameter, "_syre_attached"):
            raise ValueError(
                f"parameter {name!r} is pulled by an earlier attach; call .remove() of that handle "
                "first"
            )
    return names


def _check_groups(optimizer: Optimizer, names: Mapping[nn.Parameter, str]) -> None:
    for k, group in enumerate(optimizer.param_groups):
        if group.get("weight_decay", 0) != 0 and any(p in names for p in group["params"]):
            raise ValueError(
                f"parameter group {k} of the optimizer has weight_decay={group['weight_decay']!r}, "
                "which pulls to 0 and against syre; make the optimizer with weight_decay=0"
            )


def _check_precision(syre: Syre, optimizer: Optimizer, names: Mapping[nn.Parameter, str]) -> None:
    """Warn where the parameters' format rounds the pull away."""
    ratio = syre.sigma_ratio if syre.sigma_0 is None else None
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p not in names:
                continue
            if p.dtype in (torch.bfloat16, torch.float16):
                warnings.warn(
                    f"parameter {names[p]!r} is {p.dtype}: most of each pull is lost to rounding, "
                    "and sigma_D has no effect. Keep float32 master weights and let autocast lower "
                    "the precision.",
                    SyreWarning,
                    stacklevel=4,
                )
                return
            # A schedule may start at lr 0; initial_lr is what it starts from.
            rate = float(group.get("initial_lr", group["lr"])) * syre.weight_decay
            if ratio and 0 < rate * ratio <= torch.finfo(p.dtype).eps:
                warnings.warn(
                    f"lr * weight_decay = {rate:.1g} moves {names[p]!r} ({p.dtype}) towards "
                    "theta_0 by less than its rounding; raise weight_decay or sigma_ratio, or "
                    "train in float64",
                    SyreWarning,
                    stacklevel=4,
                )
                return
