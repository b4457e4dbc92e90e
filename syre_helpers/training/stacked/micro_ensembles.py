"""A comparison's training: one micro-ensemble after the other, in the memory that there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad

from ..batches import Batch, Batches
from ..checkpoint import Checkpoint, RandomState
from ..evaluation import Rows, Run, State
from ..loop import train
from ..options import Options
from .compile import CompileDecision
from .ensemble import Ensemble, call
from .memory import bytes_to_train, models_at_once, out_of_memory
from .step import StackedStep, Steps


class Trained(NamedTuple):
    """A micro-ensemble that is done: what was measured, and its parameters on the CPU, stacked."""

    rows: Rows
    params: dict[str, Tensor]

    @property
    def models(self) -> int:
        """The number of models in it."""
        return len(next(iter(self.params.values())))


@dataclass
class Training:
    """What all micro-ensembles of a comparison have in common.

    Parameters
    ----------
    model : nn.Module
        The kind of model.
    options : Options
        How to train and measure.
    batches : Batches
        The data.
    decision : CompileDecision
        Whether to compile.
    kept : Checkpoint
        What a run is written to.
    random : RandomState
        As it was before the first step.
    steps : Steps
        Those that are traced or compiled already.
    """

    model: nn.Module
    options: Options
    batches: Batches
    decision: CompileDecision
    kept: Checkpoint
    random: RandomState
    steps: Steps = field(default_factory=Steps)

    def all(self, runs: Sequence[Run]) -> list[Trained]:
        """Train all runs, as many at once as there is memory for."""
        device = next(self.model.parameters()).device
        state = self.kept.load(device)
        if state is None:
            largest = max(p.nbytes for p in self.model.parameters())
            size, done = models_at_once(len(runs), self._bytes(runs[0]), largest, device), []
        else:
            # A run that goes on keeps its sizes: it would differ by rounding otherwise.
            size, done = state["size"], [Trained(*own) for own in state["done"]]
            self.random.restore(state["random"])
        while (first := sum(own.models for own in done)) < len(runs):
            trained = self._or_none(runs[first : first + size], state, done, size)
            if trained is None:
                size = -(-size // 2)
                self.steps = Steps()  # those of the larger size keep memory
                if device.type == "cuda":
                    torch.cuda.empty_cache()  # what PyTorch holds of the memory that ran out
            else:
                done.append(trained)
            state = None
        return done

    def _or_none(
        self, runs: Sequence[Run], state: State | None, done: list[Trained], size: int
    ) -> Trained | None:
        """Train a micro-ensemble; None if memory ran out and fewer models may do."""

        def save(own: State) -> None:
            parts = {"size": size, "done": [tuple(trained) for trained in done]}
            self.kept.save(own | parts | {"random": self.random.drawn()})

        ensemble, label = _InTraining(self, runs), f"training {len(runs)} models"
        try:
            rows = train(ensemble, self.options, self.batches, state, save, self.kept.due, label)
        except (RuntimeError, MemoryError) as error:
            if len(runs) == 1 or not out_of_memory(error):
                raise
            return None
        params = ensemble.params | ensemble.fixed
        return Trained(rows, {name: p.detach().cpu() for name, p in params.items()})

    def _bytes(self, run: Run) -> int:
        """Return an estimate of what the training of one model needs."""
        x, y = self.batches.of([run.seed])(0).of_first()
        params = {n: run.initial[n] for n, p in self.model.named_parameters() if p.requires_grad}

        def loss(params: dict[str, Tensor]) -> Tensor:
            return self.options.loss_of(call(self.model, run.initial | params, x), y)

        return bytes_to_train(params.values(), lambda: grad(loss)(params))


class _InTraining(Ensemble):
    """An ensemble with what takes its steps."""

    def __init__(self, training: Training, runs: Sequence[Run]) -> None:
        super().__init__(training.model, runs)
        self._options = options = training.options
        self._optimizer = options.make_optimizer(list(self.params.values()))
        self._rate = float(self._optimizer.param_groups[0]["lr"])
        self._step = StackedStep(self, options, self._optimizer, training.decision, training.steps)

    def advance(self, step: int, batch: Batch) -> None:
        """Take a step, counted from 0, and let arms do what they do after it."""
        self._options.set_rate(self._optimizer, self._rate, step)
        self.renew_pulls(step)
        self._step(step, batch)
        self.events(step + 1, self._optimizer)

    def state(self) -> State:
        """Return the state of the models that a checkpoint holds."""
        return {"params": self.params, "optimizer": self._optimizer.state_dict()}

    def restore(self, state: State) -> None:
        """Go back to such a state."""
        self.go_back(state["params"], state["step"])
        self._optimizer.load_state_dict(state["optimizer"])
