"""What the two experiments on variational autoencoders share: arms with a beta, and measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..measures import numerical_rank
from ..removal import Pull, arms

Params = Mapping[str, Tensor]
BETA = "beta"


@dataclass(frozen=True)
class WithBeta(arms.Wrapped):
    """An arm that holds the parameter "beta" fixed, and touches some parameters only.

    The weight of the KL divergence is a parameter of the model that is never trained, so that arms
    with different weights train as one program.

    Parameters
    ----------
    arm : Arm
        How to train.
    beta : float
        Weight of the KL divergence.
    only : callable
        ``only(name)`` is True where the arm may pull, freeze or rewrite a parameter. The others
        are trained as by vanilla. Default: all.
    """

    beta: float
    only: Callable[[str], bool] = lambda name: True

    def pull(self, params: Params, seed: int, step: int = 0) -> Pull:
        whole = self.arm.pull(params, seed, step)
        # D = 1 + xi = 0 where the arm must not pull.
        xi = {
            n: whole.xi.get(n, torch.zeros_like(p)) if self.only(n) else torch.full_like(p, -1)
            for n, p in params.items()
        }
        mask = {n: m for n, m in whole.mask.items() if self.only(n)}
        return replace(whole, xi=xi, mask=mask | {BETA: torch.zeros_like(params[BETA])})

    def start(self, params: Params, seed: int) -> Params:
        return self._restricted(params, self.arm.start(params, seed))

    def event(self, params: Params, seed: int, step: int) -> Params:
        return self._restricted(params, self.arm.event(params, seed, step))

    def finish(self, params: Params, seed: int) -> Params:
        return self._restricted(params, self.arm.finish(params, seed))

    def _restricted(self, before: Params, after: Params) -> Params:
        return {
            n: torch.full_like(p, self.beta) if n == BETA else after[n] if self.only(n) else p
            for n, p in before.items()
        }


def divergence(means: Tensor, log_variances: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)), summed over the latents: shape (samples,)."""
    parts = means.square() + log_variances.exp() - log_variances - 1
    return parts.sum(-1) / 2


def rank_of_means(means: Tensor) -> Tensor:
    """Return the numerical rank of the encoder's output, above a hundredth of the largest."""
    return numerical_rank(centred(means), rtol=1e-2)


def centred(means: Tensor) -> Tensor:
    """Return the posterior means minus their mean over the samples."""
    return means - means.mean(-2, keepdim=True)


def unit_pixels(*images: Tensor) -> list[Tensor]:
    """Return sets of images whose pixels go from 0 to 1 in the first of them.

    Parameters
    ----------
    *images : Tensor
        The training images, then others.

    Returns
    -------
    list of Tensor
        Of the same shapes.
    """
    low, high = images[0].min(), images[0].max()
    return [(x - low) / (high - low) for x in images]
