"""Syre on an optimizer: a decoupled pull in each step, before the update."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from .recompute import pull_recomputed_, pull_stored_
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
    store : bool
        Whether theta_0 and D are kept, or computed anew in every step.
    """

    def __init__(
        self, syre: Syre, optimizer: Optimizer, named: Mapping[str, nn.Parameter], store: bool
    ) -> None:
        self._syre = syre
        self._store = store
        self._names = _held_names(optimizer, named)
        _check_groups(optimizer, self._names)
        _check_precision(syre, optimizer, self._names)
        self._hook = before_steps(optimizer, self._pull)
        for parameter in self._names:
            parameter._syre_attached = True  # type: ignore[attr-defined]

    def remove(self) -> None:
        """End the pull; the optimizer and the parameters stay as they are."""
        self._hook.remove()
        for parameter in self._names:
            del parameter._syre_attached  # type: ignore[attr-defined]
        self._names = {}

    def _pull(self, optimizer: Optimizer) -> None:
        if not any(p in self._names for group in optimizer.param_groups for p in group["params"]):
            raise ValueError(
                "the optimizer holds none of the parameters any longer that syre was attached to; "
                "shard or prepare the model first, then attach"
            )
        pull = self._pull_stored if self._store else self._pull_recomputed
        for group in optimizer.param_groups:
            # As the optimizers themselves do, leave alone what got no gradient.
            held = [p for p in group["params"] if p.grad is not None and p in self._names]
            rate = float(group["lr"]) * self._syre.weight_decay
            if held and rate > 0:
                pull(held, rate)

    def _pull_stored(self, held: Sequence[nn.Parameter], rate: float) -> None:
        syre, names = self._syre, self._names
        theta_0 = [local(syre._fixed_bias(names[p], p)) for p in held]
        xi = [local(syre._fixed_xi(names[p], p)) for p in held] if syre.sigma_D else []
        pull_stored_([local(p) for p in held], theta_0, xi, rate)

    def _pull_recomputed(self, held: Sequence[nn.Parameter], rate: float) -> None:
        recipes = [self._syre._recipe(self._names[p], p) for p in held]
        pull_recomputed_(held, recipes, rate)


def before_steps(optimizer: Optimizer, pull: Callable[[Optimizer], None]) -> RemovableHandle:
    """Call ``pull(optimizer)`` in each step, once the gradients are there, before the update.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any that evaluates the loss once a step, or is given the gradients.
    pull : callable
        Called without gradient tracking; not in a step that a gradient scaler skips.

    Returns
    -------
    torch.utils.hooks.RemovableHandle
        Its ``remove()`` ends the calls.

    Raises
    ------
    ValueError
        If the optimizer is LBFGS.
    """
    # accelerate hands out optimizers in a wrapper, which takes no hooks.
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError(
            "LBFGS evaluates the loss many times a step and takes the curvature from differences "
            "of gradients, which a pull in between would falsify; add syre.penalty(model) to the "
            "loss in the closure instead"
        )

    def hook(self: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        # Fused optimizers skip a step with infinite gradients by themselves, after this hook.
        if bool(getattr(self, "found_inf", False)):
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            with torch.no_grad():
                pull(self)
            return None
        pulled = False

        def evaluate() -> Any:
            nonlocal pulled
            loss = closure()
            if not pulled:
                with torch.no_grad():
                    pull(self)
                pulled = True
            return loss

        return (self, evaluate), {k: v for k, v in kwargs.items() if k != "closure"}

    return optimizer.register_step_pre_hook(hook)


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
