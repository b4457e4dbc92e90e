"""One model, one loop: any device, any module, resumable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .._checks import check_int
from ..removal import Arm, Pull, arms
from ..removal.pull import coupled_together
from .batches import Batch, Batches, Data
from .callbacks import Callback
from .checkpoint import Checkpoint, RandomState
from .device import existing_device
from .evaluation import Params, Run, State, table_of
from .identity import identity
from .loop import train
from .options import MakeOptimizer, Measure, Options, Schedule, due, forget, last_due
from .processes import Processes
from .stacked.memory import out_of_memory

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
    callbacks: Sequence[Callback] = (),
    accelerator: Accelerator | None = None,
) -> pd.DataFrame:
    """Train one model in place, with an arm's pull, and measure it along the way.

    The plain form of `fit_many`: the same arm, seed and data give the same numbers there, to
    rounding. Buffers (BatchNorm), dropout and frozen parameters work as in any PyTorch loop.

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
    schedule, coupled, batch_size, measures, log_every, callbacks
        As in `fit_many`.
    device : torch.device or str
        Where to train. Default "cpu".
    checkpoint, checkpoint_every
        As in `fit_many`.
    accelerator : accelerate.Accelerator, optional
        Its device and precision ("bf16": parameters stay float32), and its processes, in which the
        same call trains the same model. Default: this process alone, on `device`.

    Returns
    -------
    pandas.DataFrame
        One row per measured step: ``arm`` (its label), the arm's settings, ``seed``, ``step``,
        ``train_loss``, ``test_loss`` (if there is test data) and the measures. The same in all
        processes.

    Raises
    ------
    OSError
        If a write of the checkpoint fails during training, as on a full disk.
    TypeError
        If an argument is of a wrong type.
    ValueError
        If an argument is out of range, data are empty or hold NaN, the checkpoint is damaged,
        belongs to another run, is not there for all processes or cannot be written, or the
        accelerator was set up for sharding, for accumulated gradients or for float16.

    Notes
    -----
    Several processes give the result of one, to rounding: each computes the outputs of its share of
    the samples; the outputs are gathered, the loss is that of all of them, and PyTorch's
    ``DistributedDataParallel`` averages its gradients. What mixes samples inside a model sees only
    a share of them: BatchNorm, which is replaced by ``SyncBatchNorm`` on GPUs and refused on CPUs.
    Dropout is drawn by each process for itself. Each process measures all the data; the first one
    writes the checkpoint, with which any number of processes can go on.

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
    processes = Processes(accelerator, existing_device("device", device))
    options = Options(
        (arm or arms.vanilla(),), steps, loss, optimizer, schedule, coupled, measures or {},
        log_every, callbacks,
    )  # fmt: skip
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module, got {type(model).__name__}")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("model has no parameters that can be trained")
    seed = check_int("seed", seed)
    one = _OneModel(processes.place(model), options, seed, processes)
    batches = Batches(data, next(iter(one.params.values())), batch_size)
    kept = Checkpoint(
        checkpoint,
        checkpoint_every,
        lambda: identity("fit", options, [seed], one.optimizer, batches, [one.values()]),
    )
    state = kept.load(processes.device)
    processes.check_alike(state is not None, f"checkpoint {str(checkpoint)!r}")
    random = RandomState(processes.device)
    if state:
        random.restore(state["random"])
    else:
        one.begin()

    def keep(state: State) -> None:
        if processes.main:
            kept.save(state | {"random": random.drawn()})
        processes.wait()  # no process goes on before it is whole

    with _advice(batch_size):
        rows = train(one, options, batches, state, keep, kept.due, silent=not processes.main)
    return table_of(one.runs, rows)


