"""Models stacked along an axis: their parameters, their pulls, and what arms do between steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import Optimizer

from ...removal import Arm, Pull
from ...removal.pull import stack_pulls, write_pull
from ..evaluation import Params, Run
from ..options import due, forget, generators_kept, last_due, made_with_seed

Stacked = dict[str, Tensor]


@torch.no_grad()
def build(
    make_model: Callable[[], nn.Module],
    arms: Sequence[Arm],
    seeds: Sequence[int],
    device: torch.device,
) -> tuple[nn.Module, list[Run]]:
    """Make the models of all seeds and list the runs: arm by arm, within an arm seed by seed.

    Parameters
    ----------
    make_model : callable
        Returns a new model.
    arms : sequence of Arm
        What is compared.
    seeds : sequence of int
        One per model.
    device : torch.device
        Where they go.

    Returns
    -------
    torch.nn.Module
        A model of the kind, for its shapes and its forward pass.
    list of Run
        Runs of one seed share their initial parameters and buffers.

    Raises
    ------
    ValueError
        If the models cannot be stacked, or nothing in them can be trained.
    """
    models = [made_with_seed(make_model, seed).to(device) for seed in seeds]
    kinds = [
        {name: (p.shape, p.dtype, p.requires_grad) for name, p in _values(m).items()}
        for m in models
    ]
    if any(kind != kinds[0] for kind in kinds):
        raise ValueError("make_model returns models of different shapes; all seeds must agree")
    if not any(p.requires_grad for p in models[0].parameters()):
        raise ValueError("make_model returns models without parameters that can be trained")
    initial = [{n: p.detach().clone() for n, p in _values(m).items()} for m in models]
    return models[0], [Run(arm, seed, initial[s]) for arm in arms for s, seed in enumerate(seeds)]


def check_buffers(model: nn.Module, x: Tensor | None) -> None:
    """Check that a training step leaves the model's buffers as they are.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    x : Tensor or None
        Inputs of a batch.

    Raises
    ------
    ValueError
        If buffers change, as BatchNorm's running statistics do.
    """
    if not list(model.buffers()):
        return
    trial = copy.deepcopy(model).train()
    before = {name: buffer.clone() for name, buffer in trial.named_buffers()}
    with torch.no_grad(), generators_kept(model.parameters()):
        call(trial, {}, x)
    changed = [n for n, buffer in trial.named_buffers() if not torch.equal(buffer, before[n])]
    if changed:
        raise ValueError(
            f"training changes the model's buffers {changed[:3]}, which stacked models cannot "
            "update; use fit for models with running statistics, or norms with "
            "track_running_stats=False"
        )


def call(model: nn.Module, values: Mapping[str, Tensor], x: Tensor | None) -> Tensor:
    """Return a model's output with these parameters; `x` is None for models without input."""
    output: Tensor = functional_call(model, dict(values), () if x is None else (x,))
    return output


