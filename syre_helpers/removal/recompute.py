r"""The pull without memory: :math:`\theta_0` and :math:`D` computed anew in every step.

Where a compiler works, one kernel computes them and pulls, so that nothing of the size of a
parameter is stored or written but the parameter itself. Elsewhere ordinary operations do the same
by pieces of 65,536 elements, several times slower.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from . import noise
from .sharding import first, index, local
from .warning import SyreWarning

Kernel = Callable[..., None]
# Elements pulled at once on a CPU where a buffer is needed: it stays in the cache.
_CACHED = 1 << 18
# Parameters pulled by one call of a compiled kernel. A call costs what tens of thousands of
# elements do, and on a GPU more; but each parameter more takes the compiler some five seconds.
_TOGETHER = 4


@dataclass(frozen=True)
class Recipe:
    """All that theta_0 and D - 1 of one parameter follow from.

    Parameters
    ----------
    seed : int
        Of the remedy.
    name : str
        The parameter's canonical name.
    scale : float
        Standard deviation of theta_0.
    sigma_D : float
        Half-width of D - 1.
    """

    seed: int
    name: str
    scale: float
    sigma_D: float

    def bias(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Return theta_0 at some indices of the whole, flattened parameter."""
        unit = noise.normal(self.seed, self._bias, index)
        return (unit.to(_wide(dtype)) * self.scale).to(dtype)

    def xi(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Return D - 1 there, which float32 holds more finely than D."""
        return (noise.uniform(self.seed, self._metric, index) * self.sigma_D).to(dtype)

    def keys(self, block: int) -> tuple[list[int], list[int]]:
        """Return the keys of theta_0 and of D - 1, if D is not 1, for one block of indices."""
        names = self._bias, self._metric if self.sigma_D else self._bias
        first, second = (noise.key_words(self.seed, name, block) for name in names)
        return first, second

    @property
    def _bias(self) -> str:
        return f"bias|{self.name}"

    @property
    def _metric(self) -> str:
        return f"metric|{self.name}"


def pull_stored_(
    params: list[Tensor], theta_0: list[Tensor], xi: list[Tensor], rate: float
) -> None:
    """Pull parameters in place, ``p - rate * D * (p - theta_0)``.

    Parameters
    ----------
    params, theta_0 : list of Tensor
        Of the same shapes.
    xi : list of Tensor
        D - 1, likewise; empty for D = 1.
    rate : float
        Learning rate times weight decay.
    """
    if not xi:
        torch._foreach_lerp_(params, theta_0, rate)
        return
    together = []
    for trio in zip(params, theta_0, xi, strict=True):
        if trio[0].device.type == "cpu" and trio[0].numel() > _CACHED and trio[0].is_contiguous():
            for pieces in zip(*(t.reshape(-1).split(_CACHED) for t in trio), strict=True):
                _pull_advanced_([pieces], rate)
        else:
            together.append(trio)
    if together:
        _pull_advanced_(together, rate)


def _pull_advanced_(trios: Sequence[tuple[Tensor, ...]], rate: float) -> None:
    """Pull each (parameter, theta_0, D - 1); needs a buffer of their size."""
    params, theta_0, xi = ([trio[k] for trio in trios] for k in range(3))
    diff = list(torch._foreach_sub(params, theta_0))
    torch._foreach_addcmul_(diff, diff, xi)  # diff + diff * xi
    torch._foreach_add_(params, diff, alpha=-rate)


def pull_recomputed_(params: Sequence[Tensor], recipes: Sequence[Recipe], rate: float) -> None:
    """Pull parameters in place, as `pull_stored_` does to the last bit, storing nothing.

    Parameters
    ----------
    params : sequence of Tensor
        Parameters, sharded or not. What does not lie in memory in the order of its indices
        (``channels_last``) is copied, a few parameters at a time, and back.
    recipes : sequence of Recipe
        What theta_0 and D of each are computed from.
    rate : float
        Learning rate times weight decay.
    """
    for k in range(0, len(params), _TOGETHER):
        _pull_few_(params[k : k + _TOGETHER], recipes[k : k + _TOGETHER], rate)


def _pull_few_(params: Sequence[Tensor], recipes: Sequence[Recipe], rate: float) -> None:
    runs: list[_Run] = []
    copied: list[tuple[Tensor, Tensor]] = []
    for p, recipe in zip(params, recipes, strict=True):
        here, start = local(p), first(p)
        flat = here.reshape(-1)
        if start is None:
            _pull_by_pieces_(flat, recipe, rate, index(p).reshape(-1))
        else:
            runs += _within_blocks(_Run(flat, recipe, start))
        if flat.data_ptr() != here.data_ptr():
            copied.append((here, flat))
    _pull_runs_(runs, rate)
    for here, flat in copied:
        here.copy_(flat.view_as(here))


class _Run(NamedTuple):
    """Elements that follow one another in the whole parameter, the first at index `begin`."""

    flat: Tensor
    recipe: Recipe
    begin: int


def _within_blocks(run: _Run) -> Iterator[_Run]:
    """Cut a run where the key changes."""
    done = 0
    while done < run.flat.numel():
        begin = run.begin + done
        end = (begin >> noise.BLOCK_BITS) + 1 << noise.BLOCK_BITS
        part = run.flat[done : done + end - begin]
        yield _Run(part, run.recipe, begin)
        done += part.numel()


def _pull_runs_(runs: Sequence[_Run], rate: float) -> None:
    """Pull runs that have one key each, those of a kind by one call of the kernel."""
    alike: dict[tuple[torch.device, torch.dtype, float], list[_Run]] = {}
    for run in runs:
        kind = run.flat.device, run.flat.dtype, run.recipe.sigma_D
        # One element would be compiled separately; from 0.5 on lerp computes from the other end.
        plain = run.flat.numel() == 1 or rate >= 0.5
        if plain or _kernel(*kind[:2], run.recipe.sigma_D > 0) is None:
            _pull_by_pieces_(run.flat, run.recipe, rate, run.begin)
        else:
            alike.setdefault(kind, []).append(run)
    for (device, dtype, sigma_D), group in alike.items():
        kernel = _kernel(device, dtype, sigma_D > 0)
        assert kernel is not None
        for k in range(0, len(group), _TOGETHER):
            _launch(kernel, group[k : k + _TOGETHER], rate)


def _pull_by_pieces_(flat: Tensor, recipe: Recipe, rate: float, where: Tensor | int) -> None:
    """Pull by plain operations; `where` holds the elements' indices, or is the first of a run."""
    for k, piece in enumerate(flat.split(noise.CHUNK)):
        begin = k * noise.CHUNK
        if isinstance(where, Tensor):
            at = where[begin : begin + piece.numel()]
        else:
            at = where + begin + torch.arange(piece.numel(), device=piece.device)
        xi = [recipe.xi(at, piece.dtype)] if recipe.sigma_D else []
        pull_stored_([piece], [recipe.bias(at, piece.dtype)], xi, rate)


def _launch(kernel: Kernel, runs: Sequence[_Run], rate: float) -> None:
    """Pull a few runs of a device, type and sigma_D; what the kernel takes beyond is made up."""
    flat, recipe, _ = runs[0]
    missing = _TOGETHER - len(runs)
    whence = tuple((run.recipe, run.begin) for run in runs)
    kernel(
        # Detached, since a view is compiled anew for every shape of what it is a view of.
        [*(run.flat.detach() for run in runs), *_spare(flat.device, flat.dtype)[:missing]],
        *_table(whence, flat.device, flat.dtype),
        _number("sigma_D", recipe.sigma_D, _finest(flat.device)),
        _number("rate", rate, flat.dtype),
    )


@lru_cache(maxsize=4096)
def _number(role: str, value: float, dtype: torch.dtype) -> Tensor:
    """Return a number as a tensor of the CPU: as such it would be compiled in, each value anew.

    Equal numbers in two roles are two tensors, since one in two places would be compiled anew, too.
    """
    return torch.tensor(value, dtype=dtype)


@lru_cache(maxsize=4096)
def _table(
    whence: tuple[tuple[Recipe, int], ...], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what the kernel needs to know of the runs that it takes.

    Keys of theta_0 and of D - 1 (the same once more if D is 1), shape (runs, 7), the first index
    within its block, and the scale, shape (runs,).
    """
    at = [(recipe, *divmod(begin, 1 << noise.BLOCK_BITS)) for recipe, begin in whence]
    at += at[:1] * (_TOGETHER - len(at))
    bias, metric = zip(*(r.keys(block) for r, block, _ in at), strict=True)
    keys = torch.tensor(bias, dtype=torch.int32, device=device)
    others = keys if metric == bias else torch.tensor(metric, dtype=torch.int32, device=device)
    begins = torch.tensor([begin for *_, begin in at], dtype=torch.int32, device=device)
    scales = torch.tensor([r.scale for r, *_ in at], dtype=dtype, device=device)
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
    recipe = Recipe(0, "trial", 1.0, 0.5 if advanced else 0.0)
    # Sizes that differ, or the kernel would be one for parameters of equal sizes.
    sizes = [1000 + 7 * k for k in range(_TOGETHER)]
    tried, right = ([torch.zeros(n, device=device, dtype=dtype) for n in sizes] for _ in range(2))
    # From zeros, at a rate that is a power of 2, the result is theta_0 to the last bit.
    for p in right:
        _pull_by_pieces_(p, recipe, 0.25, 0)
    try:
        importlib.import_module("torch._inductor.inductor_prims")  # where `_fma` finds its word
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _launch(kernel, [_Run(p, recipe, 0) for p in tried], 0.25)
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
        p.copy_(_fma(_theta_0(p, keys[k], begins[k], scales[k]) - p, rate, p))


def _advanced(
    params: list[Tensor], keys: Tensor, others: Tensor, begins: Tensor, scales: Tensor, D: Tensor,
    rate: Tensor,
) -> None:  # fmt: skip
    for k, p in enumerate(params):
        diff = p - _theta_0(p, keys[k], begins[k], scales[k])
        xi = (noise.uniform_of(_low(p, begins[k]), others[k]) * D).to(p.dtype)
        p.copy_(_fma(_fma(diff, xi, diff), -rate, p))


def _theta_0(p: Tensor, key: Tensor, begin: Tensor, scale: Tensor) -> Tensor:
    return noise.normal_of(_low(p, begin), key).to(p.dtype) * scale


def _low(p: Tensor, begin: Tensor) -> Tensor:
    if not torch.compiler.is_compiling():
        raise RuntimeError("torch.compile is switched off")
    return torch.arange(p.numel(), dtype=torch.int32, device=p.device) + begin


def _fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return ``a * b + c``, rounded once where PyTorch's compiler has a word for it.

    Its ready-made operations, which the stored pull uses, round once. Where the word is missing,
    the two pulls may differ by one rounding.
    """
    fused = getattr(torch.ops.prims, "fma", None)
    return a * b + c if fused is None else fused(a, b, c)


def _finest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def _wide(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 else torch.float32
