"""Arms x seeds one after another, for models that cannot be stacked or are too large for it.

Under ``accelerate launch`` all processes train each of them together. `train_arms` is the frame of
experiments that have both kinds of models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..removal import Arm
from ..training import fit, train_many
from ..training.options import columns_of, made_with_seed
from ..training.processes import launched
from ..training.speed import hastened, speed
from ._common import file_in
from ._images import Batch, batches

if TYPE_CHECKING:
    import pandas as pd


def train_arms(
    make_model: Callable[[], nn.Module],
    data: Sequence[Tensor] | Callable[[int, int], Batch],
    arms: Sequence[Arm],
    *,
    one_by_one: bool,
    file: str,
    seeds: Sequence[int],
    batch_size: int | None = None,
    checkpoints: Path | None = None,
    **settings: Any,
) -> tuple[pd.DataFrame, dict[tuple[Arm, int], dict[str, Tensor]]]:
    """Return the table and the trained states of arms x seeds.

    Parameters
    ----------
    make_model : callable
        As for `fit_each`.
    data : sequence of Tensor, or callable
        Training inputs and targets, and those of a test after them; or ``data(step, seed)``, the
        batch of a step, which may depend on the seed.
    arms, seeds : sequence
        What to train.
    one_by_one : bool
        Train with `fit_each`; else with `train_many`, where batches that are a function of the seed
        take one call per seed. What can be stacked is where the `speed` asks for it.
    file : str
        The name of the checkpoint of stacked models.
    batch_size : int, optional
        For data that are tensors.
    checkpoints : Path, optional
        A folder.
    **settings
        Other arguments of `fit` and `train_many`.

    Returns
    -------
    pandas.DataFrame
        As of `fit_many`.
    dict
        Trained parameters and buffers by (arm, seed).
    """
    if not one_by_one or (speed().stacked and not callable(data)):
        make = partial(_stackable, make_model)
        if callable(data):
            return _train_each_seed(make, data, arms, seeds, checkpoints, file, settings)
        settings |= {"batch_size": batch_size, "checkpoint": file_in(checkpoints, file)}
        return train_many(make, tuple(data), arms, seeds, **settings)

    def own(seed: int) -> Callable[[int], Batch]:
        # Batches as a function: the loss on all training data at once would not fit in memory.
        if callable(data):
            return lambda step: data(step, seed)
        return batches(data[0], data[1], batch_size or len(data[1]), seed)

    table, models = fit_each(make_model, own, arms, seeds, checkpoints=checkpoints, **settings)
    return table, {key: model.cpu().state_dict() for key, model in models.items()}


def _train_each_seed(
    make_model: Callable[[], nn.Module],
    data: Callable[[int, int], Batch],
    arms: Sequence[Arm],
    seeds: Sequence[int],
    checkpoints: Path | None,
    file: str,
    settings: dict[str, Any],
) -> tuple[pd.DataFrame, dict[tuple[Arm, int], dict[str, Tensor]]]:
    """Return the table and the states of `train_arms`, with all arms of a seed stacked."""
    import pandas as pd

    tables: list[pd.DataFrame] = []
    trained: dict[tuple[Arm, int], dict[str, Tensor]] = {}
    for seed in seeds:
        own = partial(_batch, data, seed)
        kept = file_in(checkpoints, f"seed {seed}, {file}")
        table, states = train_many(make_model, own, arms, [seed], checkpoint=kept, **settings)
        tables.append(table)
        trained |= states
    return pd.concat(tables, ignore_index=True), trained


def _stackable(make_model: Callable[[], nn.Module]) -> nn.Module:
    return hastened(make_model(), alone=False)


def _batch(data: Callable[[int, int], Batch], seed: int, step: int) -> Batch:
    return data(step, seed)


def fit_each(
    make_model: Callable[[], nn.Module],
    data: Callable[[int], Any],
    arms: Sequence[Arm],
    seeds: Sequence[int],
    *,
    checkpoints: Path | None = None,
    **settings: Any,
) -> tuple[pd.DataFrame, dict[tuple[Arm, int], nn.Module]]:
    """Return the table and the models of arms x seeds, trained one by one with `fit`.

    Parameters
    ----------
    make_model : callable
        Returns a new model; called under the run's seed, so arms of a seed start alike.
    data : callable
        ``data(seed)`` returns the data of a run, as `fit` takes them.
    arms : sequence of Arm
        What to compare.
    seeds : sequence of int
        A seed sets initial values, batches and ``theta_0``.
    checkpoints : Path, optional
        A folder with one file per arm and seed; runs that are there are not run again.
    **settings
        Other arguments of `fit`.

    Returns
    -------
    pandas.DataFrame
        The tables of all runs, in the form of that of `fit_many`, seed by seed.
    dict
        The trained models by (arm, seed).
    """
    import pandas as pd

    tables, models = [], {}
    settings["accelerator"] = launched()
    for seed in seeds:
        own = data(seed)
        for arm, columns in zip(arms, columns_of(arms), strict=True):
            model = hastened(made_with_seed(make_model, seed))
            file = file_in(checkpoints, file_name(arm, seed))
            # What a model draws in training (dropout) must not depend on the runs before it.
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                table = fit(model, own, arm, seed=seed, checkpoint=file, **settings)
            # Each table has the columns of all arms, in one order.
            measured = table.drop(columns=list(columns), errors="ignore")
            tables.append(pd.DataFrame([columns] * len(table)).join(measured))
            models[arm, seed] = model
    return pd.concat(tables, ignore_index=True), models


def file_name(arm: Arm, seed: int) -> str:
    """Return the name of the checkpoint of one run, which no other arm has.

    Parameters
    ----------
    arm : Arm
        Labels of arms may be alike; a checksum of its settings tells them apart.
    seed : int
        The seed of the run.

    Returns
    -------
    str
        The name of a file.
    """
    digest = hashlib.sha256(repr(sorted(arm.settings().items())).encode()).hexdigest()
    return f"{arm.label}, {digest[:8]}, seed {seed}.pt"
