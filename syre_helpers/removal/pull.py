r"""The affine pull: the one formula that every remedy, rival and control is a setting of.

It stands here in three spellings that differ in rounding only: `Pull` for named parameters,
`pull_together_` and `coupled_together` for many parameters in few operations, `pulled` for a
compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .._checks import check_nonnegative, check_parameters

# Elements pulled at once on a CPU where a buffer is needed: it stays in the cache.
CACHED = 1 << 18
Change = Callable[[list[Tensor], list[Tensor]], Sequence[Tensor]]


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
        :math:`c`, :math:`D - 1` and :math:`m` by parameter name, shaped like the parameters. Names
        that are missing have centre 0, D = 1 and mask 1.

    Raises
    ------
    TypeError
        If `weight_decay` is not a number, or a part maps no names to tensors.
    ValueError
        If `weight_decay` is negative, NaN or infinite.

    References
    ----------
    Ziyin, Xu and Chuang (ICLR 2025), equations for basic and advanced removal.
    """

    weight_decay: float | Tensor = 0.0
    centre: Mapping[str, Tensor] = field(default_factory=dict)
    xi: Mapping[str, Tensor] = field(default_factory=dict)
    mask: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Tensors come from `stack_pulls`, out of pulls that were checked, and may be traced.
        if not isinstance(self.weight_decay, Tensor):
            decay = check_nonnegative("weight_decay", self.weight_decay)
            object.__setattr__(self, "weight_decay", decay)
            for argument in ("centre", "xi", "mask"):
                check_parameters(argument, getattr(self, argument))

    def force(self, name: str, p: Tensor) -> Tensor:
        """Return ``weight_decay * D * (p - centre)`` for one parameter."""
        stretched = self._stretched(name, self._difference(name, p))
        if isinstance(self.weight_decay, Tensor):
            per_model = self.weight_decay.to(p)
            return per_model.reshape(-1, *(1,) * (p.ndim - 1)) * stretched
        return self.weight_decay * stretched

    def coupled(self, name: str, p: Tensor, gradient: Tensor) -> Tensor:
        """Return the masked gradient with the pull in it: the paper's loss, before any momentum."""
        return self.masked(name, gradient + self.force(name, p))

    def decoupled(self, name: str, p: Tensor, lr: float | Tensor) -> Tensor:
        """Return `p` after the pull as a step of its own, as AdamW decays."""
        return p - lr * self.masked(name, self.force(name, p))

    def decoupled_(self, name: str, p: Tensor, lr: float | Tensor) -> Tensor:
        """Pull `p` in place as a step of its own, and return it."""
        force = self.masked(name, self.force(name, p))
        return p.sub_(lr * force) if isinstance(lr, Tensor) else p.sub_(force, alpha=lr)

    def masked(self, name: str, gradient: Tensor) -> Tensor:
        """Return the gradient with its frozen entries set to zero."""
        return gradient * self.mask[name] if name in self.mask else gradient

    def penalty(self, params: Mapping[str, Tensor]) -> Tensor:
        r"""Return :math:`\gamma (p - c)^T D (p - c)`, a scalar; :math:`\gamma = \lambda / 2`."""
        total = torch.zeros(())
        for name, p in params.items():
            diff = self._difference(name, p)
            total = total + (diff * self._stretched(name, diff)).sum()
        return self.weight_decay / 2 * total

    def _difference(self, name: str, p: Tensor) -> Tensor:
        return p - self.centre[name] if name in self.centre else p

    def _stretched(self, name: str, diff: Tensor) -> Tensor:
        """Return ``D * diff`` as diff + diff * (D - 1): near 1, float32 cannot hold D itself."""
        return diff + diff * self.xi[name] if name in self.xi else diff


def around(pull: Pull, point: Mapping[str, Tensor]) -> Pull:
    r"""Return a pull whose centre is moved from :math:`c` to ``point + c``.

    With syre's pull and pretrained parameters the result is what fine-tuning wants: decay towards
    what the network knows, and :math:`\theta_0` beside it. With a pull of plain decay it is decay
    towards the point alone.

    Parameters
    ----------
    pull : Pull
        From ``syre.pull(params)``, or ``Pull(weight_decay)`` for plain decay.
    point : mapping of str to Tensor
        By parameter name, as in the pull; copied. Parameters that are missing keep their centre.

    Returns
    -------
    Pull
        With the same strength, D and mask.

    Raises
    ------
    TypeError
        If the point maps no names to tensors.
    ValueError
        If an entry of the point has another shape than the pull's centre.

    References
    ----------
    Li, Grandvalet and Davoine, "Explicit Inductive Bias for Transfer Learning with Convolutional
    Networks", ICML 2018: decay towards the pretrained parameters.

    Examples
    --------
    >>> import torch
    >>> moved = around(Pull(0.1, centre={"w": torch.tensor([0.5])}), {"w": torch.tensor([2.0])})
    >>> moved.centre["w"]
    tensor([2.5000])
    """
    check_parameters("point", point)
    centre = dict(pull.centre)
    for name, value in point.items():
        own = value.detach().clone()
        if name in centre and centre[name].shape != own.shape:
            raise ValueError(
                f"point[{name!r}] has the shape {tuple(own.shape)}, the pull's centre has "
                f"{tuple(centre[name].shape)}; make both from the same model"
            )
        centre[name] = own + centre[name] if name in centre else own
    return replace(pull, centre=centre)


