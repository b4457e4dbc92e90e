"""A comparison's training: chunk after chunk of models, in the memory that there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import grad

from .batches import Source
from .checkpoint import Checkpoint
from .compiling import Choice
from .evaluation import Evaluation, Loss, Rows, call, plain
from .fleet import Fleet, Member
from .memory import bytes_to_train, models_at_once, out_of_memory
from .options import (
    MakeOptimizer,
    Measure,
    Schedule,
    make_checked_optimizer,
    progress,
    set_rate,
)
from .stepping import Programs, StackedStep


class Trained(NamedTuple):
    """A chunk that is done: what was measured, and its parameters on the CPU, stacked."""

    rows: Rows
    params: dict[str, Tensor]

    @property
    def models(self) -> int:
        """How many models it has."""
        return len(next(iter(self.params.values())))


@dataclass
class Training:
    """What all chunks have in common; the arguments are those of `fit_many`."""

    template: nn.Module
    source: Source
    steps: int
    loss: Loss
    optimizer: MakeOptimizer
    schedule: Schedule | None
    coupled: bool
    measures: Mapping[str, Measure]
    logged: set[int]
    choice: Choice
    kept: Checkpoint
    programs: Programs = field(default_factory=Programs)

    def all(self, members: Sequence[Member]) -> list[Trained]:
        """Train all models, as many at once as there is memory for."""
        device = next(iter(members[0].initial.values())).device
        state = self.kept.load(device)
        if state is None:
            largest = max(p.nbytes for p in members[0].initial.values())
            size = models_at_once(len(members), self._bytes(members[0]), largest, device)
            done = []
        else:
            # A run that goes on keeps its chunks: it would differ by rounding otherwise.
            size = state.get("chunk", len(members))
            done = [Trained(*chunk) for chunk in state.get("done", [])]
        while (first := sum(chunk.models for chunk in done)) < len(members):
            chunk = self._or_none(members[first : first + size], state, done, size)
            if chunk is None:
                size = -(-size // 2)
                self.programs = Programs()  # those of the larger size keep memory
                _release(device)
            else:
                done.append(chunk)
            state = None
        return done

    def _or_none(
        self,
        members: Sequence[Member],
        state: dict[str, Any] | None,
        done: list[Trained],
        size: int,
    ) -> Trained | None:
        """Train a chunk; None if memory ran out and fewer models may do."""

        def save(own: dict[str, Any]) -> None:
            self.kept.save(own | {"chunk": size, "done": [tuple(chunk) for chunk in done]})

        try:
            return self._chunk(members, state, save)
        except (RuntimeError, MemoryError) as error:
            if len(members) == 1 or not out_of_memory(error):
                raise
        return None

    def _chunk(
        self,
        members: Sequence[Member],
        state: dict[str, Any] | None,
        save: Callable[[dict[str, Any]], None],
    ) -> Trained:
        fleet = Fleet(members)
        params = fleet.params
        optimizer = make_checked_optimizer(self.optimizer, list(params.values()))
        rate = float(optimizer.param_groups[0]["lr"])
        advance = StackedStep(
            self.template, self.loss, fleet, optimizer, self.coupled, self.choice, self.programs
        )
        batch = self.source.batches([member.seed for member in members])
        evaluate = Evaluation(
            self.template, self.loss, self.source.pair, self.source.test, self.source.samples,
            self.measures,
        )  # fmt: skip

        def keep(step: int, params: dict[str, Tensor]) -> None:
            own = {"step": step, "rows": plain(rows), "params": params}
            save(own | {"optimizer": optimizer.state_dict()})

        if state is None:
            first, rows = 0, [(0, evaluate(params, 0))]
        else:
            first, rows = state["step"], state["rows"]
            fleet.restore(state["params"], first)
            optimizer.load_state_dict(state["optimizer"])
        for step in progress(range(first, self.steps), f"training {len(members)} models"):
            if self.schedule is not None:
                set_rate(optimizer, rate * self.schedule(step))
            fleet.refresh(step)
            advance(step, batch(step))
            fleet.events(step + 1)
            if step + 1 in self.logged and step + 1 < self.steps:
                rows.append((step + 1, evaluate(params, step)))
            if self.kept.due(step + 1) and step + 1 < self.steps:
                keep(step + 1, params)
        trained = {name: p.clone() for name, p in params.items()}
        if rows[-1][0] < self.steps:
            fleet.finish()
            rows.append((self.steps, evaluate(params, self.steps - 1)))
            keep(self.steps, trained)
        return Trained(plain(rows), {name: p.cpu() for name, p in trained.items()})

    def _bytes(self, member: Member) -> int:
        """Estimate what the training of one model needs."""
        x, y, which = self.source.batches([member.seed])(0)
        if which is not None:
            x, y = None if x is None else x[which[0]], y[which[0]]
        gradient = grad(lambda params: self.loss(call(self.template, params, x), y))
        return bytes_to_train(member.initial.values(), lambda: gradient(member.initial))


def _release(device: torch.device) -> None:
    """Give back what PyTorch holds of the memory that ran out."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
