"""A pull on an optimizer: decoupled, in each step before the update."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from .names import Where, canonical_name, named_parameters, select
from .optimizers import base_optimizer, step_size
from .parametrize import parametrization_of
from .pull import Pull
from .sharded import is_sharded
from .warning import SyreWarning


class Apply(Protocol):
    """A pull on the parameters of one model."""

    def __call__(self, params: Sequence[Tensor], names: Sequence[str], lr: float | Tensor) -> None:
        """Pull parameters in place; names are canonical."""

    def meet(self, named: Mapping[str, Tensor]) -> None:
        """Take note of all parameters of the model, when some have joined the optimizer."""


class Attachment:
    """A handle on a pull before each step of an optimizer; ``remove()`` ends it.

    Copies and pickles of the optimizer go on pulling, together with their copy of the model.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Holds the parameters; its groups must not decay by themselves.
    model : nn.Module
        Gives the names of parameters, also of those that join the optimizer later.
    where : callable or None
        A filter of the parameters to pull.
    apply : callable
        Pulls parameters of one group that have a gradient, see `Apply`.
    relative_step : callable
        Takes a parameter, and returns the share of its size by which a pull at learning rate 1
        moves it; a warning is given where the parameter's format rounds that away.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        where: Where | None,
        apply: Apply,
        relative_step: Callable[[Tensor], float],
    ) -> None:
        optimizer = base_optimizer(optimizer)
        self.apply = apply
        self._model, self._where = weakref.ref(model), where
        # Of every parameter that the optimizer holds: its name, or None if it is not to be pulled.
        self._names: dict[Tensor, str | None] = {}
        named = select(named_parameters(model), where)
        held = _held(optimizer)
        if not any(p in held for p in named.values()):
            raise ValueError(
                "the optimizer holds none of the model's parameters; pass the model that the "
                "optimizer was made for, after any change that replaces its parameters"
            )
        self._take(held, named)
        self._check_groups(optimizer)
        _warn_of_rounding(optimizer, self._names, relative_step)
        self._adopt(optimizer)
        self._hook = optimizer.register_step_pre_hook(self)
        self._watch = _watch(self, optimizer)

    def remove(self) -> None:
        """End the pull; the optimizer and the parameters stay as they are."""
        self._hook.remove()
        if self._watch is not None:
            self._watch.remove()
        self._names = {}
        _attachments.discard(self)

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimizer, or None if it is gone, or not known yet in a copy."""
        return None if self._optimizer is None else self._optimizer()

    @property
    def named(self) -> dict[str, Tensor]:
        """The parameters that are pulled, by canonical name."""
        return {name: p for p, name in self._names.items() if name is not None}

    def pulls(self, parameter: Tensor) -> bool:
        """Test whether a parameter is pulled by this attachment, whose optimizer is still there.

        Parameters
        ----------
        parameter : Tensor
            Of any model.

        Returns
        -------
        bool
            False once the optimizer is gone.
        """
        there = self._optimizer is None or self.optimizer is not None
        return there and self._names.get(parameter) is not None

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """Pull once in this step, when the gradients are there, as a pre-hook of the optimizer."""
        if self._watch is not None:
            self._watch.remove()
            self._watch = None
        if self._optimizer is None or self._optimizer() is not optimizer:
            self._adopt(optimizer)
        # Fused optimizers skip a step with infinite gradients by themselves, after this hook.
        if bool(getattr(optimizer, "found_inf", False)):
            return None
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._pull(optimizer)
            return None
        pull_once = cache(self._pull)

        def evaluate() -> Any:
            loss = closure()
            pull_once(optimizer)
            return loss

        return (optimizer, evaluate), {k: v for k, v in kwargs.items() if k != "closure"}

    @torch.no_grad()
    def _pull(self, optimizer: Optimizer) -> None:
        held = _held(optimizer)
        if not any(self._names.get(p) for p in held):
            raise ValueError(
                "the optimizer holds none of the parameters any longer that syre was attached to; "
                "shard or prepare the model first, then attach"
            )
        if joined := [p for p in held if p not in self._names]:
            self._join(joined)
        self._check_groups(optimizer)
        for group in optimizer.param_groups:
            # As the optimizers themselves do, leave alone what got no gradient.
            params = [p for p in group["params"] if p.grad is not None and self._names[p]]
            if params:
                names = [name for p in params if (name := self._names[p])]
                self.apply(params, names, step_size(group))

    def _join(self, joined: list[Tensor]) -> None:
        """Pull parameters that the optimizer got later, if the model has them; else say so."""
        model = self._model()
        named = {} if model is None else named_parameters(model)
        if named:
            self.apply.meet(named)
        self._take(
            joined, {n: p for n, p in named.items() if self._where is None or self._where(n, p)}
        )
        pulled = {id(p) for p in named.values()}
        lost = [p for p in joined if id(p) not in pulled and not _attached(p)]
        if lost:
            warnings.warn(
                f"the optimizer got {len(lost)} parameters after attach, of shapes "
                f"{[tuple(p.shape) for p in lost[:3]]}, that are not in the model: they are not "
                "pulled. Attach to the model that they belong to, too.",
                SyreWarning,
                stacklevel=5,
            )

    def _take(self, params: Iterable[Tensor], named: Mapping[str, Tensor]) -> None:
        """Note the names of parameters to pull, or that they are not to be pulled."""
        names = {p: name for name, p in named.items()}
        for p in params:
            name = names.get(p)
            if name is not None and parametrization_of(p) is not None:
                raise ValueError(
                    f"parameter {name!r} is under parametrize; call syre.remove(model) first, "
                    "since both together would pull twice"
                )
            if name is not None and _attached(p):
                raise ValueError(
                    f"parameter {name!r} is pulled by an earlier attach; call .remove() of that "
                    "handle first"
                )
            self._names[p] = name

    def _check_groups(self, optimizer: Optimizer) -> None:
        for k, group in enumerate(optimizer.param_groups):
            decay = group.get("weight_decay", 0)
            if decay != 0 and any(self._names.get(p) for p in group["params"]):
                raise ValueError(
                    f"parameter group {k} of the optimizer has weight_decay={decay!r}, which pulls "
                    "to 0 and against syre; make the optimizer with weight_decay=0, and set it to "
                    "0 again after optimizer.load_state_dict or a schedule"
                )

    def _adopt(self, optimizer: Optimizer) -> None:
        """Belong to an optimizer, and go with it into its copies."""
        self._optimizer: Callable[[], Optimizer | None] | None = weakref.ref(optimizer)
        _attachments.add(self)
        _keep_hooks_in_copies(optimizer)

    def __getstate__(self) -> dict[str, Any]:
        return {"_names": self._names, "apply": self.apply}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._model = lambda: None  # type: ignore[assignment]
        self._optimizer = self._where = self._watch = None  # it is adopted at the first step
        _attachments.add(self)


_attachments: WeakSet[Attachment] = WeakSet()


def attachments() -> list[Attachment]:
    """Return all attachments whose optimizers are still there.

    Returns
    -------
    list of Attachment
        Of all models.
    """
    return [one for one in _attachments if one._optimizer is None or one.optimizer is not None]


def _attached(parameter: Tensor) -> bool:
    if any(one.pulls(parameter) for one in attachments()):
        gc.collect()  # an optimizer that nobody holds may be waiting for this
    return any(one.pulls(parameter) for one in attachments())


def _held(optimizer: Optimizer) -> dict[Tensor, None]:
    return dict.fromkeys(p for group in optimizer.param_groups for p in group["params"])


def _keep_hooks_in_copies(optimizer: Optimizer) -> None:
    """Let copies and pickles of an optimizer keep their attachments: PyTorch drops all hooks."""
    own = weakref.ref(optimizer)

    def state_with_attachments() -> dict[str, Any]:
        this = own()
        assert this is not None
        state = {k: v for k, v in type(this).__getstate__(this).items() if k != "__getstate__"}
        hooks = this._optimizer_step_pre_hooks.items()
        kept = OrderedDict((key, hook) for key, hook in hooks if isinstance(hook, Attachment))
        return state | {"_optimizer_step_pre_hooks": kept}

    optimizer.__getstate__ = state_with_attachments  # type: ignore[method-assign]


def _watch(attachment: Attachment, optimizer: Optimizer) -> RemovableHandle | None:
    """Warn where parameters change between backward passes, and no step was seen that pulls."""
    owner, called = weakref.ref(attachment), type(optimizer).__name__
    seen: list[Tensor] = []

    def look(p: Tensor) -> None:
        if owner() is None:
            handle.remove()
        elif not seen or not torch.equal(seen[-1], p):
            seen.append(p.detach().clone())
        if len(seen) > 3:
            handle.remove()
            warnings.warn(
                f"the parameters changed three times since syre was attached to {called}, and none "
                "of its steps was seen: nothing is pulled. Attach to the optimizer whose step() "
                "updates the parameters.",
                SyreWarning,
                stacklevel=2,
            )

    trained = [p for p in _held(optimizer) if attachment.pulls(p) and p.requires_grad]
    smallest = min((p for p in trained if not is_sharded(p)), key=torch.numel, default=None)
    handle: RemovableHandle
    if smallest is None:
        return None
    handle = smallest.register_post_accumulate_grad_hook(look)
    return handle


@dataclass(frozen=True)
class _ApplyPull:
    """Apply a pull of any kind."""

    pull: Pull

    def meet(self, named: Mapping[str, Tensor]) -> None:
        pass

    def __call__(self, params: Sequence[Tensor], names: Sequence[str], lr: float | Tensor) -> None:
        for name, p in zip(names, params, strict=True):
            assert p.grad is not None
            p.grad = self.pull.masked(name, p.grad)
            self.pull.decoupled_(name, p, lr)


def attach_pull(
    pull: Pull, optimizer: Optimizer, model: nn.Module, *, where: Where | None = None
) -> Attachment:
    """Return a handle on any pull before each step of an optimizer, decoupled as `Syre.attach` is.

    Parameters
    ----------
    pull : Pull
        Any: decay towards a point (`around`), a rival, a mask. Names are those of the model; what
        wrappers insert (``module.``, ``_orig_mod.``) does not matter.
    optimizer : torch.optim.Optimizer
        As for `Syre.attach`; its own ``weight_decay`` must be 0. The pull follows the learning
        rate of each group.
    model : nn.Module
        The model whose parameters the optimizer holds; gives their names.
    where : callable, optional
        ``where(name, parameter)`` is true for the parameters to pull. Default: all that the
        optimizer holds.

    Returns
    -------
    Attachment
        A handle: ``handle.remove()`` ends the pull.

    Raises
    ------
    TypeError
        If an argument is of a wrong type.
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
    >>> from syre_helpers.removal import around
    >>> model = nn.Linear(4, 2)
    >>> pretrained = {name: p.detach().clone() for name, p in model.named_parameters()}
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    >>> handle = attach_pull(around(Pull(0.1), pretrained), optimizer, model)
    >>> model(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()  # pulls towards the pretrained parameters, then steps
    >>> handle.remove()
    """
    if not isinstance(pull, Pull):
        raise TypeError(f"pull is a {type(pull).__name__}; pass a Pull, as syre.pull(params) is")
    named = named_parameters(model)
    pull = Pull(pull.weight_decay, *(_of_model(pull, kind, named) for kind in _BY_NAME))
    return Attachment(optimizer, model, where, _ApplyPull(pull), lambda p: float(pull.weight_decay))


_BY_NAME = ("centre", "xi", "mask")


def _of_model(pull: Pull, kind: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return one part of a pull by canonical name; refuse names and shapes of another model."""
    values = {canonical_name(name): value for name, value in getattr(pull, kind).items()}
    for name, value in values.items():
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
    return values


def _warn_of_rounding(
    optimizer: Optimizer,
    names: Mapping[Tensor, str | None],
    relative_step: Callable[[Tensor], float],
) -> None:
    for group in optimizer.param_groups:
        # A schedule may start at lr 0; initial_lr is what it starts from.
        lr = float(group.get("initial_lr", group["lr"]))
        for p in filter(names.get, group["params"]):
            step = lr * relative_step(p)
            if p.dtype in (torch.bfloat16, torch.float16):
                what = (
                    f"parameter {names[p]!r} is {p.dtype}: most of each pull is lost to rounding, "
                    "and D has no effect. Keep float32 master weights and let autocast lower the "
                    "precision."
                )
            # At the rounding itself 1% of the direction towards theta_0 is lost, at a tenth half.
            elif 0 < step <= torch.finfo(p.dtype).eps / 4:
                what = (
                    f"a pull moves {names[p]!r} by about {step:.1g} of its size, far below the "
                    f"rounding of {p.dtype}, and much of theta_0 is lost; raise weight_decay (0.1 "
                    "is enough at AdamW's usual learning rate of 1e-3), or the bias, or train "
                    "in float64"
                )
            else:
                continue
            warnings.warn(what, SyreWarning, stacklevel=4)
            return