# ---- many parameters at once ---------------------------------------------------------------------


def pull_together_(
    params: list[Tensor], theta_0: list[Tensor], xi: list[Tensor], rate: float | Tensor
) -> None:
    """Pull parameters in place, ``p - rate * D * (p - theta_0)``, in as few operations as can be.

    Parameters
    ----------
    params, theta_0 : list of Tensor
        Of the same shapes.
    xi : list of Tensor
        D - 1, likewise; empty for D = 1.
    rate : float or Tensor
        Learning rate times weight decay; as a tensor, a scalar on the parameters' device.
    """
    if not xi:
        if isinstance(rate, Tensor):
            for p, centre in zip(params, theta_0, strict=True):
                p.lerp_(centre, rate.to(p.dtype))
        else:
            torch._foreach_lerp_(params, theta_0, rate)
        return
    together = []
    for trio in zip(params, theta_0, xi, strict=True):
        if trio[0].device.type == "cpu" and trio[0].numel() > CACHED and trio[0].is_contiguous():
            for pieces in zip(*(t.reshape(-1).split(CACHED) for t in trio), strict=True):
                _pull_advanced_([pieces], rate)
        else:
            together.append(trio)
    if together:
        _pull_advanced_(together, rate)


def _pull_advanced_(trios: Sequence[tuple[Tensor, ...]], rate: float | Tensor) -> None:
    """Pull each (parameter, theta_0, D - 1); needs a buffer of their size."""
    params, theta_0, xi = ([trio[k] for trio in trios] for k in range(3))
    diff = list(torch._foreach_sub(params, theta_0))
    torch._foreach_addcmul_(diff, diff, xi)  # diff + diff * xi
    if isinstance(rate, Tensor):
        torch._foreach_mul_(diff, rate)
        torch._foreach_sub_(params, diff)
    else:
        torch._foreach_add_(params, diff, alpha=-rate)


def coupled_together(
    pull: Pull, names: Sequence[str], params: Sequence[Tensor], gradients: Sequence[Tensor]
) -> list[Tensor]:
    """Return gradients as `Pull.coupled` gives them, to the last bit, in few operations.

    Parameters
    ----------
    pull : Pull
        For parameters that are not stacked.
    names : sequence of str
        Of the parameters.
    params, gradients : sequence of Tensor
        In the order of the names.

    Returns
    -------
    list of Tensor
        In that order.
    """
    if not names:
        return []

    def with_part(part: Mapping[str, Tensor], values: list[Tensor], change: Change) -> list[Tensor]:
        at = [k for k, name in enumerate(names) if name in part]
        if at:
            changed = change([values[k] for k in at], [part[names[k]] for k in at])
            for k, value in zip(at, changed, strict=True):
                values[k] = value
        return values

    def stretched(diff: list[Tensor], xi: list[Tensor]) -> Sequence[Tensor]:
        return torch._foreach_add(diff, torch._foreach_mul(diff, xi))

    diff = with_part(pull.centre, list(params), torch._foreach_sub)
    force = torch._foreach_mul(with_part(pull.xi, diff, stretched), float(pull.weight_decay))
    seen = torch._foreach_add(list(gradients), force)
    return with_part(pull.mask, list(seen), torch._foreach_mul)


def pulled(p: Tensor, theta_0: Tensor, xi: Tensor | None, rate: Tensor) -> Tensor:
    """Return ``p - rate * D * (p - theta_0)`` for a compiler, rounded as `pull_together_` rounds.

    Parameters
    ----------
    p, theta_0 : Tensor
        Of the same shape.
    xi : Tensor or None
        D - 1, likewise; None for D = 1.
    rate : Tensor
        Learning rate times weight decay, a scalar.

    Returns
    -------
    Tensor
        The pulled parameter.
    """
    diff = p - theta_0
    return _fma(diff if xi is None else _fma(diff, xi, diff), -rate, p)


def _fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return ``a * b + c``, rounded once where PyTorch's compiler has a word for it."""
    # The operations that `pull_together_` uses round once. Where the word is missing, the two may
    # differ by one rounding.
    fused = getattr(torch.ops.prims, "fma", None)
    return a * b + c if fused is None else fused(a, b, c)


# ---- stacked models ------------------------------------------------------------------------------


def stack_pulls(pulls: Sequence[Pull], params: Mapping[str, Tensor]) -> Pull:
    """Return the pull on parameters with a leading model axis, out of one pull per model.

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
