r"""The paper's form: a model that computes with :math:`\theta + \theta_0`, as a parametrization."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NoReturn
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn.utils import parametrize
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from .._checks import check_model
from .names import canonical_name, own_parametrizations
from .optimizers import decay_is_coupled, wrapped_optimizer
from .sharded import global_indices, is_sharded, local
from .warning import SyreWarning


class AddTheta0(nn.Module):
    """Compute the effective parameter ``theta + theta_0``; hold D and the decay for the optimizer.

    Parameters
    ----------
    theta_0 : Tensor
        The bias, shaped like the parameter.
    xi : Tensor or None
        ``D - 1``, likewise, or None for basic removal.
    weight_decay : float
        What the optimizer's own decay should be.
    """

    theta_0: Tensor
    xi: Tensor | None

    def __init__(self, theta_0: Tensor, xi: Tensor | None, weight_decay: float) -> None:
        super().__init__()
        self.register_buffer("theta_0", theta_0)
        self.register_buffer("xi", xi)
        self.weight_decay = weight_decay
        # While a tied weight is registered a second time, theta_0 is off already.
        self.registered = False
        self.loading: list[RemovableHandle] = []
        self.warned = False

    def forward(self, theta: Tensor) -> Tensor:
        """Return the effective parameter."""
        p = theta + self.theta_0
        # Compilers, exporters and function transforms bring tensors of their own, or want plain
        # ones; they do not write to parameters.
        plain = type(p) is not Tensor or torch.compiler.is_compiling()
        return p if plain or is_functorch_wrapped_tensor(p) else p.as_subclass(Effective)

    def right_inverse(self, p: Tensor) -> Tensor:
        """Return the theta that makes the effective parameter `p`."""
        return p if self.registered else p - self.theta_0


class Effective(Tensor):
    """``theta + theta_0`` as read from a model; writing to it is refused, since it would be lost.

    ``layer.weight += 1`` is not: that assigns the sum to the attribute, which works. What is
    computed from it is an ordinary tensor.
    """

    __iadd__, __isub__ = Tensor.__add__, Tensor.__sub__
    __imul__, __itruediv__ = Tensor.__mul__, Tensor.__truediv__

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        writes = (name.endswith("_") and not name.endswith("__")) or name == "__setitem__"
        written = next(iter(args or kwargs.values())) if writes or func == _SET_DATA else None
        if isinstance(written, cls):
            _refuse_to_write(name if writes else "data")
        with torch._C.DisableTorchFunctionSubclass():
            made = func(*args, **(kwargs or {}))
            return made.as_subclass(cls) if func == _GET_DATA else made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.as_subclass(Tensor).__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> Tensor:
        return copy.deepcopy(self.as_subclass(Tensor), memo)


_GET_DATA, _SET_DATA = Tensor.data.__get__, Tensor.data.__set__  # type: ignore[attr-defined]
# No optimizer calls these; who does (to clip weights, say) means what the model computes with.
_SETTING = ("clamp_", "clip_", "fill_", "normal_", "uniform_", "zero_")


def _refuse_to_write(name: str, *args: object, **kwargs: object) -> NoReturn:
    raise ValueError(
        f"{name} of a parameter under Syre.parametrize would be lost, or miss theta_0: the model "
        "computes with theta + theta_0. Assign instead (layer.weight = value), or do this before "
        "syre.parametrize(model) or after syre.remove(model)"
    )


def parametrize_(
    model: nn.Module, theta_0: Mapping[str, Tensor], xi: Mapping[str, Tensor], weight_decay: float
) -> None:
    """Put parameters under a parametrization that keeps what the model computes.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    theta_0, xi : mapping of str to Tensor
        Biases by canonical name, of the parameters to parametrize; D - 1, of all of them or none.
    weight_decay : float
        What the optimizer's own decay should be.

    Raises
    ------
    ValueError
        If one of them cannot be parametrized; nothing is changed then.
    """
    sites = [site for site in _sites(model) if site[0] in theta_0]
    pruned = [site for site in sites if _is_pruned(*site[1:])]
    if pruned:
        sites = [site for site in sites if site not in pruned]
        warnings.warn(
            f"parameter {pruned[0][0]!r} is pruned and left alone, since prune.remove would not "
            "find it under parametrize; call prune.remove first, or use "
            "syre.attach(optimizer, model)",
            SyreWarning,
            stacklevel=3,
        )
    for name, module, attribute in sites:
        _check_site(name, module, attribute)
    _watch_optimizers()
    adding = {name: AddTheta0(theta_0[name], xi.get(name), weight_decay) for name, *_ in sites}
    for name, module, attribute in sites:
        parametrize.register_parametrization(module, attribute, adding[name])
        adding[name].registered = True
        chain = own_parametrizations(module)[attribute]
        _mark(chain, ())
        chain.register_forward_pre_hook(_mark)
        adding[name].loading.append(
            module.register_load_state_dict_pre_hook(_TakePlainValue(attribute))
        )
    for one in adding.values():
        one.registered = False


@dataclass(frozen=True)
class _TakePlainValue:
    """Let a module under parametrize load the state of an ordinary one, which would be ignored."""

    attribute: str

    def __call__(
        self, module: nn.Module, state: dict[str, Tensor], prefix: str, *others: object
    ) -> None:
        plain = state.pop(f"{prefix}{self.attribute}", None)
        if plain is None:
            return
        adding = own_parametrizations(module)[self.attribute][0]
        inside = f"{prefix}parametrizations.{self.attribute}."
        state[f"{inside}original"] = plain.to(adding.theta_0) - adding.theta_0
        for name, buffer in adding.named_buffers(prefix=f"{inside}0"):
            state.setdefault(name, buffer)


# Where parametrized parameters live. Sharding puts new parameters there, which bear no mark.
_chains_in_use: WeakSet[Any] = WeakSet()


def parametrization_of(parameter: Tensor) -> AddTheta0 | None:
    """Return the parametrization by syre that a parameter is under, if any."""
    if is_sharded(parameter):
        return next((one[0] for one in _chains_in_use if one.original is parameter), None)
    return getattr(parameter, "_syre_parametrization", None)


def _mark(chain: Any, args: tuple[object, ...]) -> None:
    """Note whose parameter this is; before each use too, since a deep copy has new parameters."""
    _chains_in_use.add(chain)
    if not hasattr(chain.original, "_syre_parametrization"):
        chain.original._syre_parametrization = chain[0]
        for name in _SETTING:
            setattr(chain.original, name, partial(_refuse_to_write, name))


def remove_parametrizations(model: nn.Module) -> None:
    """Replace parametrized parameters by what the model computes with.

    Parameters
    ----------
    model : nn.Module
        Changed in place.

    Raises
    ------
    TypeError
        If it is no model.
    ValueError
        If the model has none, is sharded, or has other parametrizations on top. Nothing is changed
        then.
    """
    check_model("model", model)
    found = [
        (module, attribute, chain)
        for module in list(model.modules())
        for attribute, chain in own_parametrizations(module).items()
        if isinstance(chain[0], AddTheta0)
    ]
    if not found:
        raise ValueError(
            "the model has no parameter under Syre.parametrize; there is nothing to remove"
        )
    for module, attribute, chain in found:
        if is_sharded(chain.original):
            raise ValueError(
                "the model is sharded; load its full state into an unsharded model under the same "
                "parametrize, and call syre.remove on that"
            )
        if len(chain) > 1:
            raise ValueError(
                f"{attribute!r} of {type(module).__name__} has {type(chain[1]).__name__} on top of "
                "syre's parametrization; remove that one first"
            )
    # All values before the first change: tied weights share one original, and reading may fail.
    originals = {id(chain.original): chain.original for *_, chain in found}
    values = {id(chain.original): getattr(module, a).detach() for module, a, chain in found}
    for module in dict.fromkeys(module for module, *_ in found):
        _give_own_class(module)
    for module, attribute, chain in found:
        for handle in chain[0].loading:
            handle.remove()
        parametrize.remove_parametrizations(module, attribute, leave_parametrized=False)
    with torch.no_grad():
        for key, parameter in originals.items():
            parameter.copy_(values[key])
            for name in ("_syre_parametrization", *_SETTING):
                delattr(parameter, name)


def _give_own_class(module: nn.Module) -> None:
    """Part a module's parametrized class from that of deep copies, which share it.

    Removal deletes properties of the class, and would take the copies' parameters with them.
    """
    shared = type(module)
    own = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
    module.__class__ = type(shared.__name__, shared.__bases__, own)


def _sites(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield (canonical name, module, attribute) of every use of a parameter, tied ones too."""
    first: dict[int, str] = {}
    for path, module in model.named_modules():
        for attribute, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            name = canonical_name(f"{path}.{attribute}" if path else attribute)
            yield first.setdefault(id(parameter), name), module, attribute


