"""The trainings that are killed: one of each kind that keeps checkpoints, all tiny.

Each is a function of the folder that it keeps its checkpoints in, and can be pickled.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor, nn

from syre_helpers import Arm, arms, experiments, fit, train_many
from syre_helpers.training.stacked import micro_ensembles

Pieces = Mapping[str, object]
Run = Callable[[Path], Pieces]

STEPS = 400
_SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
_ADAM = partial(torch.optim.Adam, lr=0.01)
_ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0)
_COMPARED = (arms.vanilla(), arms.plain_decay(0.01), arms.syre(0.01, 0.1))
_WITH_EVENTS = (
    arms.syre(0.01, 0.1),
    arms.shrink_and_perturb(0.4, 0.1, every=35),
    arms.resampled_bias(0.01, 0.1, every=12),
)
_SETTINGS: dict[str, Any] = {
    "steps": STEPS,
    "loss": nn.functional.mse_loss,
    "optimizer": _SGD,
    "batch_size": 10,
    "log_every": 40,
    "checkpoint_every": 5,
}


def cosine(step: int) -> float:
    """Return the factor of the learning rate at a step."""
    return 0.5 + 0.5 * math.cos(math.pi * step / STEPS)


def network(*between: Callable[[], nn.Module]) -> nn.Module:
    """Return a network with modules between its hidden layer and its output."""
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), *(make() for make in between), nn.Linear(8, 1))


_dropout = partial(network, partial(nn.Dropout, 0.3))
_batch_norm = partial(network, partial(nn.BatchNorm1d, 8))


def pieces(table: pd.DataFrame, params: Mapping[str, Tensor] | None = None) -> Pieces:
    """Return the columns of a table, and parameters, by name."""
    columns = {f"column {name}": table[name] for name in table}
    return columns | {f"parameter {name}": value for name, value in (params or {}).items()}


def fit_one(
    folder: Path,
    *,
    arm: Arm = _COMPARED[-1],
    make: Callable[[], nn.Module] = network,
    **changes: Any,
) -> Pieces:
    """Train one model with `fit`, and return the table with all that the model holds."""
    torch.manual_seed(1)
    model = make()
    table = fit(model, _data(), arm, checkpoint=folder / "fit.pt", **_SETTINGS | changes)
    return pieces(table, model.state_dict())


def fit_several(
    folder: Path,
    *,
    compared: Sequence[Arm] = _COMPARED,
    make: Callable[[], nn.Module] = network,
    **changes: Any,
) -> Pieces:
    """Train several models with `train_many`, and return the table and their parameters."""
    settings = _SETTINGS | {"checkpoint": folder / "many.pt", "compile": False} | changes
    table, trained = train_many(make, _data(), compared, range(2), **settings)
    params = {
        f"{name} of {arm.label}, seed {seed}": value
        for (arm, seed), own in trained.items()
        for name, value in own.items()
    }
    return pieces(table, params)


def two_at_a_time(folder: Path) -> Pieces:
    """Train six models as if there were memory for two."""
    with patch.object(micro_ensembles, "models_at_once", lambda *_: 2):
        return fit_several(folder, steps=STEPS // 2)


def experiment(folder: Path, *, name: str, **changes: Any) -> Pieces:
    """Run an experiment."""
    module = experiments.load(name)
    return pieces(module.run(experiments.configure(module, "quick", **changes), folder))


def cells(folder: Path) -> Pieces:
    """Run the four cells of a grid."""
    module = experiments.load("dead_neurons")
    config = experiments.configure(module, "quick", d=8, samples=20, steps=100, seeds=2)
    configs = [
        cell
        for part in experiments.split_seeds(config, 2)
        for cell in experiments.variants(part, weight_decay=[0.001, 0.01])
    ]
    assert len({dataclasses.astuple(cell) for cell in configs}) == 4
    return pieces(experiments.grid(module.run, configs, folder, jobs=1))


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(50, 4, generator=generator)
    return x, x.prod(dim=1, keepdim=True)


RUNS: dict[str, Run] = {
    "fit, SGD": fit_one,
    "fit, Adam": partial(fit_one, optimizer=_ADAM),
    "fit, dropout": partial(fit_one, make=_dropout),
    "fit, BatchNorm": partial(fit_one, make=_batch_norm),
    "fit, schedule": partial(fit_one, schedule=cosine),
    "fit, a bias drawn anew": partial(fit_one, arm=_WITH_EVENTS[2]),
    "fit, events": partial(fit_one, arm=_WITH_EVENTS[1]),
    "train_many, SGD": fit_several,
    "train_many, AdamW, decoupled": partial(fit_several, optimizer=_ADAMW, coupled=False),
    "train_many, dropout": partial(fit_several, make=_dropout),
    "train_many, events": partial(fit_several, compared=_WITH_EVENTS, schedule=cosine),
    "train_many, two at a time": two_at_a_time,
    "dead_neurons": partial(experiment, name="dead_neurons", d=8, samples=20, steps=300, seeds=2),
    "identical_units": partial(
        experiment, name="identical_units", width=8, samples=50, steps=200, seeds=2
    ),
    "mode_connectivity, one by one": partial(
        experiment,
        name="mode_connectivity",
        network="conv",
        widths=(2, 2),
        n_train=64,
        n_test=32,
        batch_size=16,
        sigma_ratios=(0.1,),
        fix_shares=(),
        steps=20,
        points=3,
        seeds=1,
    ),
    "a grid of dead_neurons": cells,
}
