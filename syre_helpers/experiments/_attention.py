"""Arms that act on the attention of a network alone, and starts at which its matrices are zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..removal import Pull, arms

Params = Mapping[str, Tensor]


@dataclass(frozen=True)
class on_attention(arms.Wrapped):
    """An arm that acts on the matrices of attention, and leaves all other parameters alone."""

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:
        whole = self.arm.pull(params, seed, step)
        # D = 0 is no decay.
        others = {n: -torch.ones_like(p) for n, p in params.items() if ".attention." not in n}
        return Pull(whole.weight_decay, whole.centre, {**whole.xi, **others}, whole.mask)

    def start(self, params: Params, seed: int) -> Params:
        return _on_attention(params, self.arm.start(params, seed))

    def finish(self, params: Params, seed: int) -> Params:
        return _on_attention(params, self.arm.finish(params, seed))


def no_output(params: Params, seed: int) -> Params:
    """Return parameters whose attention sends nothing at first, as many large models start."""
    return _without(params, ("out",))


def no_queries_and_keys(params: Params, seed: int) -> Params:
    """Return parameters on the mirror planes of all rotations of queries and keys."""
    return _without(params, ("query", "key"))


def _on_attention(params: Params, changed: Params) -> Params:
    return {n: changed[n] if ".attention." in n else p for n, p in params.items()}


def _without(params: Params, parts: tuple[str, ...]) -> Params:
    gone = tuple(f".attention.{part}.weight" for part in parts)
    return {n: torch.zeros_like(p) if n.endswith(gone) else p for n, p in params.items()}
