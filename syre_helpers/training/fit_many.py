"""Many models trained as one: every arm and every seed of a comparison, stacked along an axis."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from .._checks import check_int
from ..removal import Arm
from .batches import Batches, Data
from .callbacks import Callback
from .checkpoint import Checkpoint, RandomState
from .device import existing_device
from .evaluation import joined, table_of
from .identity import identity
from .options import MakeOptimizer, Measure, Options, Schedule
from .stacked.compile import decide
from .stacked.ensemble import build, check_buffers
from .stacked.micro_ensembles import Training

if TYPE_CHECKING:
    import pandas as pd

Trained = dict[tuple[Arm, int], dict[str, Tensor]]
P = ParamSpec("P")
T = TypeVar("T")


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
    callbacks: Sequence[Callback] = (),
) -> tuple[pd.DataFrame, Trained]:
    """Train arms x seeds models together and measure them along the way.

    All arms of a seed start from the same initial values and see the same batches, so they may be
    compared pair by pair. Models train in as few groups as the free memory allows, and in smaller
    ones where it runs out all the same; what comes out does not depend on that, to rounding.
    Dropout draws from PyTorch's global generator, which the caller seeds (``torch.manual_seed``);
    all else comes from `seeds` alone.

    Parameters
    ----------
    make_model : callable
        Returns a new model; called once per seed, under that seed. All must have the same shapes
        and no buffers that training changes (no BatchNorm with running statistics: use `fit`).
        Parameters that need no gradient stay as they are.
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
        call resumes; the outcome is that of an uninterrupted run. It must be the same call: arms,
        seeds, models as they are made, data, loss, optimizer and schedule, `steps`, `coupled`,
        `batch_size`, the steps that are logged, and the names of measures. A file of another run,
        or a damaged one, is refused. Other are allowed to be: `checkpoint_every`, `device`,
        `compile`, `callbacks`.
    checkpoint_every : int
        Default 1000.
    compile : bool, optional
        Whether to make one compiled program of the whole step. That takes some 10 to 40 seconds at
        first, and changes results by rounding only. Default: where there is a compiler, for runs
        long enough to repay it; one line on stderr says so. Possible with SGD, Adam and AdamW. What
        cannot be compiled trains without, and one line says why.
    callbacks : sequence of callable, optional
        Each is called with a `Moment` before each step and after each measurement: the number of
        steps taken, the parameters, and what was measured. It ends the run by raising an exception.

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
    OSError
        If a write of the checkpoint fails during training, as on a full disk.
    TypeError
        If an argument is of a wrong type.
    ValueError
        If an argument is out of range, two arms are the same, data are empty or hold NaN, a model
        cannot be stacked, or the checkpoint is damaged, belongs to another run or cannot be
        written.

    Warns
    -----
    RuntimeWarning
        If a model diverges. Its own rows hold NaN from there, those of the others do not change.

    Examples
    --------
    >>> import torch
    >>> from syre_helpers import arms, fit_many
    >>> x = torch.linspace(-1, 1, 16).reshape(-1, 1)
    >>> table = fit_many(
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
    make: object = make_model
    if isinstance(make, nn.Module) or not callable(make):
        name = type(make).__name__
        raise TypeError(f"make_model is a {name}; pass a function that returns a new nn.Module")
    options = Options(
        _distinct("arms", arms), steps, loss, optimizer, schedule, coupled, measures or {},
        log_every, callbacks,
    )  # fmt: skip
    seeds = tuple(check_int("seeds", seed) for seed in _distinct("seeds", seeds))
    where = existing_device("device", device)
    model, runs = build(make_model, options.arms, seeds, where)
    params = [p for p in model.parameters() if p.requires_grad]
    batches = Batches(data, params[0], batch_size)
    check_buffers(model, batches.of(seeds)(0).of_first()[0])
    kind = options.make_optimizer([p.detach() for p in params])
    elements = len(runs) * sum(p.numel() for p in params)
    decision = decide(compile, options.steps, elements, kind, where)
    starts = [run.initial for run in runs[: len(seeds)]]
    kept = Checkpoint(
        checkpoint,
        checkpoint_every,
        lambda: identity("fit_many", options, seeds, kind, batches, starts),
    )
    decision.announce()
    groups = Training(model, options, batches, decision, kept, RandomState(where)).all(runs)
    table = table_of(runs, joined([group.rows for group in groups]))
    names = [name for name, _ in model.named_parameters()]
    trained = [
        {name: group.params[name][k] for name in names}
        for group in groups
        for k in range(group.models)
    ]
    return table, {(run.arm, run.seed): own for run, own in zip(runs, trained, strict=True)}


def _table_only(train: Callable[P, tuple[pd.DataFrame, Trained]]) -> Callable[P, pd.DataFrame]:
    """Return a function of the same arguments that returns the table and no parameters."""

    @functools.wraps(train)
    def fit_many(*args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
        return train(*args, **kwargs)[0]

    fit_many.__name__ = fit_many.__qualname__ = "fit_many"
    signature = inspect.signature(train).replace(return_annotation="pd.DataFrame")
    fit_many.__signature__ = signature  # type: ignore[attr-defined]
    fit_many.__doc__ = re.sub(r" {4}dict of \(Arm.*?\n\n", "\n", train.__doc__ or "", flags=re.S)
    return fit_many


fit_many = _table_only(train_many)


def _distinct(argument: str, values: Iterable[T]) -> tuple[T, ...]:
    if not isinstance(values, Iterable):
        raise TypeError(f"{argument}={values!r} must be several, in a list")
    values = tuple(values)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{argument} must be at least one, all different, got {list(values)}")
    return values
