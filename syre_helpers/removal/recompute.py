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

import torch
from torch import Tensor

from . import noise
from .sharding import first, index, local
from .warning import SyreWarning

Kernel = Callable[..., None]
# Elements pulled at once on a CPU where a buffer is needed: it stays in the cache.
_CACHED = 1 << 18


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

    def keys(self, block: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the keys of theta_0 and of D - 1, if D is not 1, for one block of indices."""
        names = self._bias, self._metric if self.sigma_D else self._bias
        first, second = (_key(self.seed, name, block, device) for name in names)
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


def pull_recomputed_(p: Tensor, recipe: Recipe, rate: float) -> None:
    """Pull one parameter in place, as `pull_stored_` does to the last bit, storing nothing.

    Parameters
    ----------
    p : Tensor
        A parameter, sharded or not. What does not lie in memory in the order of its indices
        (``channels_last``) is copied, and back.
    recipe : Recipe
        What theta_0 and D are computed from.
    rate : float
        Learning rate times weight decay.
    """
    here, start = local(p), first(p)
    flat = here.reshape(-1)
    if start is None:
        _pull_by_pieces_(flat, recipe, rate, index(p).reshape(-1))
    else:
        _pull_run_(flat, recipe, rate, start)
    if flat.data_ptr() != here.data_ptr():
        here.copy_(flat.view_as(here))


def _pull_run_(flat: Tensor, recipe: Recipe, rate: float, start: int) -> None:
    """Pull elements that follow one another in the whole parameter, the first at index `start`."""
    for piece, begin in _within_blocks(flat, start):
        # One element would be compiled separately; from 0.5 on lerp computes from the other end.
        plain = piece.numel() == 1 or rate >= 0.5
        kernel = None if plain else _kernel(flat.device, flat.dtype, recipe.sigma_D > 0)
        if kernel is None:
            _pull_by_pieces_(piece, recipe, rate, begin)
        else:
            _launch(kernel, piece, recipe, rate, begin)


def _within_blocks(flat: Tensor, start: int) -> Iterator[tuple[Tensor, int]]:
    """Cut a run of elements where the key changes; yield each part with its first index."""
    done = 0
    while done < flat.numel():
        begin = start + done
        end = (begin >> noise.BLOCK_BITS) + 1 << noise.BLOCK_BITS
        part = flat[done : done + end - begin]
        yield part, begin
        done += part.numel()


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


def _launch(kernel: Kernel, piece: Tensor, recipe: Recipe, rate: float, begin: int) -> None:
    numbers = [
        _number("begin", begin & (1 << noise.BLOCK_BITS) - 1, torch.int32),
        _number("scale", recipe.scale, piece.dtype),
        _number("sigma_D", recipe.sigma_D, _finest(piece.device)),
        _number("rate", rate, piece.dtype),
    ]
    # Detached, since a view is compiled anew for every shape of what it is a view of.
    kernel(piece.detach(), *recipe.keys(begin >> noise.BLOCK_BITS, piece.device), *numbers)


@lru_cache(maxsize=4096)
def _number(role: str, value: float, dtype: torch.dtype) -> Tensor:
    """Return a number as a tensor of the CPU: as such it would be compiled in, each value anew.

    Equal numbers in two roles are two tensors, since one in two places would be compiled anew, too.
    """
    return torch.tensor(value, dtype=dtype)


@lru_cache(maxsize=4096)
def _key(seed: int, name: str, block: int, device: torch.device) -> Tensor:
    return torch.tensor(noise.key_words(seed, name, block), dtype=torch.int32, device=device)


@lru_cache
def _kernel(device: torch.device, dtype: torch.dtype, advanced: bool) -> Kernel | None:
    """Return the compiled kernel, tried against plain operations; None where there is none."""
    if dtype not in (torch.float32, torch.float64):
        return None  # the many roundings of a narrow format are those of single operations
    kernel: Kernel = torch.compile(_advanced if advanced else _basic, fullgraph=True, dynamic=True)
    recipe = Recipe(0, "trial", 1.0, 0.5 if advanced else 0.0)
    # From zeros, at a rate that is a power of 2, the result is theta_0 to the last bit.
    tried, right = torch.zeros(2, 1000, device=device, dtype=dtype)
    _pull_by_pieces_(right, recipe, 0.25, 0)
    try:
        importlib.import_module("torch._inductor.inductor_prims")  # where `_fma` finds its word
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _launch(kernel, tried, recipe, 0.25, 0)
        if not torch.allclose(tried, right, rtol=2 * torch.finfo(dtype).eps, atol=0):
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
    p: Tensor, key: Tensor, _: Tensor, begin: Tensor, scale: Tensor, __: Tensor, rate: Tensor
) -> None:
    p.copy_(_fma(_theta_0(p, key, begin, scale) - p, rate, p))


def _advanced(
    p: Tensor, key: Tensor, other: Tensor, begin: Tensor, scale: Tensor, D: Tensor, rate: Tensor
) -> None:
    diff = p - _theta_0(p, key, begin, scale)
    xi = (noise.uniform_of(_low(p, begin), other) * D).to(p.dtype)
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
