"""One model, one loop: any device, any module, resumable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..removal import Arm, Pull, arms
from .batches import BatchOrder, Data, Pair, checked_pairs
from .checkpoint import Checkpoint
from .options import (
    MakeOptimizer,
    Measure,
    Schedule,
    columns_of,
    due,
    last_due,
    make_checked_optimizer,
    measuring_steps,
    progress,
    set_rate,
)
from .processes import Processes

if TYPE_CHECKING:
    import pandas as pd
    from accelerate import Accelerator


def fit(
    model: nn.Module,
    data: Data,
    arm: Arm | None = None,
    *,
    steps: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: MakeOptimizer,
    seed: int = 0,
    schedule: Schedule | None = None,
    coupled: bool = True,
    batch_size: int | None = None,
    measures: Mapping[str, Measure] | None = None,
    log_every: int | Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    accelerator: Accelerator | None = None,
) -> pd.DataFrame:
    """Train one model in place, with an arm's pull, and measure it along the way.

    The plain form of `fit_many`: the same arm, seed and data give the same numbers there, to
    rounding. Buffers (BatchNorm) and dropout work as in any PyTorch loop.

    Parameters
    ----------
    model : nn.Module
        Trained in place, on `device`.
    data : tuple or callable
        As in `fit_many`.
    arm : Arm, optional
        Default: ``arms.vanilla()``.
    steps : int
        Number of steps in all, those of an earlier, interrupted run included.
    loss : callable
        ``loss(output, y)`` returns a scalar tensor.
    optimizer : callable
        ``optimizer(list_of_parameters)`` returns an element-wise ``torch.optim`` optimizer without
        weight decay.
    seed : int
        Of batches and ``theta_0``. Default 0.
    schedule, coupled, batch_size, measures, log_every
        As in `fit_many`.
    device : torch.device or str
        Where to train. Default "cpu".
    checkpoint : path, optional
        A file that is written every `checkpoint_every` steps and at the end, and from which a later
        call with the same arguments resumes.
    checkpoint_every : int
        Default 1000.
    accelerator : accelerate.Accelerator, optional
        Its device and precision ("bf16": parameters stay float32), and its processes, in which the
        same call trains the same model. Default: this process alone, on `device`.

    Returns
    -------
    pandas.DataFrame
        One row a measured step: ``arm``, ``seed``, ``step``, ``train_loss``, ``test_loss`` (if
        there is test data) and the measures. The same in all processes.

    Raises
    ------
    ValueError
        If an argument is out of range, data are empty or hold NaN, the checkpoint belongs to
        another run or is not there for all processes, or the accelerator was set up for sharding,
        for accumulated gradients or for float16.

    Notes
    -----
    Several processes give the result of one, to rounding: each computes the outputs of its share of
    the samples, with BatchNorm's statistics over all of them; the outputs are gathered, the loss is
    that of all of them, and its gradients are averaged. Dropout is drawn by each process for
    itself, and anything else that mixes samples inside a model sees only a share of them. Each
    process measures all the data; the first one writes the checkpoint, with which any number of
    processes can go on.

    Examples
    --------
    >>> import torch
    >>> x = torch.linspace(-1, 1, 16).reshape(-1, 1)
    >>> model = torch.nn.Linear(1, 1)
    >>> table = fit(
    ...     model,
    ...     (x, 3 * x),
    ...     steps=100,
    ...     loss=torch.nn.functional.mse_loss,
    ...     optimizer=lambda p: torch.optim.SGD(p, lr=0.5),
    ... )
    >>> bool(abs(model.weight.item() - 3) < 1e-3), table.step.tolist()
    (True, [0, 100])
    """
    import pandas as pd

    processes = Processes(accelerator, torch.device(device))
    run = _Run(model, arm or arms.vanilla(), seed, optimizer, schedule, processes)
    logged = measuring_steps(steps, log_every)
    batches = _Batches(data, run, batch_size)
    kept = Checkpoint(checkpoint, checkpoint_every, run.identity())
    state = kept.load(processes.device)
    processes.check_alike(state is not None, f"checkpoint {str(checkpoint)!r}")
    if state is not None:
        run.restore(state)
    else:
        run.begin()
        run.measure(batches, loss, measures or {})
    to_do = range(run.step, steps)
    with processes.joint_statistics(model):
        for step in progress(to_do, "training") if processes.main else to_do:
            run.advance(batches.at(step), loss, coupled)
            if run.step in logged and run.step < steps:
                run.measure(batches, loss, measures or {})
            if kept.due(run.step) and run.step < steps:
                run.keep(kept)
    if run.rows[-1]["step"] < steps:
        with run.finished():
            run.measure(batches, loss, measures or {})
        run.keep(kept)
    return pd.DataFrame(run.rows)


class _Run:
    """A model in training: everything that a checkpoint holds."""

    def __init__(
        self,
        model: nn.Module,
        arm: Arm,
        seed: int,
        optimizer: MakeOptimizer,
        schedule: Schedule | None,
        processes: Processes,
    ) -> None:
        self.model = processes.place(model)
        self.processes = processes
        self.arm = arm
        self.seed = seed
        self.params = dict(model.named_parameters())
        self.initial = {n: p.detach().clone() for n, p in self.params.items()}
        self.optimizer: Optimizer = make_checked_optimizer(optimizer, list(self.params.values()))
        self.rate = float(self.optimizer.param_groups[0]["lr"])
        self.schedule = schedule
        self.pull = Pull()
        self.step = 0
        self.rows: list[dict[str, Any]] = []

    def begin(self) -> None:
        self._write(self.arm.start(self.initial, self.seed))
        self.pull = self.arm.pull(self.initial, self.seed, 0)

    def advance(self, batch: Pair, loss: Callable[[Tensor, Tensor], Tensor], coupled: bool) -> None:
        if due(self.arm.pull_every, self.step):
            self.pull = self.arm.pull(self.initial, self.seed, self.step)
        if self.schedule is not None:
            set_rate(self.optimizer, self.rate * self.schedule(self.step))
        self.model.train()
        self.optimizer.zero_grad()
        self.processes.gradients(self._output, loss, batch, self.params.values())
        self._pull_once(coupled)
        self.optimizer.step()
        self.step += 1
        if due(self.arm.event_every, self.step):
            detached = {n: p.detach() for n, p in self.params.items()}
            self._write(self.arm.event(detached, self.seed, self.step))

    def measure(
        self,
        batches: _Batches,
        loss: Callable[[Tensor, Tensor], Tensor],
        measures: Mapping[str, Measure],
    ) -> None:
        self.model.eval()
        with torch.no_grad():
            row = columns_of([self.arm])[0] | {"seed": self.seed, "step": self.step}
            pairs = {"train_loss": batches.train(self.step), "test_loss": batches.test}
            for name, pair in pairs.items():
                if pair is not None:
                    row[name] = float(loss(self._output(pair[0]), pair[1]))
            for name, measure in measures.items():
                row[name] = float(measure(self.params, lambda x=None: self._output(x)))
        self.rows.append(row)

    def finished(self) -> _Finished:
        return _Finished(self)

    def keep(self, kept: Checkpoint) -> None:
        """Write the state, and let no process go on before it is whole."""
        if self.processes.main:
            kept.save(self._state())
        self.processes.wait()

    def _state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "rows": self.rows,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "initial": self.initial,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.initial, self.step, self.rows = state["initial"], state["step"], state["rows"]
        # A pull depends on the initial parameters and the step of its last refresh, not on the
        # state.
        self.pull = self.arm.pull(self.initial, self.seed, last_due(self.arm.pull_every, self.step))

    def identity(self) -> dict[str, Any]:
        shapes = {name: list(p.shape) for name, p in self.params.items()}
        kind = type(self.optimizer).__name__
        return {
            "arm": columns_of([self.arm])[0],
            "seed": self.seed,
            "optimizer": kind,
            "shapes": shapes,
        }

    @torch.no_grad()
    def _pull_once(self, coupled: bool) -> None:
        lr = float(self.optimizer.param_groups[0]["lr"])
        for name, p in self.params.items():
            if p.grad is None:
                continue
            if coupled:
                p.grad = self.pull.coupled(name, p, p.grad)
            else:
                p.grad = self.pull.masked(name, p.grad)
                self.pull.decoupled_(name, p, lr)

    def _output(self, x: Tensor | None) -> Tensor:
        return self.processes.output(self.model, x)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.params[name].copy_(value)


class _Finished:
    """Shows a measurement the arm's finished parameters, and puts the trained ones back."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def __enter__(self) -> None:
        self._kept = {n: p.detach().clone() for n, p in self._run.params.items()}
        self._run._write(self._run.arm.finish(self._kept, self._run.seed))

    def __exit__(self, *exception: object) -> None:
        self._run._write(self._kept)


class _Batches:
    """The batch of each step, and the pairs on which the run is measured."""

    def __init__(self, data: Data, run: _Run, batch_size: int | None) -> None:
        reference = next(iter(run.params.values()))
        self._function = data if callable(data) else None
        self._train: Pair | None = None
        self.test: Pair | None = None
        if not callable(data):
            self._train, self.test = checked_pairs(data, reference.dtype, reference.device)
        if batch_size is not None and (self._train is None or self._train[0] is None):
            raise ValueError("batch_size needs data with inputs: (x, y), not a function or x=None")
        self._order = (
            BatchOrder(len(self._train[1]), batch_size, run.seed)
            if batch_size is not None and self._train is not None
            else None
        )

    def at(self, step: int) -> Pair:
        if self._function is not None:
            return self._function(step)
        assert self._train is not None
        x, y = self._train
        if self._order is None or x is None:
            return x, y
        index = self._order.at(step).to(y.device)
        return x[index], y[index]

    def train(self, step: int) -> Pair:
        """Return the training pair; where data are a function, those of the step just taken."""
        if self._train is not None:
            return self._train
        return self.at(max(step - 1, 0))
