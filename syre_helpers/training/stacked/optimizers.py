"""Steps of `torch.optim` as plain functions of tensors, for the compiler.

``torch.optim`` itself cannot be traced: what changes from step to step (the rate, corrections of
bias) are Python numbers there. Here they come in as tensors. The state stays where ``torch.optim``
keeps it, so that a run may change between the two at any step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

Updated = tuple[Tensor, list[Tensor]]


@dataclass(frozen=True)
class FunctionalUpdate:
    """The step of one kind of optimizer, as a function.

    Parameters
    ----------
    state : tuple of str
        Names of the tensors that the optimizer keeps for each parameter.
    numbers : callable
        ``numbers(lr, step)`` returns what the update needs at a step, counted from 1.
    update : callable
        ``update(p, gradient, state, numbers)`` returns the new parameter and the new state.
    """

    state: tuple[str, ...]
    numbers: Callable[[float, int], list[float]]
    update: Callable[[Tensor, Tensor, list[Tensor], Sequence[Tensor]], Updated]


def functional_update(optimizer: Optimizer) -> FunctionalUpdate | None:
    """Return the update of an optimizer as a function, or None where it has none here."""
    if len(optimizer.param_groups) != 1 or optimizer.param_groups[0].get("maximize"):
        return None
    group = optimizer.param_groups[0]
    if type(optimizer) is SGD:
        return _sgd(group)
    if type(optimizer) in (Adam, AdamW) and not group["amsgrad"]:
        return _adam(group)
    return None


def _sgd(group: dict[str, Any]) -> FunctionalUpdate:
    momentum, fresh = group["momentum"], 1 - group["dampening"]
    nesterov = group["nesterov"]

    def update(p: Tensor, g: Tensor, state: list[Tensor], numbers: Sequence[Tensor]) -> Updated:
        if momentum:
            state = [momentum * state[0] + fresh * g]
            g = g + momentum * state[0] if nesterov else state[0]
        return p - numbers[0] * g, state

    return FunctionalUpdate(("momentum_buffer",) if momentum else (), lambda lr, step: [lr], update)


def _adam(group: dict[str, Any]) -> FunctionalUpdate:
    beta1, beta2 = group["betas"]
    eps = group["eps"]

    def numbers(lr: float, step: int) -> list[float]:
        return [lr / (1 - beta1**step), (1 - beta2**step) ** 0.5]

    def update(p: Tensor, g: Tensor, state: list[Tensor], numbers: Sequence[Tensor]) -> Updated:
        mean = state[0].lerp(g, 1 - beta1)
        square = beta2 * state[1] + (1 - beta2) * g * g
        return p - numbers[0] * (mean / (square.sqrt() / numbers[1] + eps)), [mean, square]

    return FunctionalUpdate(("exp_avg", "exp_avg_sq"), numbers, update)
