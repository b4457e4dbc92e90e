"""Training on one task after another, each seed on tasks of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from ..measures import dead_fraction, effective_rank
from ..removal import Arm
from ..training import fit_many
from ..training.options import made_with_seed
from ._common import file_in, optimizer
from ._images import accuracy
from ._plasticity_arms import LayerNorm
from ._tasks import Config, Stream, hidden_layers, make_network

LATE = 5
"""The score of a run is its mean accuracy over this many tasks at the end."""
Compared = Callable[[Stream], Sequence[Arm]]
"""The arms to train, given the tasks of their seed."""


def train(
    config: Config,
    compared: Compared,
    seeds: Sequence[int],
    lr: float | None = None,
    checkpoints: Path | None = None,
    name: str = "run",
) -> pd.DataFrame:
    """Train given arms, each seed on tasks of its own.

    Parameters
    ----------
    config : Config
        The settings; those of the arms and the number of seeds do not count.
    compared : callable
        ``compared(stream)`` returns the arms to train on a stream of tasks.
    seeds : sequence of int
        A seed sets tasks, batches, initial weights and the arms' random numbers.
    lr : float, optional
        Default: that of `config`.
    checkpoints : Path, optional
        A folder to keep the state in, and to go on from.
    name : str
        What the files in it begin with. Default "run".

    Returns
    -------
    pandas.DataFrame
        As `run` returns it.
    """
    tables = []
    for seed in seeds:
        stream = Stream(config, seed)
        for normed in (False, True):
            own = [arm for arm in compared(stream) if isinstance(arm, LayerNorm) == normed]
            if own:
                file = file_in(checkpoints, f"{name}, seed {seed}{', normed' * normed}.pt")
                tables.append(_train_alike(config, stream, own, seed, lr, normed, file))
    return pd.concat(tables, ignore_index=True)


def _train_alike(
    config: Config,
    stream: Stream,
    compared: Sequence[Arm],
    seed: int,
    lr: float | None,
    normed: bool,
    file: Path | None,
) -> pd.DataFrame:
    """Train arms that share a network and a seed."""
    model = made_with_seed(lambda: make_network(config, normed), 0)

    def hidden(params: Mapping[str, Tensor]) -> list[Tensor]:
        outputs = hidden_layers(model, params, stream.x_test[:256])
        # A channel of a convolution is a unit that is active where any of its pixels is.
        return [h.flatten(2).mean(2) if h.ndim > 2 else h for h in outputs]

    table = fit_many(
        lambda: make_network(config, normed),
        stream,
        compared,
        [seed],
        steps=config.tasks * config.steps,
        loss=torch.nn.functional.cross_entropy,
        optimizer=optimizer(config.optimizer, config.lr if lr is None else lr, config.momentum),
        coupled=config.optimizer == "sgd",
        measures={
            # Of the task that the stream has reached.
            "accuracy": lambda p, predict: accuracy(stream.x_test, stream.y_test)(p, predict),
            "dead": lambda p, _: torch.stack([dead_fraction(h, 0) for h in hidden(p)]).mean(),
            # A network that has diverged has no features left; the others go on.
            "rank": lambda p, _: effective_rank(hidden(p)[-1].nan_to_num(0.0, 0.0, 0.0)),
            "norm": lambda p, _: torch.stack([v.square().sum() for v in p.values()]).sum().sqrt(),
        },
        log_every=config.steps,
        device=config.device,
        checkpoint=file,
        checkpoint_every=config.steps,
    )
    table = table[table.step > 0].reset_index(drop=True)
    table["task"] = table.step // config.steps
    run_columns = list(table.columns[: table.columns.get_loc("step")])
    runs = table.groupby(run_columns, sort=False, dropna=False)
    table["score"] = runs.accuracy.transform(lambda a: a.rolling(LATE, min_periods=1).mean())
    table["retained_rank"] = table["rank"] / runs["rank"].cummax()
    return table
