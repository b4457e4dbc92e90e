"""Many models trained as one: every arm and every seed of a comparison, stacked along an axis."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import torch
from torch import Tensor, nn

from ..removal import Arm
from .batches import Data, Source
from .checkpoint import Checkpoint
from .chunks import Training
from .compiling import choose
from .fleet import Member, enlist
from .options import (
    MakeOptimizer,
    Measure,
    Schedule,
    columns_of,
    make_checked_optimizer,
    measuring_steps,
)

if TYPE_CHECKING:
    import pandas as pd

P = ParamSpec("P")
Parameters = dict[tuple[Arm, int], dict[str, Tensor]]


def train_many(
    make_model: Callable[[], nn.Module],
    data: Data,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    *,
    steps: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: MakeOptimizer,
    schedule: Schedule | None = None,
    coupled: bool = True,
    batch_size: int | None = None,
    measures: Mapping[str, Measure] | None = None,
    log_every: int | Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    compile: bool | None = None,
) -> tuple[pd.DataFrame, Parameters]:
    """Train arms x seeds models together and measure them along the way.

    All arms of a seed start from the same initial values and see the same batches, so they may be
    compared pair by pair. Models train in as few chunks as the free memory allows, and in smaller
    ones where it runs out all the same; what comes out does not depend on that, to rounding.

    Parameters
    ----------
    make_model : callable
        Returns a new model; called once a seed, under that seed. All must have the same shapes and
        no buffers that training changes (no BatchNorm with running statistics: use `fit`).
    data : tuple or callable
        ``(x, y)``, or ``(x_train, y_train, x_test, y_test)``, or a function of the step, counted
        from 0, that returns the ``(x, y)`` of that step for all models. ``x=None`` for models
        without input.
    arms : sequence of Arm
        What to compare, from ``syre_helpers.arms``; all different.
    seeds : sequence of int
        A seed sets initial values, batches and ``theta_0``.
    steps : int
        Number of steps.
    loss : callable
        ``loss(output, y)`` returns a scalar tensor, such as ``torch.nn.functional.mse_loss``.
    optimizer : callable
        ``optimizer(list_of_tensors)`` returns an element-wise ``torch.optim`` optimizer without
        weight decay, such as ``lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)``.
    schedule : callable, optional
        ``schedule(step)`` is the factor of the learning rate at a step, counted from 0. Default:
        always 1.
    coupled : bool
        True (default): the pull enters the gradient, before momentum, as in the paper's loss.
        False: it is a step of its own, as AdamW decays. With momentum 0.9 the latter is about ten
        times weaker at the same number.
    batch_size : int, optional
        Default: all samples at every step.
    measures : mapping of str to callable, optional
        More columns: ``measure(params, predict)`` returns a scalar tensor for one model, where
        ``predict(x)`` is its output. Runs under ``torch.func.vmap``.
    log_every : int or sequence of int, optional
        Measure after every so many steps, or after these; always at step 0 and at the end. Default:
        only then.
    device : torch.device or str
        Where to train. Default "cpu".
    checkpoint : path, optional
        A file that is written every `checkpoint_every` steps and at the end, and from which a later
        call with the same arguments resumes; the outcome is that of an uninterrupted run.
    checkpoint_every : int
        Default 1000.
    compile : bool, optional
        Whether to make one compiled program of the whole step. That takes some 10 to 40 seconds at
        first, and changes results by rounding only. Default: where there is a compiler, for runs
        long enough to repay it; one line on stderr says so. Possible with SGD, Adam and AdamW. What
        cannot be compiled trains without, and one line says why.

    Returns
    -------
    pandas.DataFrame
        One row per arm, seed and step: ``arm`` (the label), the arms' settings, ``seed``, ``step``,
        ``train_loss``, ``test_loss`` (if there is test data) and the measures.
    dict of (Arm, int) to dict of str to Tensor
        ``params[arm, seed]``: the trained parameters by name, on the CPU, as they are before an
        arm's ``finish`` changes what the last measurement sees.

    Raises
    ------
    ValueError
        If an argument is out of range, two arms are the same, data are empty or hold NaN, a model
        cannot be stacked, or the checkpoint belongs to another run.

    Examples
    --------
    >>> import torch
    >>> from syre_helpers.removal import arms
    >>> x = torch.linspace(-1, 1, 16).reshape(-1, 1)
    >>> table, params = train_many(
    ...     lambda: torch.nn.Linear(1, 1),
    ...     (x, 3 * x),
    ...     [arms.vanilla(), arms.plain_decay(0.1)],
    ...     range(8),
    ...     steps=100,
    ...     loss=torch.nn.functional.mse_loss,
    ...     optimizer=lambda p: torch.optim.SGD(p, lr=0.5),
    ... )
    >>> (table[table.step == 100].groupby("arm").train_loss.mean() < 0.1).to_dict()
    {'plain decay': True, 'vanilla': True}
    """
    import pandas as pd

    arms, seeds = _checked_arms(arms), _checked_seeds(seeds)
    logged = measuring_steps(steps, log_every)
    template, members = enlist(make_model, arms, seeds, torch.device(device))
    example = list(members[0].initial.values())
    source = Source(data, example[0], batch_size)
    kind = make_checked_optimizer(optimizer, example)
    elements = len(members) * sum(p.numel() for p in example)
    choice = choose(compile, steps, elements, kind, torch.device(device))
    kept = Checkpoint(checkpoint, checkpoint_every, _identity(arms, seeds, kind, members))
    training = Training(
        template, source, steps, loss, optimizer, schedule, coupled, measures or {}, logged, choice,
        kept,
    )  # fmt: skip
    choice.announce()
    done = training.all(members)
    described = dict(zip(arms, columns_of(arms), strict=True))
    table = pd.concat(
        [
            pd.DataFrame([described[m.arm] for m in members]).assign(
                seed=[m.seed for m in members],
                step=same[0][0],
                **{name: [v for _, row in same for v in row[name]] for name in same[0][1]},
            )
            for same in zip(*(chunk.rows for chunk in done), strict=True)
        ],
        ignore_index=True,
    )
    params = [
        {name: p[k] for name, p in chunk.params.items()}
        for chunk in done
        for k in range(chunk.models)
    ]
    return table, {(m.arm, m.seed): p for m, p in zip(members, params, strict=True)}


def _table_only(train: Callable[P, tuple[pd.DataFrame, Parameters]]) -> Callable[P, pd.DataFrame]:
    @functools.wraps(train)
    def fit_many(*args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
        return train(*args, **kwargs)[0]

    fit_many.__name__ = fit_many.__qualname__ = "fit_many"
    return fit_many


fit_many = _table_only(train_many)


def _identity(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    optimizer: torch.optim.Optimizer,
    members: Sequence[Member],
) -> dict[str, Any]:
    """Return what tells this comparison from others."""
    initial = members[0].initial
    return {
        "arms": [repr(arm) for arm in arms],
        "seeds": list(seeds),
        "optimizer": type(optimizer).__name__,
        "shapes": {name: [len(members), *p.shape] for name, p in initial.items()},
    }


def _checked_arms(arms: Sequence[Arm]) -> Sequence[Arm]:
    arms = list(arms)
    if not arms or len(set(arms)) < len(arms):
        raise ValueError(f"arms must be at least one, all different, got {arms}")
    return arms


def _checked_seeds(seeds: Sequence[int]) -> Sequence[int]:
    seeds = list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be at least one, all different, got {seeds}")
    return seeds
