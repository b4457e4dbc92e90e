"""Arms x seeds one after another, for models that cannot be stacked or are too large for it.

Under ``accelerate launch`` all processes train each of them together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..removal import Arm
from ..training import fit
from ..training.options import columns_of, made_with_seed
from ..training.processes import launched
from ._common import file_in

if TYPE_CHECKING:
    import pandas as pd


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
            model = made_with_seed(make_model, seed)
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
