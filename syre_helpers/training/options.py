"""What `fit` and `fit_many` have in common: arguments, progress, and when to measure."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..removal import Arm

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


def make_checked_optimizer(make: MakeOptimizer, params: list[Tensor]) -> Optimizer:
    """Make the optimizer and see that it is one that the arms can work with.

    Raises
    ------
    ValueError
        If it is not element-wise, or decays by itself.
    """
    optimizer = make(params)
    if not isinstance(optimizer, ELEMENTWISE):
        names = ", ".join(kind.__name__ for kind in ELEMENTWISE)
        raise ValueError(
            f"optimizer {type(optimizer).__name__} is not known to treat each element by itself; "
            f"use one of {names}"
        )
    for group in optimizer.param_groups:
        if group.get("weight_decay", 0) != 0:
            raise ValueError(
                f"the optimizer has weight_decay={group['weight_decay']!r}; make it with "
                "weight_decay=0, the arms bring the decay"
            )
    return optimizer


def set_rate(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of the coming step."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def measuring_steps(steps: int, log_every: int | Sequence[int] | None) -> set[int]:
    """Return after which steps to measure; always before the first and after the last.

    Raises
    ------
    ValueError
        If `steps` or `log_every` is out of range.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    if log_every is None:
        return {0, steps}
    if isinstance(log_every, int):
        if log_every < 1:
            raise ValueError(f"log_every={log_every} must be at least 1 step")
        return {*range(0, steps, log_every), steps}
    outside = [s for s in log_every if not 0 <= s <= steps]
    if outside:
        raise ValueError(f"log_every holds steps outside 0 to {steps}: {outside[:3]}")
    return {0, *log_every, steps}


Listener = Callable[[int, int], None]
"""``listener(done, total)`` is told before each step, and may end the training by an exception."""
_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell a listener of all training inside the ``with`` block, in place of showing a bar."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def progress(steps: range, label: str) -> Iterable[int]:
    """Show a plain bar on stderr that vanishes; none where ``SYRE_PROGRESS=0``, or a listener."""
    listener = _LISTENER.get()
    if listener is not None:
        return _told(steps, listener)
    from tqdm import tqdm

    hidden = os.environ.get("SYRE_PROGRESS", "1") == "0"
    return tqdm(steps, desc=label, leave=False, file=sys.stderr, disable=hidden, mininterval=0.5)


def _told(steps: range, listener: Listener) -> Iterator[int]:
    for done, step in enumerate(steps):
        listener(done, len(steps))
        yield step


def made_with_seed(make_model: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Call `make_model` under a seed, leaving the caller's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make_model()
    if not isinstance(model, nn.Module):
        raise TypeError(f"make_model must return an nn.Module, got {type(model).__name__}")
    return model


def due(every: int, step: int) -> bool:
    """Test whether what happens every `every` steps happens at this one; never at step 0."""
    return every > 0 and step > 0 and step % every == 0


def last_due(every: int, step: int) -> int:
    """Return the last step, up to this one, at which it was due; 0 where there was none."""
    return step - step % every if every else 0


def columns_of(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """Return the columns that describe each arm in a table: its label and its settings.

    A setting that an arm lacks is NaN; `variant` is left out where it is empty for all arms.
    """
    settings = [arm.settings() for arm in arms]
    names = dict.fromkeys(name for own in settings for name in own)
    used = [n for n in names if n != "variant" or any(own.get(n) for own in settings)]
    return [
        {"arm": arm.label} | {n: math.nan if own.get(n) is None else own[n] for n in used}
        for arm, own in zip(arms, settings, strict=True)
    ]
