"""One training step of stacked models: gradient, pull and optimizer, compiled or not."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, fx
from torch.func import grad, vmap
from torch.optim import Optimizer

from ...removal import Pull
from ..batches import Batch
from ..options import Options
from .compile import CompileDecision
from .ensemble import Ensemble, call
from .memory import out_of_memory
from .optimizers import FunctionalUpdate, functional_update
from .trace import draws_random_numbers, trace, write_back

Compiled = Callable[..., object]


class Steps:
    """Steps that are traced or compiled already, for ensembles of the same size and kind."""

    def __init__(self) -> None:
        self.traced: dict[object, fx.GraphModule] = {}
        self.compiled: dict[object, Compiled] = {}


class StackedStep:
    """The step of an ensemble.

    Parameters
    ----------
    ensemble : Ensemble
        Its parameters are changed in place, its pulls read at every step.
    options : Options
        With the loss, and whether the pull is coupled.
    optimizer : torch.optim.Optimizer
        Of the ensemble's parameters. It keeps all state, in both ways of taking a step.
    decision : CompileDecision
        Whether to compile; told when that fails.
    steps : Steps
        Of the ensembles before this one, and for those after it.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        options: Options,
        optimizer: Optimizer,
        decision: CompileDecision,
        steps: Steps,
    ) -> None:
        self._ensemble = ensemble
        self._params = ensemble.params
        self._pull = ensemble.pull
        self._optimizer = optimizer
        self._coupled = options.coupled
        self._decision = decision
        self._update = functional_update(optimizer)
        model = ensemble.model
        self._gradient_of_one = grad(
            lambda p, fixed, x, y: options.loss_of(call(model, p | fixed, x), y)
        )
        self._steps = steps
        self._compiled: Compiled | None = None
        self._kind: object = None
        self._numbers: tuple[list[float], Tensor] | None = None
        # What is read at every step and seldom changed: pulls, then frozen parameters and buffers.
        self._given = [
            torch.as_tensor(self._pull.weight_decay),
            *(t for part in _parts(self._pull) for t in part.values()),
            *ensemble.fixed.values(),
        ]

    @torch.no_grad()
    def __call__(self, step: int, batch: Batch) -> None:
        """Take one step, counted from 0, at the optimizer's present rate."""
        # torch.optim takes the first step, in which it makes its state; and those whose data have
        # another shape, which would not repay a compilation of their own.
        update = self._update if self._decision.compiled else None
        if update is None or not self._has_state(update) or self._kind not in (None, batch.kind):
            self._plain_step(batch)
        elif self._compiled is not None:
            self._compiled(*self._inputs(step, batch, update))
            self._count()
        else:
            self._first_compiled_step(step, batch, update)

    def _plain_step(self, batch: Batch) -> None:
        gradients = self._traced(batch)(*self._params.values(), *self._given, *batch.tensors)
        for p, gradient in zip(self._params.values(), gradients, strict=True):
            p.grad = gradient
        if not self._coupled:
            for name, p in self._params.items():
                self._pull.decoupled_(name, p, self._rate)
        self._optimizer.step()

    def _traced(self, batch: Batch) -> fx.GraphModule:
        """Return the gradients as the optimizer is to see them, as a function of tensors."""
        done, key = self._steps.traced, self._key(batch)
        if key not in done:

            def gradients(*tensors: Tensor) -> list[Tensor]:
                params, pull, fixed, own = self._unpack(tensors, batch)
                stacked = self._stacked_gradients(params, fixed, own)
                see = pull.coupled if self._coupled else (lambda name, p, g: pull.masked(name, g))
                return [see(name, p, stacked[name]) for name, p in params.items()]

            self._ensemble.model.train()
            done[key] = trace(gradients, [*self._params.values(), *self._given, *batch.tensors])
        return done[key]

    def _key(self, batch: Batch) -> object:
        """Return the key of a traced step: sizes, and the parts that the pulls consist of."""
        models = len(next(iter(self._params.values())))
        return models, batch.kind, tuple(tuple(part) for part in _parts(self._pull))

    def _stacked_gradients(
        self, params: dict[str, Tensor], fixed: dict[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        x, y, which = batch
        axis = None
        if which is not None:
            axis, x, y = 0, None if x is None else x[which], y[which]
        # An input that is None has no axis.
        axes = (0, 0, None if x is None else axis, axis)
        step_of_all = vmap(self._gradient_of_one, in_dims=axes, randomness="different")
        return step_of_all(params, fixed, x, y)

    def _unpack(
        self, tensors: Sequence[Tensor], batch: Batch
    ) -> tuple[dict[str, Tensor], Pull, dict[str, Tensor], Batch]:
        """Undo ``[*params, *given, *batch.tensors]``; `batch` says which tensors it has."""
        rest = iter(tensors)
        params = {name: next(rest) for name in self._params}
        decay = next(rest)
        parts = [{name: next(rest) for name in which} for which in _parts(self._pull)]
        fixed = {name: next(rest) for name in self._ensemble.fixed}
        x, y, which = (None if t is None else next(rest) for t in batch)
        assert y is not None
        return params, Pull(decay, *parts), fixed, Batch(x, y, which)

    # ---- compiled ----------------------------------------------------------------------------

    def _first_compiled_step(self, step: int, batch: Batch, update: FunctionalUpdate) -> None:
        """Compile the step for batches of this kind and take it; or say why not, and do without.

        It is taken both ways: a compiler that was wrong would go unnoticed otherwise.
        """
        if draws_random_numbers(self._traced(batch)):
            self._decision.give_up("the model draws random numbers, a compiled one draws others")
            return self._plain_step(batch)
        inputs = self._inputs(step, batch, update)
        changing = [*self._params.values(), *self._state(update)]
        before = [t.clone() for t in changing]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the compiler, about itself
                compiled = self._compile(batch, update, inputs)
                compiled(*inputs)
        except Exception as error:  # whatever the compiler stumbles over
            if out_of_memory(error):
                raise
            first_line = str(error).strip().partition("\n")[0]
            self._decision.give_up(f"{type(error).__name__}: {first_line}")
            _put(changing, before)  # it may have failed half-way
            return self._plain_step(batch)
        after = [t.clone() for t in changing]
        _put(changing, before)
        self._plain_step(batch)  # which counts the step
        n = len(self._params)
        if not _alike(before[:n], after[:n], changing[:n]):
            return self._decision.give_up("the compiled step is another one than the plain step")
        _put(changing, after)
        self._compiled, self._kind = compiled, batch.kind
        return self._optimizer.zero_grad()  # no other step will fill the gradients

    def _compile(self, batch: Batch, update: FunctionalUpdate, inputs: list[Tensor]) -> Compiled:
        done, key = self._steps.compiled, self._key(batch)
        on_gpu = inputs[0].device.type == "cuda"
        if on_gpu:  # What is always at the same place need not be copied for a CUDA graph.
            data = [] if batch.which is None else batch.tensors[:-1]
            for tensor in [*self._params.values(), *self._state(update), *self._given, *data]:
                torch._dynamo.mark_static_address(tensor)
        if key not in done:
            step = trace(self._whole(batch, update), inputs)
            write_back(step)
            mode = "reduce-overhead" if on_gpu else None
            done[key] = torch.compile(step, fullgraph=True, dynamic=False, mode=mode)
        return done[key]

    def _whole(self, batch: Batch, update: FunctionalUpdate) -> Callable[..., list[Tensor]]:
        """Return the step as a function of `_inputs`: new parameters, then new state."""
        gradients = self._traced(batch)
        n, m = len(self._params), len(update.state)

        def whole(*tensors: Tensor) -> list[Tensor]:
            params, state = tensors[:n], tensors[n : n * (1 + m)]
            numbers, rest = tensors[n * (1 + m)], tensors[n * (1 + m) + 1 :]
            _, pull, _, _ = self._unpack([*params, *rest], batch)
            seen = gradients(*params, *rest)
            moved, kept = [], []
            for k, (name, p) in enumerate(zip(self._params, params, strict=True)):
                start = p if self._coupled else pull.decoupled(name, p, numbers[0])
                own = list(state[k * m : (k + 1) * m])
                p, own = update.update(start, seen[k], own, list(numbers[1:]))
                moved.append(p)
                kept += own
            return [*moved, *kept]

        return whole

    def _inputs(self, step: int, batch: Batch, update: FunctionalUpdate) -> list[Tensor]:
        values = [self._rate, *update.numbers(self._rate, step + 1)]
        if self._numbers is None:
            tensor = torch.empty(len(values), dtype=torch.float64, device=self._given[0].device)
            self._numbers = [], tensor
        if self._numbers[0] != values:
            # Filled, not copied: a copy to a GPU would wait for the steps before this one.
            for number, value in zip(self._numbers[1], values, strict=True):
                number.fill_(value)
            self._numbers = values, self._numbers[1]
        params = self._params.values()
        return [*params, *self._state(update), self._numbers[1], *self._given, *batch.tensors]

    def _state(self, update: FunctionalUpdate) -> list[Tensor]:
        states = (self._optimizer.state[p] for p in self._params.values())
        return [state[name] for state in states for name in update.state]

    def _has_state(self, update: FunctionalUpdate) -> bool:
        states = (self._optimizer.state[p] for p in self._params.values())
        return all(name in state for state in states for name in update.state)

    def _count(self) -> None:
        """Let the optimizer know of a step that it did not take itself."""
        for p in self._params.values():
            if "step" in self._optimizer.state[p]:
                self._optimizer.state[p]["step"] += 1

    @property
    def _rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])


def _put(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _alike(start: Sequence[Tensor], own: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """Test whether a step went where the right one did, by far more than rounding can differ."""
    # Adaptive optimizers take steps of full size where a gradient is nothing but rounding.
    moved = _distance(start, right)
    return _distance(own, right) <= 0.3 * moved or not math.isfinite(moved)


def _distance(these: Sequence[Tensor], those: Sequence[Tensor]) -> float:
    return math.hypot(*(float((a - b).norm()) for a, b in zip(these, those, strict=True)))


def _parts(pull: Pull) -> list[Mapping[str, Tensor]]:
    return [pull.centre, pull.xi, pull.mask]
