"""A model in evaluation mode for a while, and afterwards as it was, to the last bit."""

from __future__ import annotations

import collections
import contextlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put the model in evaluation mode, and back as it was, with the random state."""
    attributes = [(module, dict(module.__dict__)) for module in model.modules()]
    notes: dict[int, tuple[Any, Any]] = {}
    for _, own in attributes:
        _note(own, notes)
    kept = {id(one) for one in (*model.parameters(), *model.buffers())}
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    python, numpy = random.getstate(), sys.modules.get("numpy")
    state = numpy.random.get_state() if numpy is not None else None
    with torch.random.fork_rng(devices), _eager():
        try:
            model.eval()
            yield
        finally:
            for key, (owner, content) in notes.items():
                if key not in kept:
                    _restore(owner, content)
            for module, own in attributes:
                module.__dict__.clear()
                module.__dict__.update(own)
            random.setstate(python)
            if numpy is not None:
                numpy.random.set_state(state)


def _eager() -> contextlib.AbstractContextManager[Any]:
    """Have compiled models run as they were written: operations of a program are not seen."""
    if "torch._dynamo" in sys.modules:
        return torch.compiler.set_stance("force_eager")
    return contextlib.nullcontext()


def _note(value: Any, notes: dict[int, tuple[Any, Any]]) -> None:
    """Note what a container holds, and what those in it hold; tensors and generators likewise."""
    if id(value) in notes:
        return
    if isinstance(value, dict | list | set | collections.deque):
        notes[id(value)] = value, value.copy()
        for one in value.values() if isinstance(value, dict) else value:
            _note(one, notes)
    elif isinstance(value, torch.Generator):
        notes[id(value)] = value, value.get_state()
    elif isinstance(value, Tensor) and not isinstance(value, nn.Parameter):
        notes[id(value)] = value, (value._version, value.detach().clone())


def _restore(owner: Any, content: Any) -> None:
    if isinstance(owner, torch.Generator):
        owner.set_state(content)
    elif isinstance(owner, Tensor):
        version, value = content
        if owner._version != version:
            with torch.no_grad():
                owner.copy_(value)
    elif owner != content if isinstance(owner, set) else not _same(owner, content):
        owner.clear()
        if isinstance(owner, dict | set):
            owner.update(content)
        else:
            owner.extend(content)


def _same(owner: Any, content: Any) -> bool:
    """Test whether two containers hold the very same objects under the same names."""
    if len(owner) != len(content):
        return False
    if isinstance(owner, dict):
        pairs = zip(owner.items(), content.items(), strict=True)
        return all(a == b and one is other for (a, one), (b, other) in pairs)
    return all(one is other for one, other in zip(owner, content, strict=True))
