r"""The pull without memory: :math:`\theta_0` and :math:`D` computed anew in every step.

Where a compiler works, one kernel computes them and pulls, so that nothing of the size of a
parameter is stored or written but the parameter itself. Elsewhere ordinary operations do the same
by pieces of 65,536 elements, several times slower.

What makes this file long is the kernel's diet. It is compiled once for all shapes, so it takes flat
tensors. A call costs as much as tens of thousands of elements, so it takes `_TOGETHER` of them.
Numbers would be compiled in, each value anew, so they come as tensors. A key holds for a block of
``2**31`` indices, so a larger parameter is cut where a block ends. Hence the order below: a
parameter is cut into runs (consecutive elements of one block), runs of a kind are gathered, and
each handful is launched with a table of what the kernel needs to know of it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .pull import pull_together_, pulled
from .sharded import global_indices, local, local_offset
from .theta_0 import BLOCK_BITS, CHUNK, Specification, normal_of, uniform_of
from .warning import SyreWarning

Kernel = Callable[..., None]
# Each parameter more takes the compiler some five seconds.
_TOGETHER = 4


def pull_on_the_fly_(
    params: Sequence[Tensor], specifications: Sequence[Specification], rate: float | Tensor
) -> None:
    """Pull parameters in place, as `pull_together_` does to the last bit, storing nothing.

    Parameters
    ----------
    params : sequence of Tensor
        Parameters, sharded or not. What does not lie in memory in the order of its indices
        (``channels_last``) is copied, a few parameters at a time, and back.
    specifications : sequence of Specification
        What theta_0 and D of each are computed from.
    rate : float or Tensor
        Learning rate times weight decay; as a tensor, a scalar on the parameters' device.
    """
    for k in range(0, len(params), _TOGETHER):
        _pull_few_(params[k : k + _TOGETHER], specifications[k : k + _TOGETHER], rate)


def _pull_few_(
    params: Sequence[Tensor], specifications: Sequence[Specification], rate: float | Tensor
) -> None:
    runs: list[_Run] = []
    copied: list[tuple[Tensor, Tensor]] = []
    for p, specification in zip(params, specifications, strict=True):
        here, start = local(p), local_offset(p)
        flat = here.reshape(-1)
        if start is None:
            pull_by_pieces_(flat, specification, rate, global_indices(p).reshape(-1))
        else:
            runs += _within_blocks(_Run(flat, specification, start))
        if flat.data_ptr() != here.data_ptr():
            copied.append((here, flat))
    _pull_runs_(runs, rate)
    for here, flat in copied:
        here.copy_(flat.view_as(here))


class _Run(NamedTuple):
    """Consecutive elements of the whole parameter, the first at index `begin`."""

    flat: Tensor
    specification: Specification
    begin: int


def _within_blocks(run: _Run) -> Iterator[_Run]:
    """Cut a run where the key changes."""
    done = 0
    while done < run.flat.numel():
        begin = run.begin + done
        end = (begin >> BLOCK_BITS) + 1 << BLOCK_BITS
        part = run.flat[done : done + end - begin]
        yield _Run(part, run.specification, begin)
        done += part.numel()


def _pull_runs_(runs: Sequence[_Run], rate: float | Tensor) -> None:
    """Pull runs that have one key each, those of a kind by one call of the kernel."""
    alike: dict[tuple[Kernel, torch.device, torch.dtype, float], list[_Run]] = {}
    for run in runs:
        kind = run.flat.device, run.flat.dtype, run.specification.sigma_D
        # One element would be compiled separately; from 0.5 on lerp computes from the other end.
        plain = run.flat.numel() == 1 or (not isinstance(rate, Tensor) and rate >= 0.5)
        kernel = None if plain else _kernel(*kind[:2], run.specification.sigma_D > 0)
        if kernel is None:
            pull_by_pieces_(run.flat, run.specification, rate, run.begin)
        else:
            alike.setdefault((kernel, *kind), []).append(run)
    for (kernel, *_), group in alike.items():
        for k in range(0, len(group), _TOGETHER):
            _launch(kernel, group[k : k + _TOGETHER], rate)


def pull_by_pieces_(
    flat: Tensor, specification: Specification, rate: float | Tensor, where: Tensor | int
) -> None:
    """Pull by plain operations; `where` holds the elements' indices, or is the first of a run."""
    for k, piece in enumerate(flat.split(CHUNK)):
        begin = k * CHUNK
        if isinstance(where, Tensor):
            at = where[begin : begin + piece.numel()]
        else:
            at = where + begin + torch.arange(piece.numel(), device=piece.device)
        xi = [specification.D_minus_1(at, piece.dtype)] if specification.sigma_D else []
        pull_together_([piece], [specification.theta_0(at, piece.dtype)], xi, rate)


# ---- the kernel ----------------------------------------------------------------------------------


