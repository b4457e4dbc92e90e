"""The affine pull: the one formula that every remedy, rival and control is a setting of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pull:
    r"""An element-wise affine pull, added to a gradient or to a step.

    .. math:: p \leftarrow p - \mathrm{lr} \cdot m \cdot (g + \lambda D (p - c)), \qquad D = 1 + \xi

    No decay is :math:`\lambda = 0`, plain decay is :math:`c = 0, D = 1`, syre is
    :math:`c = \theta_0`, W-fix is a mask :math:`m` that is 0 on the frozen share.

    Parameters
    ----------
    weight_decay : float or Tensor
        :math:`\lambda`, twice the paper's gamma. A tensor of shape (models,) for parameters that
        are stacked along a leading model axis.
    centre, xi, mask : mapping of str to Tensor
        :math:`c`, :math:`\xi` and :math:`m` by parameter name, shaped like the parameters. Names
        that are missing have centre 0, :math:`\xi = 0` and mask 1.

    References
    ----------
    Ziyin, Xu and Chuang (ICLR 2025), equations for basic and advanced removal.
    """

    weight_decay: float | Tensor = 0.0
    centre: Mapping[str, Tensor] = field(default_factory=dict)
    xi: Mapping[str, Tensor] = field(default_factory=dict)
    mask: Mapping[str, Tensor] = field(default_factory=dict)

    def force(self, name: str, p: Tensor) -> Tensor:
        """Return ``weight_decay * D * (p - centre)`` for one parameter."""
        stretched = self._stretched(name, self._difference(name, p))
        if isinstance(self.weight_decay, Tensor):
            per_model = self.weight_decay.to(p)
            return per_model.reshape(-1, *(1,) * (p.ndim - 1)) * stretched
        return self.weight_decay * stretched

    def coupled(self, name: str, p: Tensor, gradient: Tensor) -> Tensor:
        """Return the masked gradient with the pull in it: the paper's loss, before any momentum."""
        return self._masked(name, gradient + self.force(name, p))

    def decoupled(self, name: str, p: Tensor, lr: float | Tensor) -> Tensor:
        """Return `p` after the pull as a step of its own, as AdamW decays."""
        return p - lr * self.masked(name, self.force(name, p))

    def decoupled_(self, name: str, p: Tensor, lr: float) -> Tensor:
        """Apply the pull to `p` in place as a step of its own, as AdamW decays."""
        return p.sub_(self._masked(name, self.force(name, p)), alpha=lr)

    def masked(self, name: str, gradient: Tensor) -> Tensor:
        """Return the gradient with its frozen entries set to zero."""
        return self._masked(name, gradient)

    def penalty(self, params: Mapping[str, Tensor]) -> Tensor:
        r"""Return :math:`\gamma (p - c)^T D (p - c)` with :math:`\gamma = \lambda / 2`."""
        total = torch.zeros(())
        for name, p in params.items():
            diff = self._difference(name, p)
            total = total + (diff * self._stretched(name, diff)).sum()
        return self.weight_decay / 2 * total

    def _difference(self, name: str, p: Tensor) -> Tensor:
        return p - self.centre[name] if name in self.centre else p

    def _stretched(self, name: str, diff: Tensor) -> Tensor:
        """Return ``D * diff`` as diff + diff * xi: near 1, float32 cannot hold D itself."""
        return diff + diff * self.xi[name] if name in self.xi else diff

    def _masked(self, name: str, value: Tensor) -> Tensor:
        return value * self.mask[name] if name in self.mask else value


def stack_pulls(pulls: Sequence[Pull], params: Mapping[str, Tensor]) -> Pull:
    """Stack one pull a model into one pull for parameters with a leading model axis.

    Parameters
    ----------
    pulls : sequence of Pull
        One for each model, for parameters that are not stacked.
    params : mapping of str to Tensor
        The stacked parameters, shape (models, ...) each.

    Returns
    -------
    Pull
        With ``weight_decay`` of shape (models,).
    """

    def gather(which: str, missing: float) -> dict[str, Tensor]:
        mappings = [getattr(pull, which) for pull in pulls]
        return {
            name: torch.stack(
                [m[name].to(p) if name in m else torch.full_like(p[0], missing) for m in mappings]
            )
            for name, p in params.items()
            if any(name in m for m in mappings)
        }

    decay = torch.tensor([float(pull.weight_decay) for pull in pulls], dtype=torch.float64)
    return Pull(decay, gather("centre", 0.0), gather("xi", 0.0), gather("mask", 1.0))


def write_pull(stacked: Pull, k: int, pull: Pull) -> None:
    """Replace model `k`'s part of a stacked pull, in place.

    Parameters
    ----------
    stacked : Pull
        From `stack_pulls`.
    k : int
        Which model.
    pull : Pull
        With the same names as the one it replaces.
    """
    torch.as_tensor(stacked.weight_decay)[k] = pull.weight_decay
    for which in ("centre", "xi", "mask"):
        for name, value in getattr(pull, which).items():
            getattr(stacked, which)[name][k] = value
