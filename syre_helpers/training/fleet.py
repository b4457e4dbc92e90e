"""Models stacked along an axis: their parameters, their pulls, and what arms do between steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from ..removal import Arm, Pull, stack_pulls, write_pull
from .options import due, last_due, made_with_seed

Stacked = dict[str, Tensor]


@dataclass(frozen=True)
class Member:
    """One model of a comparison: its arm, its seed, and its parameters as they were made."""

    arm: Arm
    seed: int
    initial: dict[str, Tensor]


@torch.no_grad()
def enlist(
    make_model: Callable[[], nn.Module],
    arms: Sequence[Arm],
    seeds: Sequence[int],
    device: torch.device,
) -> tuple[nn.Module, list[Member]]:
    """Make the models of all seeds and list who trains: arm by arm, within an arm seed by seed.

    Returns
    -------
    torch.nn.Module
        A model of the kind, for its shapes and its forward pass.
    list of Member
        Members of one seed share their initial parameters.

    Raises
    ------
    ValueError
        If models cannot be stacked.
    """
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
    return template, [Member(arm, seed, initial[s]) for arm in arms for s, seed in enumerate(seeds)]


class Fleet:
    """Members that train together.

    Parameters
    ----------
    members : sequence of Member
        At least one.

    Attributes
    ----------
    params : dict of str to Tensor
        Their parameters, shape (members, ...) each.
    pull : Pull
        Their pulls, for `params`.
    """

    @torch.no_grad()
    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        started = [m.arm.start(m.initial, m.seed) for m in members]
        self.params = {n: torch.stack([p[n] for p in started]) for n in members[0].initial}
        pulls = [m.arm.pull(m.initial, m.seed, 0) for m in members]
        stacked = stack_pulls(pulls, self.params)
        # On the device and in the type of the parameters, so that no step need convert it.
        widest = reduce(torch.promote_types, (p.dtype for p in self.params.values()))
        device = next(iter(self.params.values())).device
        decay = torch.as_tensor(stacked.weight_decay).to(device, widest)
        self.pull = Pull(decay, stacked.centre, stacked.xi, stacked.mask)
        self._refreshed = [k for k, m in enumerate(members) if m.arm.pull_every]
        self._visited = [k for k, m in enumerate(members) if m.arm.event_every]

    def refresh(self, step: int) -> None:
        """Ask those arms again whose pull changes with time."""
        for k in self._refreshed:
            if due(self.members[k].arm.pull_every, step):
                self._ask_again(k, step)

    def events(self, step: int) -> None:
        """Let arms change their parameters between steps."""
        for k in self._visited:
            arm = self.members[k].arm
            if due(arm.event_every, step):
                self._rewrite(k, arm.event, step)

    def finish(self) -> None:
        """Let arms change what the last measurement sees."""
        for k, member in enumerate(self.members):
            self._rewrite(k, member.arm.finish)

    @torch.no_grad()
    def restore(self, params: Mapping[str, Tensor], step: int) -> None:
        """Go back to the parameters and pulls that there were after so many steps."""
        for name, p in self.params.items():
            p.copy_(params[name])
        for k in self._refreshed:
            # A pull depends on the initial parameters and the step of its last refresh only.
            last = last_due(self.members[k].arm.pull_every, step)
            if last:
                self._ask_again(k, last)

    def _ask_again(self, k: int, step: int) -> None:
        member = self.members[k]
        write_pull(self.pull, k, member.arm.pull(member.initial, member.seed, step))

    @torch.no_grad()
    def _rewrite(
        self, k: int, change: Callable[..., Mapping[str, Tensor]], *arguments: int
    ) -> None:
        own = {name: p[k].clone() for name, p in self.params.items()}
        for name, value in change(own, self.members[k].seed, *arguments).items():
            self.params[name][k] = value
