"""Arms x seeds one after another, for models that cannot be stacked or are too large for it.

Under ``accelerate launch`` all processes train each of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..removal import Arm
from ..training import fit
from ..training.options import made_with_seed
from ..training.processes import launched

if TYPE_CHECKING:
    import pandas as pd


def fit_each(
    make_model: Callable[[], nn.Module],
    data: Any,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    *,
    checkpoints: Path | None = None,
    **settings: Any,
) -> tuple[pd.DataFrame, dict[tuple[str, int], nn.Module]]:
    """Train arms x seeds models one by one with `fit`.

    Parameters
    ----------
    make_model : callable
        Returns a new model; called under the run's seed, so arms of a seed start alike.
    data
        As in `fit`.
    arms : sequence of Arm
        What to compare.
    seeds : sequence of int
        A seed sets initial values, batches and ``theta_0``.
    checkpoints : Path, optional
        A folder with one file an arm and seed; runs that are there are not run again.
    **settings
        Other arguments of `fit`.

    Returns
    -------
    pandas.DataFrame
        The tables of all runs, in the form of that of `fit_many`.
    dict
        The trained models by (arm's name, seed).
    """
    import pandas as pd

    tables, models = [], {}
    settings["accelerator"] = launched()
    for arm in arms:
        for seed in seeds:
            model = made_with_seed(make_model, seed)
            file = None if checkpoints is None else checkpoints / f"{arm.name}, seed {seed}.pt"
            # What a model draws in training (dropout) must not depend on the runs before it.
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                tables.append(fit(model, data, arm, seed=seed, checkpoint=file, **settings))
            models[arm.name, seed] = model
    return pd.concat(tables, ignore_index=True), models
