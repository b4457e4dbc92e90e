"""Arguments that `fit` and `train_many` share, and their checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .._checks import check_int, check_positive_int
from ..removal import Arm
from .callbacks import Callback

Loss = Callable[[Tensor, Tensor], Tensor]
Predict = Callable[..., Tensor]
Measure = Callable[[Mapping[str, Tensor], Predict], Tensor]
"""``measure(params, predict)`` returns a scalar tensor; ``predict(x)`` is the model's output."""
MakeOptimizer = Callable[[list[Tensor]], Optimizer]
Schedule = Callable[[int], float]
"""``schedule(step)`` is the factor of the learning rate at a step, counted from 0."""

# Each of these treats every element by itself, so stacked models do not see one another.
ELEMENTWISE = (
    torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam,
    torch.optim.Adamax, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adadelta,
    torch.optim.Rprop,
)  # fmt: skip
_OTHER_COLUMNS = ("seed", "step", "train_loss")


@dataclass(frozen=True)
class Options:
    """How a run trains and is measured, be it of one model or of many.

    Parameters
    ----------
    arms : tuple of Arm
        Those that are compared; one in `fit`.
    steps, loss, optimizer, schedule, coupled, measures, log_every, callbacks
        As in `train_many`.

    Attributes
    ----------
    logged : frozenset of int
        The numbers of steps after which to measure: 0, the last, and those of `log_every`.

    Raises
    ------
    TypeError
        If an argument is of a wrong type.
    ValueError
        If an argument is out of range, or a measure has the name of another column.
    """

    arms: tuple[Arm, ...]
    steps: int
    loss: Loss
    optimizer: MakeOptimizer
    schedule: Schedule | None
    coupled: bool
    measures: Mapping[str, Measure]
    log_every: int | Sequence[int] | None
    callbacks: Sequence[Callback]
    logged: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", check_positive_int("steps", self.steps))
        object.__setattr__(self, "logged", _measuring_steps(self.steps, self.log_every))
        for arm in self.arms:
            if not isinstance(arm, Arm):
                raise TypeError(
                    f"arm {arm!r} is no arm; use one of syre_helpers.arms, as vanilla()"
                )
        if not isinstance(self.measures, Mapping):
            raise TypeError(f"measures={self.measures!r} must map names to functions")
        if not isinstance(self.callbacks, Sequence):
            raise TypeError(f"callbacks={self.callbacks!r} must be a list of functions")
        functions = {name: getattr(self, name) for name in ("loss", "optimizer", "schedule")}
        functions |= {f"measures[{name!r}]": measure for name, measure in self.measures.items()}
        functions |= {f"callbacks[{k}]": callback for k, callback in enumerate(self.callbacks)}
        for argument, function in functions.items():
            if not callable(function) and (argument, function) != ("schedule", None):
                raise TypeError(f"{argument}={function!r} cannot be called; pass a function")
        if not isinstance(self.coupled, bool):
            raise TypeError(f"coupled={self.coupled!r} must be True or False")
        taken = {*columns_of(self.arms)[0], *_OTHER_COLUMNS} & {*self.measures}
        if taken:
            raise ValueError(
                f"measures: {sorted(taken)} are columns of the table already; choose other names"
            )

    def make_optimizer(self, params: list[Tensor]) -> Optimizer:
        """Make the optimizer and see that it is one that the arms can work with.

        Parameters
        ----------
        params : list of Tensor
            What it is to train.

        Returns
        -------
        torch.optim.Optimizer
            It treats every element by itself, and has no weight decay.

        Raises
        ------
        ValueError
            If it is another one.
        """
        optimizer = self.optimizer(params)
        if not isinstance(optimizer, ELEMENTWISE):
            names = ", ".join(kind.__name__ for kind in ELEMENTWISE)
            raise ValueError(
                f"optimizer {type(optimizer).__name__} is not known to treat each element by "
                f"itself; use one of {names}"
            )
        for group in optimizer.param_groups:
            if group.get("weight_decay", 0) != 0:
                raise ValueError(
                    f"the optimizer has weight_decay={group['weight_decay']!r}; make it with "
                    "weight_decay=0, the arms bring the decay"
                )
            # As a tensor on a GPU it would be waited for at every step.
            group["lr"] = float(group["lr"])
        return optimizer

    def factor(self, step: int) -> float:
        """Return the factor of the learning rate at a step, counted from 0.

        Parameters
        ----------
        step : int
            The number of the step.

        Returns
        -------
        float
            1 without a schedule.

        Raises
        ------
        ValueError
            If the schedule's factor is negative, NaN or infinite.
        """
        factor = 1.0 if self.schedule is None else float(self.schedule(step))
        if not math.isfinite(factor) or factor < 0:
            raise ValueError(
                f"schedule({step}) is {factor}; it must be a finite factor of the rate, 0 or more"
            )
        return factor

    def set_rate(self, optimizer: Optimizer, initial: float, step: int) -> None:
        """Set the learning rate of a step, given the one that the optimizer was made with."""
        if self.schedule is not None:
            for group in optimizer.param_groups:
                group["lr"] = initial * self.factor(step)

    def loss_of(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the loss of a model's output.

        Parameters
        ----------
        output, y : Tensor
            What the model made, and what it should have made.

        Returns
        -------
        Tensor
            A scalar.

        Raises
        ------
        ValueError
            If the function `loss` returned something else, or a loss without a gradient.
        """
        value: Any = self.loss(output, y)
        if isinstance(value, Tensor) and value.ndim == 0:
            if torch.is_grad_enabled() and not value.requires_grad:
                raise ValueError(
                    "loss returned a scalar without a gradient; compute it from the output with "
                    "functions of torch, without detach() and torch.no_grad()"
                )
            return value
        what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
        raise ValueError(f"loss returned {what}; it must return a scalar tensor, such as the mean")


def _measuring_steps(steps: int, log_every: int | Sequence[int] | None) -> frozenset[int]:
    if log_every is None:
        log_every = ()
    elif not isinstance(log_every, Iterable):
        log_every = range(0, steps, check_positive_int("log_every", log_every))
    if isinstance(log_every, str):
        raise TypeError(f"log_every={log_every!r} must be a number of steps, or several in a list")
    whole = [check_int("log_every (numbers of steps)", s) for s in log_every]
    outside = [s for s in whole if not 0 <= s <= steps]
    if outside:
        raise ValueError(
            f"log_every holds {outside[:3]}, which are no numbers of steps from 0 to {steps}"
        )
    return frozenset({0, *whole, steps})


def made_with_seed(make_model: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return a new model, made under a seed; the caller's global generator stays as it was.

    Parameters
    ----------
    make_model : callable
        Returns the model.
    seed : int
        Of torch's global generator while the model is made.

    Returns
    -------
    torch.nn.Module
        The model.

    Raises
    ------
    TypeError
        If `make_model` returns something else.
    """
    with generators_kept(()):
        torch.manual_seed(seed)
        model = make_model()
    if not isinstance(model, nn.Module):
        raise TypeError(f"make_model must return an nn.Module, got {type(model).__name__}")
    return model


def generators_kept(tensors: Iterable[Tensor]) -> AbstractContextManager[None]:
    """Return a context after which the global generators are as before, those of GPUs in use too.

    Parameters
    ----------
    tensors : iterable of Tensor
        The generators of their devices are kept, and that of the CPU.

    Returns
    -------
    context manager
        Of nothing.
    """
    devices = {tensor.device for tensor in tensors if tensor.is_cuda}
    return torch.random.fork_rng(devices=sorted(devices, key=str))


def due(every: int, step: int) -> bool:
    """Test whether what happens every `every` steps happens at this one; never at step 0."""
    return every > 0 and step > 0 and step % every == 0


def last_due(every: int, step: int) -> int:
    """Return the last step, up to this one, at which it was due; 0 where there was none."""
    return step - step % every if every else 0


def forget(optimizer: Optimizer, p: Tensor, where: Tensor, model: int | None = None) -> None:
    """Set to zero what an optimizer remembers, its moments, of some entries of a parameter.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Any; before its first step it remembers nothing.
    p : Tensor
        One of its parameters.
    where : Tensor of bool
        The entries, in the shape of `p`, or of one model's part of it.
    model : int, optional
        Which model, for parameters that are stacked along a leading model axis.
    """
    for kept in optimizer.state.get(p, {}).values():
        if isinstance(kept, Tensor) and kept.shape == p.shape:
            (kept if model is None else kept[model]).masked_fill_(where, 0)


def columns_of(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Return the columns that describe each arm in a table: its label and its settings.

    Parameters
    ----------
    arms : sequence of Arm
        What a table compares.

    Returns
    -------
    list of dict
        One per arm, with the same keys. A setting that an arm lacks is NaN; `variant` is left out
        where it is empty for all arms.
    """
    settings = [arm.settings() for arm in arms]
    names = dict.fromkeys(name for own in settings for name in own)
    used = [n for n in names if n != "variant" or any(own.get(n) for own in settings)]
    return [
        {"arm": arm.label} | {n: math.nan if own.get(n) is None else own[n] for n in used}
        for arm, own in zip(arms, settings, strict=True)
    ]
