"""Many models trained as one: every arm and every seed of a comparison, stacked along an axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from ..removal import Arm, Pull, stack_pulls, write_pull
from .batches import BatchOrder, Data, Pair, checked_pairs
from .checkpoint import Checkpoint
from .options import (
    MakeOptimizer,
    Measure,
    Schedule,
    made_with_seed,
    make_checked_optimizer,
    measuring_steps,
    progress,
    set_rate,
)

if TYPE_CHECKING:
    import pandas as pd

Stacked = dict[str, Tensor]
Trained = dict[tuple[str, int], dict[str, Tensor]]
_SAMPLES_AT_ONCE = 300_000


@overload
def fit_many(
    make_model: Callable[[], nn.Module],
    data: Data,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    *,
    steps: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: MakeOptimizer,
    schedule: Schedule | None = ...,
    coupled: bool = ...,
    batch_size: int | None = ...,
    measures: Mapping[str, Measure] | None = ...,
    log_every: int | Sequence[int] | None = ...,
    device: torch.device | str = ...,
    checkpoint: str | Path | None = ...,
    checkpoint_every: int = ...,
    return_params: Literal[False] = ...,
) -> pd.DataFrame: ...


@overload
def fit_many(
    make_model: Callable[[], nn.Module],
    data: Data,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    *,
    steps: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: MakeOptimizer,
    schedule: Schedule | None = ...,
    coupled: bool = ...,
    batch_size: int | None = ...,
    measures: Mapping[str, Measure] | None = ...,
    log_every: int | Sequence[int] | None = ...,
    device: torch.device | str = ...,
    checkpoint: str | Path | None = ...,
    checkpoint_every: int = ...,
    return_params: Literal[True],
) -> tuple[pd.DataFrame, Trained]: ...


def fit_many(
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
    return_params: bool = False,
) -> pd.DataFrame | tuple[pd.DataFrame, Trained]:
    """Train arms x seeds models together and measure them along the way.

    All arms of a seed start from the same initial values and see the same batches, so they may be
    compared pair by pair.

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
        What to compare, from ``syre_helpers.arms``; their names must differ.
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
    return_params : bool
        Also return the trained parameters, as they are before an arm's ``finish`` changes what the
        last measurement sees. Default False.

    Returns
    -------
    pandas.DataFrame
        One row an arm, seed and step: columns ``arm``, ``seed``, ``step``, ``train_loss``,
        ``test_loss`` (if there is test data) and the measures.
    dict
        With ``return_params=True``: ``params[arm, seed]`` is a mapping of names to tensors on the
        CPU.

    Raises
    ------
    ValueError
        If an argument is out of range, arms share a name, data are empty or hold NaN, a model
        cannot be stacked, or the checkpoint belongs to another run.

    Examples
    --------
    >>> import torch
    >>> from syre_helpers.removal import arms
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
    import pandas as pd

    arms, seeds = _checked_arms(arms), _checked_seeds(seeds)
    logged = measuring_steps(steps, log_every)
    fleet = _launch(make_model, arms, seeds, torch.device(device))
    params = fleet.params
    source = _Source(data, fleet, seeds, batch_size)
    evaluate = _Evaluation(fleet.template, loss, source, measures or {})
    step_optimizer = make_checked_optimizer(optimizer, list(params.values()))
    rate = float(step_optimizer.param_groups[0]["lr"])
    gradient = _Gradient(fleet.template, loss, source.axis)
    kept = Checkpoint(checkpoint, checkpoint_every, fleet.identity(step_optimizer))
    state = kept.load(torch.device(device))
    if state is None:
        first, rows = 0, [(0, evaluate(params, 0))]
    else:
        first, rows = state["step"], state["rows"]
        fleet.restore(state["params"], first)
        step_optimizer.load_state_dict(state["optimizer"])
    for step in progress(range(first, steps), "training"):
        if schedule is not None:
            set_rate(step_optimizer, rate * schedule(step))
        fleet.refresh(step)
        x, y = source.batch(step)
        gradients = gradient(params, x, y)
        _apply(params, gradients, fleet.pull, step_optimizer, coupled)
        fleet.events(step + 1)
        if step + 1 in logged and step + 1 < steps:
            rows.append((step + 1, evaluate(params, step)))
        if kept.due(step + 1) and step + 1 < steps:
            kept.save(_state(step + 1, rows, params, step_optimizer))
    trained = {name: p.clone() for name, p in params.items()}
    if rows[-1][0] < steps:
        fleet.finish()
        rows.append((steps, evaluate(params, steps - 1)))
        kept.save(_state(steps, rows, trained, step_optimizer))
    table = pd.concat(
        [
            pd.DataFrame({"arm": fleet.arm_names, "seed": fleet.seed_of, "step": at, **columns})
            for at, columns in rows
        ],
        ignore_index=True,
    )
    if not return_params:
        return table
    keys = zip(fleet.arm_names, fleet.seed_of, strict=True)
    return table, {key: {n: p[k].cpu() for n, p in trained.items()} for k, key in enumerate(keys)}


