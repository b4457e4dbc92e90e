"""What tells a run from others, in words: what a checkpoint is compared by."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .batches import Batches
from .options import Options

_PLAIN = (bool, int, float, str, bytes, type(None))
_DEEPEST = 20


def identity(
    call: str,
    options: Options,
    seeds: Sequence[int],
    optimizer: Optimizer,
    batches: Batches,
    starts: Sequence[Mapping[str, Tensor]],
) -> dict[str, str]:
    """Return all that the results of a run depend on, in words.

    Parameters
    ----------
    call : str
        Which function trains.
    options : Options
        How it trains.
    seeds : sequence of int
        The seeds of the runs.
    optimizer : torch.optim.Optimizer
        As it was made.
    batches : Batches
        The data.
    starts : sequence of mapping of str to Tensor
        Parameters and buffers of the models as they were made, one per seed.

    Returns
    -------
    dict of str to str
        Words by what they are about. Large values are there by a checksum.
    """
    group, *others = [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    words = {
        "call": call,
        "steps": options.steps,
        "logged steps": sorted(options.logged),
        "seeds": list(seeds),
        "optimizer": type(optimizer),
        "coupled": options.coupled,
        "batch_size": batches.batch_size,
        "loss": options.loss,
        "measures": list(options.measures),
        "data": batches.examples(options.steps),
        "starting parameters": list(starts),
        # By its values: a schedule may be spelt anew.
        "schedule": options.schedule and [options.factor(t) for t in range(options.steps)],
        "parameter groups": others,
    }
    words |= {f"optimizer's {name}": value for name, value in group.items()}
    words |= {f"arm {k}": arm for k, arm in enumerate(options.arms, 1)}
    return {name: describe(value) for name, value in words.items()}


def describe(value: Any) -> str:
    """Return a value in words that are the same in another process, and for no other value.

    Parameters
    ----------
    value : object
        Numbers, words, tensors, functions with what they refer to, modules, and objects and
        collections of such.

    Returns
    -------
    str
        At most about 100 characters; what is longer ends in a checksum.
    """
    return _shortened(_Words().of(value), 100)


class _Words:
    """Words for values that may lie inside one another, and each for itself only once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, str]] = {}
        self._depth = 0

    def of(self, value: Any) -> str:
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, _PLAIN):
            return repr(value)
        if id(value) in self._known:
            return self._known[id(value)][1]
        if isinstance(value, types.ModuleType) or self._depth > _DEEPEST:
            return getattr(value, "__name__", type(value).__name__)
        self._known[id(value)] = value, "itself"
        self._depth += 1
        words = _shortened(self._new(value), 1000)
        self._depth -= 1
        self._known[id(value)] = value, words  # kept alive, so that its number stays its own
        return words

    def _new(self, value: Any) -> str:
        if isinstance(value, Tensor | np.ndarray):
            return f"{_name(value.dtype)} {tuple(value.shape)} {_checksum(_bytes(value))}"
        if isinstance(value, type | torch.dtype | torch.device | types.BuiltinFunctionType):
            return _name(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return f"{self.of(value.__func__)} of {self.of(value.__self__)}"
        if isinstance(value, functools.partial):
            return f"{self.of(value.func)} with {self.of([value.args, value.keywords])}"
        if isinstance(value, Mapping):
            return self._fields(value)
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self.of, value))}]"
        if isinstance(value, set | frozenset):
            return f"set {sorted(map(self.of, value))}"
        if isinstance(value, types.CodeType):
            return self.of([value.co_code.hex(), value.co_names, value.co_consts])
        return self._object(value)

    def _fields(self, fields: Mapping[Any, Any]) -> str:
        return ", ".join(f"{name}={self.of(own)}" for name, own in fields.items())

    def _object(self, value: Any) -> str:
        own: Mapping[str, Any] = getattr(value, "__dict__", {})
        code = vars(type(value)).get("__call__")
        if isinstance(value, nn.Module):
            own, code = {**value.state_dict(), "modules": str(value)}, type(value).forward
        elif dataclasses.is_dataclass(value):
            own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        called = "" if code is None else f" {self.of(code)}"
        return f"{type(value).__name__}({self._fields(own)}){called}"

    def _function(self, function: types.FunctionType) -> str:
        """Name a function, with a checksum of its code and of all that it refers to."""
        name = f"{function.__module__}.{function.__qualname__}"
        if name.startswith("torch."):
            return name
        used = [function.__globals__.get(word) for word in _names_in(function.__code__)]
        near = [
            own
            for own in used
            if isinstance(own, (*_PLAIN, Tensor))
            or (isinstance(own, types.FunctionType) and own.__module__ == function.__module__)
        ]
        closed = [_content(cell) for cell in function.__closure__ or ()]
        defaults = [function.__defaults__, function.__kwdefaults__]
        parts = self.of([function.__code__, *defaults, closed, near])
        return f"{name} {_checksum(parts.encode())}"


def _names_in(code: types.CodeType) -> list[str]:
    inner = [own for own in code.co_consts if isinstance(own, types.CodeType)]
    return [*code.co_names, *(name for own in inner for name in _names_in(own))]


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return None


def _bytes(array: Any) -> Any:
    """Return the bytes of a tensor, or of an array of NumPy."""
    if isinstance(array, Tensor):
        array = array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return array.tobytes()


def _checksum(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _shortened(words: str, longest: int) -> str:
    """Return words that are not much longer than that, and tell all longer ones apart."""
    if len(words) <= longest:
        return words
    return f"{words[: longest - 40]}... ({_checksum(words.encode())})"


def _name(value: Any) -> str:
    return getattr(value, "__qualname__", str(value))
