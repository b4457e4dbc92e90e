"""A model as a function of its state: in float64, at generic parameters, and left undisturbed."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_flatten, tree_map

from ..._checks import check_function, check_model, check_scalar
from ..._random import generator

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
    frozen: list[str] = field(init=False, default_factory=list)
    centre: dict[str, Tensor] = field(init=False, default_factory=dict)
    inputs: Any = field(init=False)
    state: State = field(init=False)

    def __post_init__(self) -> None:
        check_model("model", self.model)
        if self.outputs is not None:
            check_function("outputs", self.outputs)
        if self.penalty is not None:
            check_function("penalty", self.penalty)
        self.inputs = _inputs(self.example_input)
        for name, p in self.model.named_parameters():
            if isinstance(p, nn.parameter.UninitializedParameter):
                raise ValueError(
                    f"model: parameter {name!r} has no shape yet; call the model once, then search"
                )
            if p.requires_grad and p.is_floating_point():
                self.moving[name] = "parameter"
            else:
                self.frozen.append(name)
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
            name: torch.zeros_like(b, dtype=torch.float64) if name in fixed else _double(b)
            for name, b in self.model.named_buffers()
        }
        # Values that are not used are not copied first: the model's size again.
        self.state |= {
            name: self._generic(name, p) if name in self.moving else _double(p)
            for name, p in self.model.named_parameters()
        }
        for name in self._written():
            self.moving[name] = "buffer"
            self.state[name] = self._generic(name, self.state[name])
        try:
            outputs = self.call(self.state, self.inputs)
        except Exception as error:
            raise ValueError(
                "example_input: the model cannot run on it in float64: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not outputs:
            raise ValueError(
                "the model returns no tensor; pass outputs=..., a function of what it returns"
            )
        for each in outputs:
            if each.is_floating_point() and not bool(torch.isfinite(each).all()):
                raise ValueError(
                    "the model's outputs are not finite at generic parameters in float64; pass "
                    "outputs=... to leave these out, or an input without NaN"
                )

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

        def vary(one: Any) -> Any:
            if not isinstance(one, Tensor) or not one.is_floating_point():
                return one
            drawn = (0.5 + 0.5 * torch.rand(one.shape, generator=source)).to(one)
            return one * drawn if bool(one.any()) else drawn

        other = copy.copy(self)
        other.inputs = tree_map(vary, self.inputs)
        try:
            with torch.no_grad():
                outputs = other.call(other.state, other.inputs)
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
        state = {n: v.clone() if n in names else v for n, v in self.state.items()}
        try:
            self.model.train()
            self.run(state, self.inputs)
            return [name for name in names if not torch.equal(state[name], self.state[name])]
        except Exception:
            # BatchNorm refuses a batch of one in training.
            return [
                f"{path}.{name}" if path else name
                for path, module in self.model.named_modules()
                if isinstance(module, _NormBase)
                for name, b in module.named_buffers(recurse=False)
                if b.is_floating_point()
            ]
        finally:
            self.model.eval()

    def run(self, state: Mapping[str, Tensor], inputs: Any) -> Any:
        """Return the model's output; buffers in `state` may be written to."""
        from .graph import InFloat64

        args, kwargs = inputs
        with torch.no_grad(), InFloat64():
            return functional_call(self.model, dict(state), args, kwargs)

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
        buffers = {name for name, _ in self.model.named_buffers()}
        own = {name: v.clone() if name in buffers else v for name, v in state.items()}
        result = functional_call(self.model, own, args, kwargs)
        return tensors_in(result if self.outputs is None else self.outputs(result))


class _Penalised(nn.Module):
    """A model whose forward returns its penalty."""

    def __init__(self, model: nn.Module, penalty: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.model, self.penalty = model, penalty

    def forward(self) -> Tensor:
        """Return the penalty."""
        return self.penalty(self.model)


def tensors_in(value: Any) -> list[Tensor]:
    """Return all tensors in nested tuples, lists, dicts and data classes, in order."""
    found: list[Tensor] = []
    for leaf in tree_flatten(value)[0]:
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, Mapping):
            found += tensors_in(list(leaf.values()))
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            found += tensors_in([getattr(leaf, one.name) for one in fields(leaf)])
        elif hasattr(leaf, "last_hidden_state"):
            found += tensors_in(list(vars(leaf).values()))
    return found


def _double(value: Tensor) -> Tensor:
    plain = value.detach()
    if plain.is_complex():
        return plain.to(torch.complex128).clone()
    return plain.to(torch.float64).clone() if plain.is_floating_point() else plain.clone()


def _inputs(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def wide(one: Any) -> Any:
        if not isinstance(one, Tensor):
            return one
        if one.numel() == 0:
            raise ValueError(
                f"example_input has a tensor of shape {tuple(one.shape)}, which is empty; pass at "
                "least one row"
            )
        return _double(one)

    if isinstance(example, Mapping):
        return (), {name: tree_map(wide, one) for name, one in example.items()}
    if isinstance(example, tuple | list):
        return tuple(tree_map(wide, one) for one in example), {}
    if not isinstance(example, Tensor):
        raise TypeError(
            f"example_input is a {type(example).__name__}; pass a tensor, a tuple of arguments, or "
            "a dict of named arguments"
        )
    return (wide(example),), {}


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode, and back as it was, with the random state."""
    attributes = [(module, dict(module.__dict__)) for module in model.modules()]
    inner: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (owner, dict(owner))
        for module in model.modules()
        for owner in (module._parameters, module._buffers, module._modules)
    ]
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    python, numpy = random.getstate(), sys.modules.get("numpy")
    state = numpy.random.get_state() if numpy is not None else None
    with torch.random.fork_rng(devices):
        try:
            model.eval()
            yield
        finally:
            for owner, content in inner:
                owner.clear()
                owner.update(content)
            for module, own in attributes:
                module.__dict__.clear()
                module.__dict__.update(own)
            random.setstate(python)
            if numpy is not None:
                numpy.random.set_state(state)


__all__ = ["Network", "State", "tensors_in", "undisturbed"]
