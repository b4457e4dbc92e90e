"""The operations of one forward pass, as a flat list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functionalize
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from .contents import tensors_in
from .decompositions import SMALLER, keeps_places
from .noise import EVEN, OF_VALUES, is_even, is_random
from .numbers import first_alike, place_of

aten = torch.ops.aten
_STRIDED = (aten.as_strided, aten.as_strided_)
_NARROW = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Value:
    """One tensor of a forward pass, without its numbers.

    `kind` is "parameter", "buffer", "input", "constant", "noise" or "made"; `uniform` says of a
    constant along which axes it does not change.
    """

    number: int
    shape: tuple[int, ...]
    kind: str
    floating: bool
    name: str = ""
    uniform: tuple[bool, ...] = ()
    zero: bool = False


@dataclass(frozen=True)
class Node:
    """One operation; tensors among its arguments and results are given as values."""

    op: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[Value | None, ...]
    module: str

    @property
    def name(self) -> str:
        """The operator's name, such as "mul" for ``aten.mul.Tensor`` and ``aten.mul_.Scalar``."""
        return self.op.overloadpacket.__name__.rstrip("_")

    def inputs(self) -> Iterator[Value]:
        """Yield the tensors that it reads."""
        for each in tree_flatten((self.args, self.kwargs))[0]:
            if isinstance(each, Value):
                yield each


@dataclass
class Graph:
    """All operations of a forward pass that depend on a parameter, an input or noise.

    `alike` says of a constant, for each axis along which it changes, which entries are the same;
    `learned` are the numbers of all values that depend on more than inputs.
    """

    nodes: list[Node] = field(default_factory=list)
    sources: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    alike: dict[int, list[list[int] | None]] = field(default_factory=dict)
    learned: set[int] = field(default_factory=set)


