"""A comparison's training: one micro-ensemble after the other, in the memory that there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad

from ..batches import Batches
from ..callbacks import progress
from ..checkpoint import Checkpoint, RandomState
from ..evaluation import Evaluation, Rows, Run
from ..options import Options
from .compile import CompileDecision
from .ensemble import Ensemble, call
from .memory import bytes_to_train, models_at_once, out_of_memory
from .step import StackedStep, Steps

State = dict[str, Any]


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
                _release(device)
            else:
                done.append(trained)
            state = None
        return done

    def _or_none(
        self, runs: Sequence[Run], state: State | None, done: list[Trained], size: int
    ) -> Trained | None:
        """Train a micro-ensemble; None if memory ran out and fewer models may do."""

        def save(own: State) -> None:
            self.kept.save(own | {"size": size, "done": [tuple(trained) for trained in done]})

        try:
            return self._train(runs, state, save)
        except (RuntimeError, MemoryError) as error:
            if len(runs) == 1 or not out_of_memory(error):
                raise
        return None

    def _train(
        self, runs: Sequence[Run], state: State | None, save: Callable[[State], None]
    ) -> Trained:
        ensemble, options = Ensemble(self.model, runs), self.options
        params = ensemble.params
        optimizer = options.make_optimizer(list(params.values()))
        rate = float(optimizer.param_groups[0]["lr"])
        advance = StackedStep(ensemble, options, optimizer, self.decision, self.steps)
        batch = self.batches.of([run.seed for run in runs])
        rows = state["rows"] if state else None
        evaluate = Evaluation(options, self.batches, ensemble, rows)
        first = state["step"] if state else 0
        if state is None:
            evaluate(0)
        else:
            ensemble.restore(state["params"], first)
            optimizer.load_state_dict(state["optimizer"])

        def keep(step: int, params: dict[str, Tensor]) -> None:
            own = {"step": step, "rows": evaluate.rows, "params": params}
            save(own | {"optimizer": optimizer.state_dict(), "random": self.random.drawn()})

        label = f"training {len(runs)} models"
        for step in progress(range(first, options.steps), label, params, options.callbacks):
            options.set_rate(optimizer, rate, step)
            ensemble.renew_pulls(step)
            advance(step, batch(step))
            ensemble.events(step + 1)
            if step + 1 == options.steps:
                break
            if step + 1 in options.logged:
                evaluate(step + 1)
            if self.kept.due(step + 1):
                keep(step + 1, params)
        trained = {name: p.clone() for name, p in params.items()}
        if first < options.steps:
            ensemble.finish()
            evaluate(options.steps)
            keep(options.steps, trained)
        return Trained(evaluate.rows, {n: p.cpu() for n, p in (trained | ensemble.fixed).items()})

    def _bytes(self, run: Run) -> int:
        """Return an estimate of what the training of one model needs."""
        x, y = self.batches.of([run.seed])(0).of_first()
        params = {n: run.initial[n] for n, p in self.model.named_parameters() if p.requires_grad}

        def loss(params: dict[str, Tensor]) -> Tensor:
            return self.options.loss_of(call(self.model, run.initial | params, x), y)

        return bytes_to_train(params.values(), lambda: grad(loss)(params))


def _release(device: torch.device) -> None:
    """Give back what PyTorch holds of the memory that ran out."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