@contextmanager
def _advice(batch_size: int | None) -> Iterator[None]:
    """Say what to do where memory runs out: unlike in `fit_many`, there is nothing to halve."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if out_of_memory(error):
            error.add_note(
                f"fit trains one model on whole batches (batch_size={batch_size}): make them "
                "smaller, or measure fewer samples at once"
            )
        raise


class _OneModel:
    """A model in training: its pull, its optimizer, and what its arm does between steps.

    Parameters
    ----------
    model : nn.Module
        As it was made; trained in place.
    options : Options
        How to train.
    seed : int
        The seed of the run.
    processes : Processes
        Those that train it together.
    """

    def __init__(self, model: nn.Module, options: Options, seed: int, processes: Processes) -> None:
        self.model = model
        self.params: dict[str, Tensor] = dict(model.named_parameters())
        initial = {n: p.detach().clone() for n, p in self.params.items()}
        self._run = Run(options.arms[0], seed, initial)
        self.runs: Sequence[Run] = [self._run]
        self.optimizer = options.make_optimizer(list(self.params.values()))
        self._options = options
        self._processes = processes
        self._rate = float(self.optimizer.param_groups[0]["lr"])
        self._pull = Pull()

    def begin(self) -> None:
        """Go where the arm starts."""
        self._write(self._run.arm.start(self._run.initial, self._run.seed))
        self._pull = self._pull_at(0)

    def advance(self, step: int, batch: Batch) -> None:
        """Take a step, counted from 0, and let the arm do what it does after it."""
        if due(self._run.arm.pull_every, step):
            self._pull = self._pull_at(step)
        self._options.set_rate(self.optimizer, self._rate, step)
        self.model.train()
        self.optimizer.zero_grad()
        self._processes.gradients(self.model, self._options.loss_of, batch.of_first())
        self._pull_once()
        self.optimizer.step()
        if due(self._run.arm.event_every, step + 1):
            self._event(step + 1)

    def show_finished(self, look: Callable[[], None]) -> None:
        """Call a function that sees the arm's finished parameters; the trained ones come back."""
        trained = {n: p.clone() for n, p in self._detached().items()}
        self._write(self._run.arm.finish(trained, self._run.seed))
        try:
            look()
        finally:
            self._write(trained)

    def values(self) -> dict[str, Tensor]:
        """Return parameters and buffers."""
        return self._detached() | dict(self.model.named_buffers())

    def state(self) -> State:
        """Return all that a checkpoint holds of the model."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: State) -> None:
        """Go back to the state after so many steps."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        # A pull depends on the initial parameters and the step of its last renewal only.
        renewed = last_due(self._run.arm.pull_every, state["step"])
        self._pull = self._pull_at(renewed)

    def map(
        self, function: Callable[[Params], Tensor], which: Sequence[int], at_once: int
    ) -> list[float]:
        """Return a function of the model's parameters, as a list of one number."""
        return [float(function(self.params))]

    def predict(self, values: Params, x: Tensor | None) -> Tensor:
        """Return the model's output."""
        return self._processes.output(self.model, x)

    def _pull_at(self, step: int) -> Pull:
        """Return the arm's pull, whose tensors lie in memory as the parameters do."""
        pull = self._run.arm.pull(self._run.initial, self._run.seed, step)
        # In another order, as of images with channels last, each would need operations of its own.
        parts = (
            {name: _laid_out(value, self.params[name]) for name, value in part.items()}
            for part in (pull.centre, pull.xi, pull.mask)
        )
        return Pull(pull.weight_decay, *parts)

    @torch.no_grad()
    def _event(self, step: int) -> None:
        before = {name: p.clone() for name, p in self.params.items()}
        self._write(self._run.arm.event(self._detached(), self._run.seed, step))
        if self._run.arm.resets_moments:
            for name, p in self.params.items():
                forget(self.optimizer, p, p != before[name])

    @torch.no_grad()
    def _pull_once(self) -> None:
        learned = {name: p for name, p in self.params.items() if p.grad is not None}
        if self._options.coupled:
            params = list(learned.values())
            gradients = [p.grad for p in params if p.grad is not None]
            seen = coupled_together(self._pull, list(learned), params, gradients)
            for p, gradient in zip(params, seen, strict=True):
                p.grad = gradient
            return
        lr = float(self.optimizer.param_groups[0]["lr"])
        for name, p in learned.items():
            assert p.grad is not None
            p.grad = self._pull.masked(name, p.grad)
            self._pull.decoupled_(name, p, lr)

    def _detached(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.params.items()}

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        """Change the parameters that are not frozen."""
        for name, value in values.items():
            if self.params[name].requires_grad:
                self.params[name].copy_(value)


def _laid_out(value: Tensor, like: Tensor) -> Tensor:
    return value if value.stride() == like.stride() else torch.empty_like(like).copy_(value)
