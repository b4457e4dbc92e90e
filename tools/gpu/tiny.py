"""The small trainings that the checks of the smoke test share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import syre_helpers as sh
from syre_helpers import arms
from syre_helpers.training import Moment

STEPS = 12
ARMS = (
    arms.plain_decay(0.05),
    arms.syre(0.05, 0.3, sigma_D=0.2),
    arms.weight_fix(0.3, 0.05),
    arms.shrink_and_perturb(0.2, 0.1, 5, 0.05),
    arms.resampled_bias(0.05, 0.3, every=3),
)


def net(seed: int = 0) -> nn.Sequential:
    """Return a network of two kinds of layers, float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Tanh(), nn.Linear(16, 8), nn.Linear(8, 2)]
        return nn.Sequential(*layers).double()


def images(device: str) -> tuple[Tensor, Tensor]:
    """Return grey images and two classes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, 4, 4, generator=generator, dtype=torch.float64)
    return x.to(device), (x.mean((1, 2, 3)) > 0).long().to(device)


def sgd(params: Any) -> torch.optim.Optimizer:
    """Return gradient descent with momentum."""
    return torch.optim.SGD(params, lr=0.05, momentum=0.9)


def adamw(params: Any, **how: Any) -> torch.optim.Optimizer:
    """Return AdamW without decay of its own."""
    return torch.optim.AdamW(params, **{"lr": 0.01, "weight_decay": 0.0} | how)


def trained(
    device: str,
    make: Callable[[Any], torch.optim.Optimizer],
    prepare: Callable[[torch.optim.Optimizer, nn.Module], object],
) -> list[Tensor]:
    """Return the parameters of a network after some steps."""
    model = net().to(device)
    optimizer = make(model.parameters())
    prepare(optimizer, model)
    x, y = images(device)
    for _ in range(STEPS):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return [p.detach().cpu() for p in model.parameters()]


def assert_close(these: Sequence[Tensor], those: Sequence[Tensor]) -> None:
    """See that two lists of float64 tensors are the same to rounding."""
    for a, b in zip(these, those, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def many(device: str, **changes: Any) -> tuple[Any, list[Tensor]]:
    """Return the table and the parameters of several arms and seeds, trained as one."""
    settings: dict[str, Any] = {
        "steps": STEPS,
        "loss": functional.cross_entropy,
        "optimizer": sgd,
        "schedule": lambda step: 0.98**step,
        "batch_size": 16,
        "compile": False,
    }
    x, y = images("cpu")
    table, found = sh.train_many(
        net, (x, y, x, y), ARMS, range(2), device=device, **settings | changes
    )
    return table, [p.cpu() for own in found.values() for p in own.values()]


def fitted(device: str, **changes: Any) -> list[Tensor]:
    """Return the parameters of a network after `fit`."""
    settings: dict[str, Any] = {
        "steps": STEPS,
        "loss": functional.cross_entropy,
        "optimizer": sgd,
        "batch_size": 16,
    }
    model = net()
    arm = arms.syre(0.05, 0.3, sigma_D=0.2)
    sh.fit(model, images("cpu"), arm, device=device, **settings | changes)
    return [p.detach().cpu() for p in model.parameters()]


@contextmanager
def no_waiting(device: str) -> Iterator[None]:
    """Let what waits for a GPU raise an error; on a CPU there is nothing to wait for."""
    if device == "cpu":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def watched(device: str, first: int, last: int) -> Callable[[Moment], None]:
    """Return a callback under which no step from one to another may wait for a GPU."""

    def watch(moment: Moment) -> None:
        if device != "cpu" and moment.rows is None and moment.step in (first, last):
            torch.cuda.set_sync_debug_mode("error" if moment.step == first else "default")

    return watch
