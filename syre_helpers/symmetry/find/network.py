"""A model as a function of its state: in float64, at generic parameters, and left undisturbed."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.utils import parametrize

from ..._checks import check_function, check_model, check_scalar
from ..._random import generator
from .contents import arguments, in_float64, mapped, tensors_in
from .undisturbed import undisturbed

State = dict[str, Tensor]


@dataclass(eq=False)
class Network:
    """What is asked about: a model, an input, and what must not change.

    Parameters
    ----------
    model : nn.Module
        Its values are not used, apart from constants: frozen parameters and fixed buffers.
    example_input : Tensor, tuple or dict
        As `find_reflections` takes it.
    outputs, penalty : callable, optional
        Likewise.
    seed : int
        Of the generic parameters.
    """

    model: nn.Module
    example_input: Any
    outputs: Callable[[Any], Any] | None
    penalty: Callable[[nn.Module], Tensor] | None
    seed: int
    moving: dict[str, str] = field(init=False, default_factory=dict)
    frozen: dict[str, str] = field(init=False, default_factory=dict)
    centre: dict[str, Tensor] = field(init=False, default_factory=dict)
    inputs: Any = field(init=False)
    own_buffers: list[str] = field(init=False, default_factory=list)
    state: State = field(init=False)

    def __post_init__(self) -> None:
        check_model("model", self.model)
        if self.outputs is not None:
            check_function("outputs", self.outputs)
        if self.penalty is not None:
            check_function("penalty", self.penalty)
        self.inputs = arguments(self.example_input)
        _check_can_be_followed(self.model)
        for name in _WRAPPERS.get(type(self.model).__name__, ()):
            self.model = _Inside(name, self.model.get_submodule(name))
        for name, p in self.model.named_parameters():
            if p.requires_grad and p.is_floating_point():
                self.moving[name] = "parameter"
            else:
                self.frozen[name] = "complex numbers" if p.requires_grad else "frozen"
        self._find_centre()

    def _find_centre(self) -> None:
        """Note theta_0 of parametrizations that add it: the model computes with theta + theta_0."""
        for path, module in self.model.named_modules():
            if isinstance(module, parametrize.ParametrizationList):
                shift = getattr(module[0], "theta_0", None)
                if isinstance(shift, Tensor):
                    self.centre[f"{path}.original"] = -shift.detach()

    def prepare(self) -> None:
        """Make the generic state, and find which buffers training writes to.

        Raises
        ------
        ValueError
            If the model cannot run on the example input, or its outputs are not finite.
        """
        fixed = {f"{name.rpartition('.')[0]}.0.theta_0" for name in self.centre}
        self.state = {
            name: torch.zeros_like(b, dtype=torch.float64) if name in fixed else in_float64(b)
            for name, b in self.model.named_buffers()
        }
        # Values that are not used are not copied first: the model's size again.
        self.state |= {
            name: self._generic(name, p) if name in self.moving else in_float64(p)
            for name, p in self.model.named_parameters()
        }
        for name in self._written():
            self.moving[name] = "buffer"
            self.state[name] = self._generic(name, self.state[name])
        try:
            outputs = self._in_float64(self.inputs)
        except Exception as error:
            raise ValueError(
                "example_input: the model cannot run on it in float64: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not outputs:
            raise ValueError(
                "the model returns no tensor; pass outputs=..., a function of what it returns"
            )
        if not any(each.is_floating_point() or each.is_complex() for each in outputs):
            raise ValueError(
                "the model returns whole numbers only, which do not change with small changes of "
                "its parameters; pass outputs=... that returns what they are made from"
            )
        if not all(bool(torch.isfinite(each).all()) for each in outputs):
            raise ValueError(
                "the model's outputs are not finite at generic parameters in float64; pass "
                "outputs=... to leave these out, or an input without NaN"
            )

    def _in_float64(self, inputs: Any) -> list[Tensor]:
        from .graph import InFloat64, plain_kernels

        with plain_kernels(), InFloat64():
            return self.call(self.state, inputs)

    def elsewhere(self, number: int) -> Network:
        """Return the same network at another generic state, with other numbers in its inputs."""
        other = copy.copy(self)
        other.state = {
            name: self._generic(name, value, number) if name in self.moving else value
            for name, value in self.state.items()
        }
        return other.varied(number)

    def varied(self, number: int) -> Network:
        """Return the same network with other numbers in its inputs, if it can run on them.

        Equal numbers become different ones: an input of ones makes all columns of a matrix count
        alike. Signs, zeros and ranges stay, and so do indices.

        Parameters
        ----------
        number : int
            Of the numbers.

        Returns
        -------
        Network
            This one where it cannot run on them.
        """
        if not any(one.is_floating_point() for one in tensors_in(self.inputs)):
            return self
        source = generator(self.seed, "find", "inputs", number)

        def vary(one: Tensor) -> Tensor:
            if not one.is_floating_point() or one.layout != torch.strided:
                return one
            drawn = (0.5 + 0.5 * torch.rand(one.shape, generator=source)).to(one)
            return one * drawn if bool(one.any()) else drawn

        other = copy.copy(self)
        other.inputs = mapped(self.inputs, vary)
        try:
            outputs = other._in_float64(other.inputs)
        except Exception:  # whatever a model may raise on an input that it is not made for
            return self
        return other if all(bool(one.isfinite().all()) for one in outputs) else self

    def _generic(self, name: str, value: Tensor, number: int | None = None) -> Tensor:
        """Return numbers of a usual size: few units are dead, no two are alike."""
        source = generator(self.seed, "find", name, number)
        shape = tuple(value.shape)
        if self.moving.get(name) == "buffer" and ("var" in name or bool((value > 0).all())):
            drawn = 0.5 + torch.rand(shape, generator=source, dtype=torch.float64)
        elif value.ndim >= 2:
            fan_in = value.numel() / max(value.shape[0], 1)
            drawn = torch.randn(shape, generator=source, dtype=torch.float64).div_(fan_in**0.5)
        else:
            size = 0.5 + torch.rand(shape, generator=source, dtype=torch.float64)
            drawn = torch.where(torch.rand(shape, generator=source) < 0.5, -size, size)
        return drawn.to(value.device)

    def _written(self) -> list[str]:
        """Return the buffers that a forward pass in training writes to."""
        names = [name for name, b in self.model.named_buffers() if b.is_floating_point()]
        norms = [
            f"{path}.{name}" if path else name
            for path, module in self.model.named_modules()
            if isinstance(module, _NormBase)
            for name, b in module.named_buffers(recurse=False)
            if b.is_floating_point()
        ]
        try:
            after = self.after_training(self.state)
        except Exception:
            return norms  # BatchNorm refuses a batch of one in training.
        written = [name for name in names if not torch.equal(after[name], self.state[name])]
        self.own_buffers = [name for name in written if name not in norms]
        return written

    def after_training(self, state: Mapping[str, Tensor]) -> State:
        """Return the buffers after a forward pass in training, written in place or assigned.

        Parameters
        ----------
        state : mapping of str to Tensor
            Before it.

        Returns
        -------
        dict of str to Tensor
            By name. Dropout is left out.
        """
        from .graph import InFloat64

        buffers = {name for name, _ in self.model.named_buffers()}
        own = {
            f"model.{name}": value.clone() if name in buffers else value
            for name, value in self.only(state).items()
        }
        self._seed_all()
        try:
            self.model.train()
            for module in self.model.modules():
                if isinstance(module, _DropoutNd):
                    module.eval()
            with InFloat64():
                return functional_call(_Buffers(self.model), own, self.inputs)
        finally:
            self.model.eval()

    def penalised(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return the penalty at a state."""
        assert self.penalty is not None
        own = {
            # A penalty asks which parameters train.
            f"model.{name}": value.detach().requires_grad_(self.moving.get(name) == "parameter")
            for name, value in self.only(state).items()
        }
        with torch.no_grad():
            value = functional_call(_Penalised(self.model, self.penalty), own, ())
        return check_scalar("penalty", value)

    def only(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a state without noise, which is no part of the model."""
        return {name: value for name, value in state.items() if name in self.state}

    def call(self, state: Mapping[str, Tensor], inputs: Any) -> list[Tensor]:
        """Return the outputs that must not change, as a list of tensors."""
        args, kwargs = inputs
        self._seed_all()
        buffers = {name for name, _ in self.model.named_buffers()}
        own = {name: v.clone() if name in buffers else v for name, v in state.items()}
        result = functional_call(self.model, own, args, kwargs)
        return tensors_in(result if self.outputs is None else self.outputs(result))

    def _seed_all(self) -> None:
        """Have noise that PyTorch does not draw be the same at each call."""
        torch.default_generator.manual_seed(self.seed)
        random.seed(self.seed)
        if (numpy := sys.modules.get("numpy")) is not None:
            numpy.random.seed(self.seed % 2**32)


# What is taken out of a wrapper: a compiled program shows no operations.
_WRAPPERS = {
    "OptimizedModule": ("_orig_mod",),
    "DataParallel": ("module",),
    "DistributedDataParallel": ("module",),
}


class _Inside(nn.Module):
    """A module that holds the model of a wrapper, under the names that the wrapper gives."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        self.add_module(name, module)
        self.name = name

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the output of the model inside."""
        return self.get_submodule(self.name)(*args, **kwargs)


class _Buffers(nn.Module):
    """A model whose forward returns its buffers as the model leaves them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> State:
        """Return the buffers."""
        self.model(*args, **kwargs)
        return dict(self.model.named_buffers())


def _check_can_be_followed(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f"model: {path or type(module).__name__!r} is a script of torch.jit, whose "
                "operations cannot be followed; pass the nn.Module that it was made from"
            )
    for kind, named in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, value in named:
            if nn.parameter.is_lazy(value):
                raise ValueError(
                    f"model: {kind} {name!r} has no shape yet; call the model once, then search"
                )
            if value.is_meta:
                raise ValueError(
                    f"model: {kind} {name!r} is on the meta device; model.to_empty(device='cpu') "
                    "puts it where it can be computed with, and its values do not matter"
                )


class _Penalised(nn.Module):
    """A model whose forward returns its penalty."""

    def __init__(self, model: nn.Module, penalty: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.model, self.penalty = model, penalty

    def forward(self) -> Tensor:
        """Return the penalty."""
        return self.penalty(self.model)


__all__ = ["Network", "State", "tensors_in", "undisturbed"]
