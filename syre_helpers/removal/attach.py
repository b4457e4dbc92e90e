"""A pull on an optimizer: decoupled, in each step before the update."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from .names import Where, canonical_name, named_parameters, select
from .parametrize import parametrization_of
from .pull import Pull
from .warning import SyreWarning

Apply = Callable[[list[nn.Parameter], list[str], float], None]
"""Pulls parameters in place: ``apply(parameters, canonical names, learning rate)``."""


class Attachment:
    """A handle on a pull before each step of an optimizer; ``remove()`` ends it.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Holds the parameters; its groups must not decay by themselves.
    named : mapping of str to nn.Parameter
        The parameters to pull, by canonical name; those that the optimizer does not hold are left
        alone.
    apply : callable
        ``apply(parameters, names, lr)`` pulls parameters of one group that have a gradient.
    relative_step : float
        Share of a parameter's size by which a pull at learning rate 1 moves it; a warning is given
        where the parameter's format rounds that away. 0: do not look.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        named: Mapping[str, nn.Parameter],
        apply: Apply,
        relative_step: float,
    ) -> None:
        self._apply = apply
        self._names = _held_names(optimizer, named)
        _check_groups(optimizer, self._names)
        _warn_of_rounding(optimizer, self._names, relative_step)
        self._hook = _before_steps(optimizer, self._pull)
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
        for group in optimizer.param_groups:
            # As the optimizers themselves do, leave alone what got no gradient.
            held = [p for p in group["params"] if p.grad is not None and p in self._names]
            if held:
                self._apply(held, [self._names[p] for p in held], float(group["lr"]))


def attach_pull(
    pull: Pull, optimizer: Optimizer, model: nn.Module, *, where: Where | None = None
) -> Attachment:
    """Return a handle on any pull before each step of an optimizer, decoupled as `Syre.attach` is.

    Parameters
    ----------
    pull : Pull
        Any: decay towards a point (`around`), a rival, a mask. Names are those of the model; what
        wrappers insert (``module.``, ``_orig_mod.``) does not matter.
    optimizer : torch.optim.Optimizer
        Any; its own ``weight_decay`` must be 0. The pull follows the learning rate of each group.
    model : nn.Module
        The model whose parameters the optimizer holds; gives their names.
    where : callable, optional
        ``where(name, parameter)`` is true for the parameters to pull. Default: all that the
        optimizer holds.

    Returns
    -------
    Attachment
        A handle: ``handle.remove()`` ends the pull.

    Raises
    ------
    ValueError
        If a group has its own weight decay, if no parameter of the model is in the optimizer, if a
        parameter is pulled already or under ``Syre.parametrize``, or if the pull holds names or
        shapes that the model has not.

    Warns
    -----
    SyreWarning
        If the parameters' precision cannot hold the pull.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from syre_helpers.removal import around
    >>> model = nn.Linear(4, 2)
    >>> pretrained = {name: p.detach().clone() for name, p in model.named_parameters()}
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    >>> handle = attach_pull(around(Pull(0.1), pretrained), optimizer, model)
    >>> model(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()  # pulls towards the pretrained parameters, then steps
    >>> handle.remove()
    """
    named = named_parameters(model)
    pull = Pull(pull.weight_decay, *(_of_model(pull, kind, named) for kind in _BY_NAME))

    def apply(params: list[nn.Parameter], names: list[str], lr: float) -> None:
        for name, p in zip(names, params, strict=True):
            assert p.grad is not None
            p.grad = pull.masked(name, p.grad)
            pull.decoupled_(name, p, lr)

    return Attachment(optimizer, select(named, where), apply, float(pull.weight_decay))


_BY_NAME = ("centre", "xi", "mask")


def _of_model(pull: Pull, kind: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return one part of a pull by canonical name; refuse names and shapes of another model."""
    values = {canonical_name(name): value for name, value in getattr(pull, kind).items()}
    for name, value in values.items():
        if name not in named:
            raise ValueError(
                f"the pull's {kind} has {name!r}, which is no parameter of the model; it has "
                f"{sorted(named)}"
            )
        if value.shape != named[name].shape:
            raise ValueError(
                f"the pull's {kind} of {name!r} has the shape {tuple(value.shape)}, the "
                f"parameter has {tuple(named[name].shape)}; make the pull from this model"
            )
    return values


def _before_steps(optimizer: Optimizer, pull: Callable[[Optimizer], None]) -> RemovableHandle:
    """Call ``pull(optimizer)`` in each step, once the gradients are there, before the update.

    It is called without gradient tracking, and not in a step that a gradient scaler skips.
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
        if parametrization_of(parameter) is not None:
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


def _warn_of_rounding(
    optimizer: Optimizer, names: Mapping[nn.Parameter, str], relative_step: float
) -> None:
    for group in optimizer.param_groups:
        # A schedule may start at lr 0; initial_lr is what it starts from.
        step = float(group.get("initial_lr", group["lr"])) * relative_step
        for p in group["params"]:
            if p not in names:
                continue
            if p.dtype in (torch.bfloat16, torch.float16):
                what = (
                    f"parameter {names[p]!r} is {p.dtype}: most of each pull is lost to rounding, "
                    "and D has no effect. Keep float32 master weights and let autocast lower the "
                    "precision."
                )
            elif 0 < step <= torch.finfo(p.dtype).eps:
                what = (
                    f"a pull moves {names[p]!r} by about {step:.1g} of its size, which is below "
                    f"the rounding of {p.dtype}; raise weight_decay (or sigma_ratio), or train in "
                    "float64"
                )
            else:
                continue
            warnings.warn(what, SyreWarning, stacklevel=4)
            return
