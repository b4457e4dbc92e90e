"""Pulls around a point other than zero, for fine-tuning, and any pull on any optimizer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .attachment import _check_groups, _held_names, before_steps
from .names import canonical_name, named_parameters
from .pull import Pull
from .syre import Where, _chosen
from .warning import SyreWarning


def around(pull: Pull, point: Mapping[str, Tensor]) -> Pull:
    r"""Move the centre of a pull: from :math:`c` to ``point + c``.

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


class PullAttachment:
    """A handle on a pull that `attach_pull` put before an optimizer's steps.

    Parameters
    ----------
    pull : Pull
        The pull, by canonical name.
    optimizer : torch.optim.Optimizer
        Holds the parameters; its groups must not decay by themselves.
    named : mapping of str to nn.Parameter
        The parameters to pull, by canonical name.
    """

    def __init__(self, pull: Pull, optimizer: Optimizer, named: Mapping[str, nn.Parameter]) -> None:
        self._pull = pull
        self._names = _held_names(optimizer, named)
        _check_groups(optimizer, self._names)
        _check_rate(pull, optimizer, self._names)
        self._hook = before_steps(optimizer, self._before_update)
        for parameter in self._names:
            parameter._syre_attached = True  # type: ignore[attr-defined]

    def remove(self) -> None:
        """End the pull; the optimizer and the parameters stay as they are."""
        self._hook.remove()
        for parameter in self._names:
            del parameter._syre_attached  # type: ignore[attr-defined]
        self._names = {}

    def _before_update(self, optimizer: Optimizer) -> None:
        for group in optimizer.param_groups:
            for p in group["params"]:
                # As the optimizers themselves do, leave alone what got no gradient.
                if p.grad is None or p not in self._names:
                    continue
                name = self._names[p]
                p.grad = self._pull.masked(name, p.grad)
                self._pull.decoupled_(name, p, float(group["lr"]))


def attach_pull(
    pull: Pull, optimizer: Optimizer, model: nn.Module, *, where: Where | None = None
) -> PullAttachment:
    """Pull parameters before each step of an optimizer, decoupled, as `Syre.attach` does.

    Parameters
    ----------
    pull : Pull
        Any: decay towards a point (`around`), a rival, a mask. Names are those of the model; what
        wrappers insert (``module.``, ``_orig_mod.``) does not matter.
    optimizer : torch.optim.Optimizer
        Any; its own ``weight_decay`` must be 0. The pull follows the learning rate of each group.
    model : nn.Module
        The model whose parameters the optimizer holds; gives their names.
    where : callable, optional
        ``where(name, parameter)`` is true for the parameters to pull. Default: all that the
        optimizer holds.

    Returns
    -------
    PullAttachment
        A handle: ``handle.remove()`` ends the pull.

    Raises
    ------
    ValueError
        If a group has its own weight decay, if no parameter of the model is in the optimizer, if a
        parameter is pulled already or under ``Syre.parametrize``, or if the pull holds names or
        shapes that the model has not.

    Warns
    -----
    SyreWarning
        If the parameters' precision cannot hold the pull.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Linear(4, 2)
    >>> pretrained = {name: p.detach().clone() for name, p in model.named_parameters()}
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    >>> handle = attach_pull(around(Pull(0.1), pretrained), optimizer, model)
    >>> model(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()  # pulls towards the pretrained parameters, then steps
    >>> handle.remove()
    """
    named = named_parameters(model)
    pull = Pull(pull.weight_decay, *(_canonical(getattr(pull, kind)) for kind in _BY_NAME))
    _check_names(pull, named)
    return PullAttachment(pull, optimizer, _chosen(named, where))


_BY_NAME = ("centre", "xi", "mask")


def _canonical(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {canonical_name(name): value for name, value in values.items()}


def _check_names(pull: Pull, named: Mapping[str, Tensor]) -> None:
    for kind in _BY_NAME:
        for name, value in getattr(pull, kind).items():
            if name not in named:
                raise ValueError(
                    f"the pull's {kind} has {name!r}, which is no parameter of the model; it has "
                    f"{sorted(named)}"
                )
            if value.shape != named[name].shape:
                raise ValueError(
                    f"the pull's {kind} of {name!r} has the shape {tuple(value.shape)}, the "
                    f"parameter has {tuple(named[name].shape)}; make the pull from this model"
                )


def _check_rate(pull: Pull, optimizer: Optimizer, names: Mapping[nn.Parameter, str]) -> None:
    """Warn where a step of the pull is below the rounding of what it moves."""
    for group in optimizer.param_groups:
        rate = float(group.get("initial_lr", group["lr"])) * float(pull.weight_decay)
        for p in group["params"]:
            if p in names and 0 < rate <= torch.finfo(p.dtype).eps:
                warnings.warn(
                    f"lr * weight_decay = {rate:.1g} is below the rounding of {names[p]!r} "
                    f"({p.dtype}): most of each pull is lost; raise weight_decay, or keep the "
                    "parameters in a wider format",
                    SyreWarning,
                    stacklevel=4,
                )
                return