def _is_pruned(module: nn.Module, attribute: str) -> bool:
    stem = attribute.removesuffix("_orig")
    return stem != attribute and f"{stem}_mask" in module._buffers


def _check_site(name: str, module: nn.Module, attribute: str) -> None:
    if is_sharded(getattr(module, attribute)):
        what = "is sharded, and what shards it would lose sight of it"
    elif isinstance(module, parametrize.ParametrizationList):
        what = "is parametrized already, and that parametrization would have to go first"
    elif isinstance(module, nn.RNNBase):
        what = f"belongs to {type(module).__name__}, which reads it past any parametrization"
    else:
        return
    raise ValueError(f"parameter {name!r} {what}; use syre.attach(optimizer, model)")


@cache
def _watch_optimizers() -> None:
    """Install, once per process, the hook that looks at every optimizer's parameters."""
    register_optimizer_step_pre_hook(_before_step)


@torch.no_grad()
def _before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    """Add the part of the pull that the optimizer's own decay lacks, or refuse."""
    if wrapped_optimizer(optimizer) is not None:
        return  # the one that it wraps comes here, too
    for group in optimizer.param_groups:
        decay = group.get("weight_decay", 0)
        for p in group["params"]:
            adding = parametrization_of(p)
            if adding is None:
                continue
            if decay != adding.weight_decay and not adding.warned:
                adding.warned = True
                warnings.warn(
                    f"the optimizer decays with weight_decay={decay:g}, but Syre was made with "
                    f"weight_decay={adding.weight_decay:g}; under parametrize the optimizer's "
                    "number counts",
                    SyreWarning,
                    stacklevel=4,
                )
            if adding.xi is None or p.grad is None:
                continue
            if not decay_is_coupled(optimizer, group):
                raise ValueError(
                    "sigma_D > 0 under parametrize needs an optimizer whose weight decay is known "
                    "to be coupled (PyTorch's SGD, Adam, RMSprop and so on); that of "
                    f"{type(optimizer).__name__} is not. Use syre.attach(optimizer, model) with "
                    "weight_decay=0 in the optimizer."
                )
            xi = adding.xi.reshape(-1)[global_indices(p)] if is_sharded(p) else adding.xi
            local(p.grad).add_(xi * local(p), alpha=decay)