def _launch(kernel: Kernel, runs: Sequence[_Run], rate: float | Tensor) -> None:
    """Pull a few runs of one device, dtype and sigma_D; spare tensors make up the number."""
    flat, specification, _ = runs[0]
    missing = _TOGETHER - len(runs)
    finest = torch.float32 if flat.device.type == "mps" else torch.float64
    kernel(
        # Detached, since a view is compiled anew for every shape of what it is a view of.
        [*(run.flat.detach() for run in runs), *_spare(flat.device, flat.dtype)[:missing]],
        *_table(tuple(run[1:] for run in runs), flat.device, flat.dtype),
        _number("sigma_D", specification.sigma_D, finest),
        rate.to(flat.dtype) if isinstance(rate, Tensor) else _number("rate", rate, flat.dtype),
    )


@lru_cache(maxsize=4096)
def _number(role: str, value: float, dtype: torch.dtype) -> Tensor:
    # One tensor in two places would be compiled anew, too: hence the role.
    return torch.tensor(value, dtype=dtype)


@lru_cache(maxsize=4096)
def _table(
    whence: tuple[tuple[Specification, int], ...], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the kernel's table of runs: two keys, (runs, 7), first index and scale, (runs,)."""
    at = [(spec, *divmod(begin, 1 << BLOCK_BITS)) for spec, begin in whence]
    at += at[:1] * (_TOGETHER - len(at))
    bias, metric = zip(*(spec.keys(block) for spec, block, _ in at), strict=True)
    keys = torch.tensor(bias, dtype=torch.int32, device=device)
    others = keys if metric == bias else torch.tensor(metric, dtype=torch.int32, device=device)
    begins = torch.tensor([begin for *_, begin in at], dtype=torch.int32, device=device)
    scales = torch.tensor([spec.scale for spec, *_ in at], dtype=dtype, device=device)
    return keys, others, begins, scales


@lru_cache
def _spare(device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Return tensors for the kernel to write to where there are too few parameters."""
    return [torch.zeros(2, device=device, dtype=dtype) for _ in range(_TOGETHER - 1)]


@lru_cache
def _kernel(device: torch.device, dtype: torch.dtype, advanced: bool) -> Kernel | None:
    """Return the compiled kernel, tried against plain operations; None where there is none."""
    if dtype not in (torch.float32, torch.float64):
        return None  # the many roundings of a narrow format are those of single operations
    kernel: Kernel = torch.compile(_advanced if advanced else _basic, fullgraph=True, dynamic=True)
    trial = Specification(0, "trial", 1.0, 0.5 if advanced else 0.0)
    # Sizes that differ, or the kernel would be one for parameters of equal sizes.
    sizes = [1000 + 7 * k for k in range(_TOGETHER)]
    tried, right = ([torch.zeros(n, device=device, dtype=dtype) for n in sizes] for _ in range(2))
    # From zeros, at a rate that is a power of 2, the result is theta_0 to the last bit.
    for p in right:
        pull_by_pieces_(p, trial, 0.25, 0)
    try:
        importlib.import_module("torch._inductor.inductor_prims")  # where `pulled` finds fma
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _launch(kernel, [_Run(p, trial, 0) for p in tried], 0.25)
        near = 2 * torch.finfo(dtype).eps
        pairs = zip(tried, right, strict=True)
        if not all(torch.allclose(a, b, rtol=near, atol=0.0) for a, b in pairs):
            raise RuntimeError("the compiled kernel computes another theta_0")
    except Exception as error:  # compilers fail in many ways
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"syre with store=False uses plain operations on {device.type}, several times slower: "
            f"no compiled kernel ({reason})",
            SyreWarning,
            stacklevel=2,
        )
        return None
    return kernel


def _basic(
    params: list[Tensor], keys: Tensor, _: Tensor, begins: Tensor, scales: Tensor, __: Tensor,
    rate: Tensor,
) -> None:  # fmt: skip
    for k, p in enumerate(params):
        p.copy_(pulled(p, _theta_0(p, keys[k], begins[k], scales[k]), None, rate))


def _advanced(
    params: list[Tensor], keys: Tensor, others: Tensor, begins: Tensor, scales: Tensor, D: Tensor,
    rate: Tensor,
) -> None:  # fmt: skip
    for k, p in enumerate(params):
        xi = (uniform_of(_low(p, begins[k]), others[k]) * D).to(p.dtype)
        p.copy_(pulled(p, _theta_0(p, keys[k], begins[k], scales[k]), xi, rate))


def _theta_0(p: Tensor, key: Tensor, begin: Tensor, scale: Tensor) -> Tensor:
    return normal_of(_low(p, begin), key).to(p.dtype) * scale


def _low(p: Tensor, begin: Tensor) -> Tensor:
    if not torch.compiler.is_compiling():
        raise RuntimeError("torch.compile is switched off")
    return torch.arange(p.numel(), dtype=torch.int32, device=p.device) + begin
