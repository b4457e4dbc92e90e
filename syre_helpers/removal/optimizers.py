"""Optimizers as a pull meets them: the one that steps, and those that cannot be pulled."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer

# Class names (in part) of optimizers whose parameters follow from other points, whose step size is
# nowhere to be read, or whose step differentiates at the parameters of the backward pass.
_NOT_TO_PULL = (
    "schedulefree", "dadaptsgd", "dadaptadagrad", "mechan", "dog", "dowg", "cocob", "adahessian",
)  # fmt: skip
_COUPLED = (
    torch.optim.SGD, torch.optim.Adam, torch.optim.Adagrad, torch.optim.Adadelta,
    torch.optim.Adamax, torch.optim.NAdam, torch.optim.RAdam, torch.optim.RMSprop, torch.optim.ASGD,
)  # fmt: skip


def base_optimizer(optimizer: object) -> Optimizer:
    """Return the optimizer whose ``step()`` updates the parameters, within any wrappers.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer or a wrapper of one
        Wrappers (of accelerate, Lightning, Lookahead, SAM) hold one other optimizer, which has all
        their parameters.

    Returns
    -------
    torch.optim.Optimizer
        The innermost one.

    Raises
    ------
    TypeError
        If there is no optimizer.
    ValueError
        If the optimizer's ``step()`` runs no hooks, or no pull is right for it: it evaluates the
        loss many times per step, differentiates in it, or chooses its step size out of sight.
    """
    _refuse(optimizer)
    while (inner := wrapped_optimizer(optimizer)) is not None:
        optimizer = inner
        _refuse(optimizer)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer is {type(optimizer).__name__}, which is no torch.optim.Optimizer and holds "
            "none; pass the one whose step() updates the parameters"
        )
    if not getattr(type(optimizer).step, "hooked", False):
        raise ValueError(
            f"step() of {type(optimizer).__name__} runs no hooks (its class does not call "
            "Optimizer.__init__), so that nothing would be pulled; pass the optimizer that it wraps"
        )
    return optimizer


def wrapped_optimizer(optimizer: object) -> Optimizer | None:
    """Return the one optimizer that a wrapper holds and that has all its parameters, if any.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer or a wrapper of one
        Any object.

    Returns
    -------
    torch.optim.Optimizer or None
        None for an optimizer that wraps none.
    """
    held = [v for v in getattr(optimizer, "__dict__", {}).values() if isinstance(v, Optimizer)]
    return held[0] if len(held) == 1 and _params(optimizer) <= _params(held[0]) else None


def decay_is_coupled(optimizer: Optimizer, group: dict[str, Any]) -> bool:
    """Test whether an optimizer is known to add its weight decay to the gradient.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Not a wrapper.
    group : dict
        One of its parameter groups.

    Returns
    -------
    bool
        False for decoupled decay, and for optimizers that are not PyTorch's.
    """
    decoupled = group.get("decoupled_weight_decay") or isinstance(optimizer, torch.optim.AdamW)
    return isinstance(optimizer, _COUPLED) and not decoupled


def step_size(group: dict[str, Any]) -> float | torch.Tensor:
    """Return the factor of weight decay in one step of a parameter group.

    Parameters
    ----------
    group : dict
        Of an optimizer.

    Returns
    -------
    float or Tensor
        The learning rate; where the optimizer learns a factor of it (Prodigy, D-Adaptation: ``d``),
        times that. A rate that is a tensor on a GPU, as optimizers with ``capturable=True`` may
        have, stays one: to read it would make the program wait for the GPU at every step, and
        cannot be captured in a CUDA graph.
    """
    lr: float | torch.Tensor = group["lr"]
    if isinstance(lr, torch.Tensor) and lr.device.type == "cpu":
        lr = float(lr)
    return lr * float(group["d"]) if "d0" in group else lr


def _params(optimizer: object) -> set[torch.Tensor]:
    groups = getattr(optimizer, "param_groups", [])
    return {p for group in groups for p in group["params"]}


def _refuse(optimizer: object) -> None:
    names = [c.__name__.lower().replace("_", "") for c in type(optimizer).__mro__]
    if any("lbfgs" in name for name in names):
        raise ValueError(
            "LBFGS evaluates the loss many times a step and takes the curvature from differences "
            "of gradients, which a pull in between would falsify; add syre.penalty(model) to the "
            "loss in the closure instead"
        )
    groups = getattr(optimizer, "param_groups", [])
    without = any(group.get("lr", 0.0) is None for group in groups)
    if without or any(word in name for word in _NOT_TO_PULL for name in names):
        raise ValueError(
            f"{type(optimizer).__name__} chooses its step size out of sight, computes its "
            "parameters from other points, or differentiates in its step, so that no pull of them "
            "is right; use syre.parametrize(model) with the optimizer's own weight_decay, or "
            "syre.penalty(model)"
        )