class InFloat64(TorchDispatchMode):
    """Compute in float64 whatever asks for a narrower type."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = widened(func, args, kwargs)
        return func(*args, **kwargs)


def widened(func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments of an operation, with float64 instead of narrower types."""

    def wide(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dtype in _NARROW:
            return value.double()
        if isinstance(value, torch.dtype) and value in _NARROW:
            return torch.float64
        return value

    kwargs = dict(kwargs or {})
    if func.overloadpacket.__name__ in _FACTORIES and kwargs.get("dtype") is None:
        # They follow the default type; whole numbers in `arange` and `full` stay whole.
        whole = func.overloadpacket in (aten.arange, aten.full, aten.scalar_tensor) and all(
            isinstance(one, int) for one in tree_flatten(args)[0]
        )
        if not whole:
            kwargs["dtype"] = torch.float64
    return tree_map(wide, args), tree_map(wide, kwargs)


_FACTORIES = frozenset({"zeros", "ones", "empty", "rand", "randn", "linspace", "arange", "full"})


class Recorder(TorchDispatchMode):
    """Write down every operation that depends on what was declared."""

    def __init__(self) -> None:
        super().__init__()
        self.graph = Graph()
        self.calls: list[str] = []
        self._values: dict[int, Value] = {}
        self._by_place: dict[object, Value] = {}
        self._kept: list[Tensor] = []
        self._count = 0

    def declare(self, tensor: Tensor, kind: str, name: str = "") -> Value:
        """Say that operations on a tensor are of interest."""
        value = self._value(tensor, kind, name)
        self.graph.sources.append(value)
        if kind != "input":
            self.graph.learned.add(value.number)
        return value

    def value(self, tensor: Tensor) -> Value:
        """Return the value of a tensor; one that nothing declared depends on is a constant."""
        found = self._known(tensor)
        return self.declare_constant(tensor) if found is None else found

    def _known(self, tensor: Tensor) -> Value | None:
        found = self._values.get(id(tensor))
        # A parameter wrapped once more is the same numbers.
        return self._by_place.get(place_of(tensor)) if found is None else found

    def declare_constant(self, tensor: Tensor) -> Value:
        """Return the value of a tensor that no parameter, input or noise enters."""
        plain = tensor.detach()
        if plain.layout != torch.strided:
            return self._value(tensor, "constant", "", (False,) * plain.ndim)
        zero = plain.numel() > 0 and not bool(plain.any())
        uniform = tuple(
            n == 1 or bool((plain == plain.narrow(axis, 0, 1)).all())
            for axis, n in enumerate(plain.shape)
        )
        value = self._value(tensor, "constant", "", uniform, zero)
        self.graph.alike[value.number] = [
            None if same else first_alike(plain, axis) for axis, same in enumerate(uniform)
        ]
        return value

    def _value(
        self,
        tensor: Tensor,
        kind: str,
        name: str = "",
        uniform: tuple[bool, ...] = (),
        zero: bool = False,
    ) -> Value:
        floating = tensor.is_floating_point() or tensor.is_complex()
        value = Value(self._count, tuple(tensor.shape), kind, floating, name, uniform, zero)
        self._count += 1
        self._values[id(tensor)] = value
        if tensor.numel() and tensor.layout == torch.strided and kind != "constant":
            self._by_place[place_of(tensor)] = value
        self._kept.append(tensor)
        return value

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = widened(func, args, kwargs)
        if func.overloadpacket in _STRIDED and keeps_places(*args, **kwargs):
            return args[0]
        if (smaller := SMALLER.get(func)) is not None:
            with self:
                return smaller(*args, **kwargs)
        result = func(*args, **kwargs)
        tensors = [one for one in tree_flatten(result)[0] if isinstance(one, Tensor)]
        packet = func.overloadpacket.__name__
        read = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
        if is_random(func):
            if packet in OF_VALUES and any(self._tracked(one) for one in read):
                self._record(func, args, kwargs, None)
            for one in tensors:
                self.declare(one, "noise", EVEN if is_even(func, args, kwargs) else "")
            return result
        if packet == "_local_scalar_dense" and any(self._is_learned(one) for one in read):
            self._record(func, args, kwargs, None)
        if packet.startswith(("empty", "new_empty")):
            for one in tensors:
                one.zero_()  # what is written into it later must not meet rubbish
        if packet.startswith("new_") or packet.endswith("_like") or not tensors:
            return result  # only the shape of an input counts, or a number is read
        if any(self._tracked(one) for one in read):
            self._record(func, args, kwargs, result)
        return result

    def _tracked(self, tensor: Tensor) -> bool:
        value = self._known(tensor)
        return value is not None and value.kind != "constant"

    def _is_learned(self, tensor: Tensor) -> bool:
        value = self._known(tensor)
        return value is not None and value.number in self.graph.learned

    def _record(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        def ref(one: Any) -> Any:
            return self.value(one) if isinstance(one, Tensor) else one

        args, kwargs = tree_map(ref, args), tree_map(ref, kwargs)
        outputs = list(result) if isinstance(result, tuple | list) else [result]
        values = tuple(
            self._value(one, "made") if isinstance(one, Tensor) else None for one in outputs
        )
        module = self.calls[-1] if self.calls else ""
        node = Node(func, tuple(args), dict(kwargs), values, module)
        self.graph.nodes.append(node)
        if any(one.number in self.graph.learned for one in node.inputs()):
            self.graph.learned |= {one.number for one in values if one is not None}


def record(
    model: nn.Module,
    call: Callable[[Mapping[str, Tensor], Any], list[Tensor]],
    state: Mapping[str, Tensor],
    moving: Mapping[str, str],
    inputs: Any,
) -> Graph:
    """Return the operations of one call.

    Parameters
    ----------
    model : nn.Module
        Its modules give the operations their names.
    call : callable
        Computes the outputs from the state and the inputs.
    state : mapping of str to Tensor
        Parameters and buffers.
    moving : mapping of str to str
        The kind, "parameter" or "buffer", of each entry of the state that may change. The others
        are constants.
    inputs : nested tuples, lists and dicts of Tensor
        What `call` reads.

    Returns
    -------
    Graph
        The operations in order, with the values of the outputs.
    """
    try:
        return _recorded(model, functionalize(call, remove="mutations"), state, moving, inputs)
    except (RuntimeError, NotImplementedError):
        # Some models ask for what it cannot do; then what is written in place is seen as such.
        return _recorded(model, call, state, moving, inputs)


def _recorded(
    model: nn.Module,
    call: Callable[[Mapping[str, Tensor], Any], list[Tensor]],
    state: Mapping[str, Tensor],
    moving: Mapping[str, str],
    inputs: Any,
) -> Graph:
    recorder = Recorder()
    for name, kind in moving.items():
        recorder.declare(state[name], kind, name)
    for one in tensors_in(inputs):
        recorder.declare(one, "input")
    with torch.enable_grad(), plain_kernels(), named_calls(model, recorder.calls), recorder:
        outputs = call(state, inputs)
        recorder.graph.outputs = [recorder.value(one) for one in outputs]
    return recorder.graph


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Have attention and recurrent layers computed by operations that can be followed."""
    fast = torch.backends.mha.get_fastpath_enabled()
    mkldnn = torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.backends.mkldnn.enabled = mkldnn


@contextmanager
def named_calls(model: nn.Module, calls: list[str]) -> Iterator[None]:
    """Keep the names of the modules that are being called on a list, the innermost last."""
    names = {id(module): name or type(module).__name__ for name, module in model.named_modules()}

    def enter(module: nn.Module, args: Any) -> None:
        calls.append(names.get(id(module), calls[-1] if calls else type(module).__name__))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if calls:
            calls.pop()

    handles = [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
