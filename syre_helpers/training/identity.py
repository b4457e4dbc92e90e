"""What tells a run from others, in words: what a checkpoint is compared by."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import types
from collections.abc import Mapping, Sequence
from typing import Any

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
    words = _words(value, ())
    if len(words) <= 100:
        return words
    return f"{words[:60]}... ({_checksum(words.encode())})"


def _words(value: Any, inside: tuple[int, ...]) -> str:
    """Describe a value that lies inside others, of which the identities are given."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if id(value) in inside:
        return "itself"
    inside = (*inside, id(value))
    if isinstance(value, Tensor):
        return f"{_name(value.dtype)} {tuple(value.shape)} {_checksum(_bytes(value))}"
    if isinstance(value, type | torch.dtype | torch.device | types.BuiltinFunctionType):
        return _name(value)
    if isinstance(value, types.ModuleType) or len(inside) > _DEEPEST:
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, types.FunctionType):
        return _function(value, inside)
    if isinstance(value, types.MethodType):
        return f"{_words(value.__func__, inside)} of {_words(value.__self__, inside)}"
    if isinstance(value, functools.partial):
        return f"{_words(value.func, inside)} with {_words((value.args, value.keywords), inside)}"
    if isinstance(value, Mapping):
        each = (f"{key}: {_words(own, inside)}" for key, own in value.items())
        return "{" + ", ".join(each) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_words(own, inside) for own in value)}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(_words(own, inside) for own in value))}}}"
    if isinstance(value, types.CodeType):
        parts = (value.co_code.hex(), value.co_names, value.co_consts)
        return _words(parts, inside)
    return _object(value, inside)


def _object(value: Any, inside: tuple[int, ...]) -> str:
    if isinstance(value, nn.Module):
        own: Mapping[str, Any] = {**value.state_dict(), "modules": str(value)}
        code = getattr(type(value), "forward", None)
        return f"{type(value).__name__}({_words([own, code], inside)})"
    if dataclasses.is_dataclass(value):
        own = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        own = getattr(value, "__dict__", {})
    if not own and hasattr(value, "tolist"):  # a number or an array of NumPy
        return _words(value.tolist(), inside)
    each = (f"{name}={_words(part, inside)}" for name, part in own.items())
    call = vars(type(value)).get("__call__")
    code = "" if call is None else f" {_words(call, inside)}"
    return f"{type(value).__name__}({', '.join(each)}){code}"


def _function(function: types.FunctionType, inside: tuple[int, ...]) -> str:
    """Name a function, with a checksum of its code and of all that it refers to."""
    name = f"{function.__module__}.{function.__qualname__}"
    if name.startswith("torch."):
        return name
    closed = [_content(cell) for cell in function.__closure__ or ()]
    used = [function.__globals__.get(word) for word in _names_in(function.__code__)]
    near = [
        own
        for own in used
        if isinstance(own, (*_PLAIN, Tensor))
        or (isinstance(own, types.FunctionType) and own.__module__ == function.__module__)
    ]
    parts = [function.__code__, function.__defaults__, function.__kwdefaults__, closed, near]
    return f"{name} {_checksum(_words(parts, inside).encode())}"


def _names_in(code: types.CodeType) -> list[str]:
    inner = [own for own in code.co_consts if isinstance(own, types.CodeType)]
    return [*code.co_names, *(name for own in inner for name in _names_in(own))]


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return None


def _bytes(tensor: Tensor) -> Any:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy()


def _checksum(content: Any) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _name(value: Any) -> str:
    return getattr(value, "__qualname__", str(value))
