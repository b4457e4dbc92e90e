"""How much memory there is, and how many models may train in it at once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..options import generators_kept

_SHARE = 0.6  # of what is free; the rest is for evaluations, and for other programs
# Parameters, gradient, centre, xi, mask, two states of an optimizer, and results in passing.
_COPIES = 10
# On the CPU, bytes of a stacked parameter. Arrays beyond 32 MB (the limit of glibc's malloc) go
# back to the system at every step, and to fetch them anew takes longer than the arithmetic.
_ARRAY = 2**24
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def models_at_once(models: int, bytes_per_model: int, largest: int, device: torch.device) -> int:
    """Return the number of models to train together, so that groups are as equal as can be.

    Parameters
    ----------
    models : int
        How many there are.
    bytes_per_model : int
        From `bytes_to_train`.
    largest : int
        Bytes of a model's largest parameter.
    device : torch.device
        Where; what is free there now counts.

    Returns
    -------
    int
        Between 1 and `models`.
    """
    free = free_bytes(device)
    fit = models if free is None else int(_SHARE * free) // max(1, bytes_per_model)
    if device.type == "cpu":
        fit = min(fit, _ARRAY // max(1, largest))
    groups = -(-models // max(1, fit))
    return -(-models // groups)


def bytes_to_train(params: Iterable[Tensor], step: Callable[[], Any]) -> int:
    """Return an estimate of the bytes that the training of one model needs.

    Parameters
    ----------
    params : iterable of Tensor
        The model's parameters.
    step : callable
        Computes the model's gradient once; all that it makes is counted as if it were kept, so the
        estimate errs on the safe side. Random numbers that it draws are drawn again afterwards.

    Returns
    -------
    int
        Bytes.
    """
    params = list(params)
    with generators_kept(params), _Made() as made:
        step()
    return _COPIES * sum(p.nbytes for p in params) + made.bytes


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that a program may still take on a device; None where nobody says."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    found = [free for free in (_of_the_machine(), *map(_left, _CGROUPS)) if free is not None]
    return min(found, default=None)


def out_of_memory(error: BaseException) -> bool:
    """Test whether an exception says that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = ("DefaultCPUAllocator", "can't allocate memory", "out of memory")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


class _Made(TorchDispatchMode):
    """Counts the bytes of all tensors that operations make, without views of others."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs))}
        new = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in _tensors(out)}
        self.bytes += sum(size for where, size in new.items() if where not in given)
        return out


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _of_the_machine() -> int | None:
    """Return the bytes that are free; half of those built in where no system says (macOS)."""
    try:
        if found := re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text()):
            return 1024 * int(found[1])
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _left(files: tuple[str, str]) -> int | None:
    """Return the bytes that a container may still take; None where there is no limit."""
    try:
        most, used = (int(Path(file).read_text()) for file in files)
    except (OSError, ValueError):  # where there is no limit, it is "max"
        return None
    return max(0, most - used)