class Ensemble:
    """Runs that train together.

    Parameters
    ----------
    model : nn.Module
        The kind of model.
    runs : sequence of Run
        At least one.

    Attributes
    ----------
    params : dict of str to Tensor
        Their parameters, shape (models, ...) each.
    fixed : dict of str to Tensor
        Their frozen parameters and their buffers, likewise stacked.
    pull : Pull
        Their pulls, for `params`.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, runs: Sequence[Run]) -> None:
        self.model = model
        self.runs = runs
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        started = [run.arm.start(_parameters(model, run.initial), run.seed) for run in runs]
        self.params = {name: torch.stack([own[name] for own in started]) for name in trained}
        self.fixed = {
            name: torch.stack([run.initial[name] for run in runs])
            for name in runs[0].initial
            if name not in self.params
        }
        stacked = stack_pulls([self._pull_of(run, 0) for run in runs], self.params)
        # On the device and in the type of the parameters, so that no step need convert it.
        widest = reduce(torch.promote_types, (p.dtype for p in self.params.values()))
        device = next(iter(self.params.values())).device
        decay = torch.as_tensor(stacked.weight_decay).to(device, widest)
        self.pull = Pull(decay, stacked.centre, stacked.xi, stacked.mask)
        # Few arms do anything between steps, and asking all of them takes time at every one.
        self._renewed = [k for k, run in enumerate(runs) if run.arm.pull_every]
        self._visited = [k for k, run in enumerate(runs) if run.arm.event_every]

    def renew_pulls(self, step: int) -> None:
        """Ask those arms again whose pull changes at this step."""
        for k in self._renewed:
            if due(self.runs[k].arm.pull_every, step):
                write_pull(self.pull, k, self._pull_of(self.runs[k], step))

    @torch.no_grad()
    def events(self, step: int, optimizer: Optimizer) -> None:
        """Let arms change their parameters between steps, and what the optimizer knows of them."""
        for k in self._visited:
            arm, seed = self.runs[k].arm, self.runs[k].seed
            if not due(arm.event_every, step):
                continue
            before = {name: p[k].clone() for name, p in self.params.items()}
            self._rewrite(k, arm.event, seed, step)
            if arm.resets_moments:
                for name, p in self.params.items():
                    forget(optimizer, p, p[k] != before[name], k)

    def show_finished(self, look: Callable[[], None]) -> None:
        """Call a function that sees the arms' finished parameters; the trained ones come back."""
        trained = {name: p.clone() for name, p in self.params.items()}
        for k, run in enumerate(self.runs):
            self._rewrite(k, run.arm.finish, run.seed)
        look()
        self._copy(trained)

    def go_back(self, params: Mapping[str, Tensor], step: int) -> None:
        """Go back to the parameters and pulls that there were after so many steps."""
        self._copy(params)
        for k in self._renewed:
            # A pull depends on the initial parameters and the step of its last renewal only.
            last = last_due(self.runs[k].arm.pull_every, step)
            write_pull(self.pull, k, self._pull_of(self.runs[k], last))

    def map(
        self, function: Callable[[Params], Tensor], which: Sequence[int], at_once: int
    ) -> list[float]:
        """Return a function of the parameters and buffers of some models, as a list of numbers.

        Parameters
        ----------
        function : callable
            Returns a scalar tensor for one model. Runs under ``torch.func.vmap``.
        which : sequence of int
            Numbers of the models.
        at_once : int
            How many models to evaluate together at most.

        Returns
        -------
        list of float
            One per model.
        """
        values = self.params | self.fixed
        if len(which) < len(self.runs):
            values = {name: value[list(which)] for name, value in values.items()}
        found: Tensor = vmap(function, randomness="different", chunk_size=at_once)(values)
        numbers: list[float] = found.cpu().double().tolist()
        return numbers

    def predict(self, values: Params, x: Tensor | None) -> Tensor:
        """Return the output of one model with these parameters and buffers."""
        return call(self.model, values, x)

    @torch.no_grad()
    def _copy(self, params: Mapping[str, Tensor]) -> None:
        for name, p in self.params.items():
            p.copy_(params[name])

    def _pull_of(self, run: Run, step: int) -> Pull:
        """Return the pull of a run on the parameters that are trained."""
        pull = run.arm.pull(_parameters(self.model, run.initial), run.seed, step)
        parts = (
            {name: value for name, value in part.items() if name in self.params}
            for part in (pull.centre, pull.xi, pull.mask)
        )
        return Pull(pull.weight_decay, *parts)

    @torch.no_grad()
    def _rewrite(self, k: int, change: Callable[..., Params], *arguments: int) -> None:
        """Change the parameters of one model, all but frozen ones."""
        values = {name: value[k].clone() for name, value in (self.params | self.fixed).items()}
        for name, value in change(_parameters(self.model, values), *arguments).items():
            if name in self.params:
                self.params[name][k] = value


def _values(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _parameters(model: nn.Module, values: Params) -> dict[str, Tensor]:
    """Return the parameters among parameters and buffers, frozen ones included."""
    return {name: values[name] for name, _ in model.named_parameters()}
