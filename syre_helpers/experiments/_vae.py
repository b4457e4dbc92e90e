"""What the two experiments on variational autoencoders share: arms with a beta, and measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..measures import numerical_rank
from ..removal import Arm, Pull

Params = Mapping[str, Tensor]
BETA = "beta"


def with_beta(
    arm: Arm, beta: float, only: Callable[[str], bool] = lambda name: True, *, named: bool = False
) -> Arm:
    """Return an arm that holds the parameter "beta" fixed, and touches some parameters only.

    The weight of the KL divergence is a parameter of the model that is never trained, so that arms
    with different weights train as one program.

    Parameters
    ----------
    arm : Arm
        Any arm.
    beta : float
        Weight of the KL divergence.
    only : callable
        ``only(name)`` says whether the arm may pull, freeze or rewrite a parameter. The others are
        trained as by vanilla. Default: all.
    named : bool
        Whether the name of the arm tells beta. Default False.
    """

    def kept(before: Params, after: Params) -> dict[str, Tensor]:
        return {
            n: torch.full_like(p, beta) if n == BETA else after[n] if only(n) else p
            for n, p in before.items()
        }

    def start(params: Params, seed: int) -> Params:
        return kept(params, params if arm.start is None else arm.start(params, seed))

    def finish(params: Params, seed: int) -> Params:
        return kept(params, params if arm.finish is None else arm.finish(params, seed))

    def event(params: Params, seed: int, step: int) -> Params:
        return kept(params, params if arm.event is None else arm.event(params, seed, step))

    def pull(params: Params, seed: int, step: int) -> Pull:
        whole = arm.pull(params, seed, step)
        # D = 1 + xi = 0 where the arm must not pull.
        xi = {
            n: whole.xi.get(n, torch.zeros_like(p)) if only(n) else torch.full_like(p, -1)
            for n, p in params.items()
        }
        mask = {n: m for n, m in whole.mask.items() if only(n)}
        return replace(whole, xi=xi, mask=mask | {BETA: torch.zeros_like(params[BETA])})

    return replace(
        arm,
        name=f"{arm.name}, beta {beta:g}" if named else arm.name,
        pull=pull,
        start=start,
        event=event if arm.event is not None else None,
        finish=finish,
    )


def divergence(means: Tensor, log_variances: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)), summed over the latents: shape (samples,)."""
    parts = means.square() + log_variances.exp() - log_variances - 1
    return parts.sum(-1) / 2


def rank_of_means(means: Tensor) -> Tensor:
    """Return the numerical rank of the encoder's output, above a hundredth of the largest."""
    return numerical_rank(centred(means), rtol=1e-2)


def centred(means: Tensor) -> Tensor:
    """Return the posterior means less their mean over the samples."""
    return means - means.mean(-2, keepdim=True)