def _call(model: nn.Module, params: Mapping[str, Tensor], x: Tensor | None) -> Tensor:
    output: Tensor = functional_call(model, dict(params), () if x is None else (x,))
    return output


def _state(
    step: int,
    rows: list[tuple[int, dict[str, list[float]]]],
    params: Stacked,
    optimizer: torch.optim.Optimizer,
) -> dict[str, Any]:
    return {"step": step, "rows": rows, "params": params, "optimizer": optimizer.state_dict()}


@torch.no_grad()
def _apply(
    params: Stacked,
    gradients: Stacked,
    pull: Pull,
    optimizer: torch.optim.Optimizer,
    coupled: bool,
) -> None:
    """Take one step of all models: pull and optimizer, on the stacked parameters."""
    lr = float(optimizer.param_groups[0]["lr"])
    for name, p in params.items():
        if coupled:
            p.grad = pull.coupled(name, p, gradients[name])
        else:
            p.grad = pull.masked(name, gradients[name])
            pull.decoupled_(name, p, lr)
    optimizer.step()


@dataclass
class _Fleet:
    """All models of a comparison: arm by arm, and within an arm seed by seed."""

    template: nn.Module
    arms: Sequence[Arm]
    seeds: Sequence[int]
    initial: list[dict[str, Tensor]]
    params: Stacked
    pull: Pull

    @property
    def arm_names(self) -> list[str]:
        return [arm.name for arm in self.arms for _ in self.seeds]

    @property
    def seed_of(self) -> list[int]:
        return [seed for _ in self.arms for seed in self.seeds]

    def refresh(self, step: int) -> None:
        """Ask those arms again whose pull changes with time."""
        for a, arm in enumerate(self.arms):
            if arm.refresh and step and step % arm.refresh == 0:
                self._ask_again(a, step)

    def _ask_again(self, a: int, step: int) -> None:
        for s, seed in enumerate(self.seeds):
            pull = self.arms[a].pull(self.initial[s], seed, step)
            write_pull(self.pull, a * len(self.seeds) + s, pull)

    def identity(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return what tells this comparison from others."""
        return {
            "arms": [arm.name for arm in self.arms],
            "seeds": list(self.seeds),
            "optimizer": type(optimizer).__name__,
            "shapes": {name: list(p.shape) for name, p in self.params.items()},
        }

    @torch.no_grad()
    def restore(self, params: Stacked, step: int) -> None:
        """Go back to the parameters and pulls that there were after so many steps."""
        for name, p in self.params.items():
            p.copy_(params[name])
        for a, arm in enumerate(self.arms):
            # A pull depends on the initial parameters and the step of its last refresh only.
            last = step - step % arm.refresh if arm.refresh else 0
            if last:
                self._ask_again(a, last)

    def events(self, step: int) -> None:
        """Let arms change their parameters between steps."""
        for a, arm in enumerate(self.arms):
            if arm.event is not None and arm.every and step % arm.every == 0:
                self._rewrite(a, arm.event, step)

    def finish(self) -> None:
        """Let arms change what the last measurement sees."""
        for a, arm in enumerate(self.arms):
            if arm.finish is not None:
                self._rewrite(a, arm.finish)

    @torch.no_grad()
    def _rewrite(
        self, a: int, change: Callable[..., Mapping[str, Tensor]], *arguments: int
    ) -> None:
        for s, seed in enumerate(self.seeds):
            k = a * len(self.seeds) + s
            own = {name: p[k].clone() for name, p in self.params.items()}
            for name, value in change(own, seed, *arguments).items():
                self.params[name][k] = value


@torch.no_grad()
def _launch(
    make_model: Callable[[], nn.Module],
    arms: Sequence[Arm],
    seeds: Sequence[int],
    device: torch.device,
) -> _Fleet:
    models = [made_with_seed(make_model, seed).to(device) for seed in seeds]
    template = models[0]
    buffers = [name for name, _ in template.named_buffers()]
    if buffers:
        raise ValueError(
            f"the model has buffers {buffers[:3]}, which stacked models cannot update; use fit for "
            "models with running statistics, or norms with track_running_stats=False"
        )
    initial = [{n: p.detach().clone() for n, p in m.named_parameters()} for m in models]
    shapes = [{n: p.shape for n, p in params.items()} for params in initial]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("make_model returns models of different shapes; all seeds must agree")
    started = [
        arm.start(initial[s], seed) if arm.start else initial[s]
        for arm in arms
        for s, seed in enumerate(seeds)
    ]
    params = {n: torch.stack([p[n] for p in started]) for n in initial[0]}
    pulls = [arm.pull(initial[s], seed, 0) for arm in arms for s, seed in enumerate(seeds)]
    return _Fleet(template, arms, seeds, initial, params, stack_pulls(pulls, params))


class _Source:
    """The batches of all models: one batch a seed, shared by the arms."""

    def __init__(
        self, data: Data, fleet: _Fleet, seeds: Sequence[int], batch_size: int | None
    ) -> None:
        reference = next(iter(fleet.params.values()))
        self._function = data if callable(data) else None
        self._n_arms = len(fleet.arms)
        self.train: Pair | None = None
        self.test: Pair | None = None
        if not callable(data):
            self.train, self.test = checked_pairs(data, reference.dtype, reference.device)
        if batch_size is not None and (self.train is None or self.train[0] is None):
            raise ValueError("batch_size needs data with inputs: (x, y), not a function or x=None")
        self._orders = (
            [BatchOrder(len(self.train[1]), batch_size, seed) for seed in seeds]
            if batch_size is not None and self.train is not None
            else None
        )

    @property
    def axis(self) -> int | None:
        """The model axis of batches; None where all models see the same one."""
        return None if self._orders is None else 0

    def batch(self, step: int) -> Pair:
        """Return the batch of a step; with a leading model axis where batches are drawn."""
        if self._function is not None:
            return self._function(step)
        assert self.train is not None
        x, y = self.train
        if self._orders is None:
            return x, y
        index = torch.stack([order.at(step) for order in self._orders]).to(y.device)
        assert x is not None
        return self._for_arms(x[index]), self._for_arms(y[index])

    def _for_arms(self, per_seed: Tensor) -> Tensor:
        """Repeat (seeds, ...) for every arm: (arms * seeds, ...)."""
        return per_seed.expand(self._n_arms, *per_seed.shape).flatten(0, 1)


class _Gradient:
    """The gradients of all models, recorded once as a plain graph of tensor operations.

    ``vmap`` and ``grad`` decide anew at every call which operations to run, which costs more than
    running them where models are small; the recorded graph runs the same ones.
    """

    def __init__(
        self,
        template: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        axis: int | None,
    ) -> None:
        self._axis = axis
        self._one = grad(lambda p, x, y: loss(_call(template, p, x), y))
        self._recorded: dict[object, Callable[[Stacked, Tensor | None, Tensor], Stacked]] = {}

    def __call__(self, params: Stacked, x: Tensor | None, y: Tensor) -> Stacked:
        key = (None if x is None else (x.shape, x.dtype), y.shape, y.dtype)
        if key not in self._recorded:
            # An input that is None has no axis.
            axes = (0, None if x is None else self._axis, self._axis)
            stacked = vmap(self._one, in_dims=axes, randomness="different")
            self._recorded[key] = make_fx(stacked)(params, x, y)
        return self._recorded[key](params, x, y)


class _Evaluation:
    """Losses and measures of all models as columns of numbers."""

    def __init__(
        self,
        template: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        source: _Source,
        measures: Mapping[str, Measure],
    ) -> None:
        self._template = template
        self._loss = loss
        self._source = source
        self._measures = measures
        pairs = [pair for pair in (source.train, source.test) if pair is not None]
        samples = max((len(y) for _, y in pairs), default=1)
        # A chunk of models at a time, so that large data sets do not need memory for all of them.
        self._chunk = max(1, _SAMPLES_AT_ONCE // samples)

    @torch.no_grad()
    def __call__(self, params: Stacked, step: int) -> dict[str, list[float]]:
        """Measure all models; `step` is the one whose data count where data are a function."""
        source = self._source
        train = source.train if source.train is not None else source.batch(step)
        pairs = {"train_loss": train, "test_loss": source.test}
        columns: dict[str, Callable[[Stacked], Tensor]] = {
            name: self._loss_on(pair) for name, pair in pairs.items() if pair is not None
        }
        columns |= {name: self._measured(measure) for name, measure in self._measures.items()}
        return {
            name: vmap(function, randomness="different", chunk_size=self._chunk)(params)
            .double()
            .tolist()
            for name, function in columns.items()
        }

    def _loss_on(self, pair: Pair) -> Callable[[Stacked], Tensor]:
        x, y = pair
        return lambda params: self._loss(_call(self._template, params, x), y)

    def _measured(self, measure: Measure) -> Callable[[Stacked], Tensor]:
        template = self._template
        return lambda params: measure(params, lambda x=None: _call(template, params, x))


def _checked_arms(arms: Sequence[Arm]) -> Sequence[Arm]:
    arms = list(arms)
    names = [arm.name for arm in arms]
    if not arms or len(set(names)) < len(names):
        raise ValueError(
            f"arms must be at least one, with different names, got {names}; see Arm.renamed"
        )
    return arms


def _checked_seeds(seeds: Sequence[int]) -> Sequence[int]:
    seeds = list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be at least one, all different, got {seeds}")
    return seeds
