"""What the units of a class do on a batch: recorded while the model runs, and kept small."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import measures
from .units import Part, UnitClass

_KEPT = 4096  # samples for the spectra; dead units are told from all of them
_MOST_ROWS, _MOST_INPUTS = 1024, 4096  # for the rank of what a model is called with
_NEXT_TO_0 = 1e-3  # of the range of the more active units
_BIAS_LAST = ("Linear", "Conv1D", "LayerNorm", "RMSNorm", "Embedding")


@dataclass
class Features:
    """The values of some units, (samples, units); positions of images and sequences are samples.

    Parameters
    ----------
    values : Tensor
        At most 4096 samples, evenly chosen, float64.
    low, high : Tensor
        Least and largest value of each unit over all samples, (places, units), at each place that
        reads them: a skip connection can bring later what was not there at first.
    samples : int
        Number of all samples.
    eps : float
        Relative rounding of the values as they were computed.
    depth : Tensor, optional
        Of units that send next to 0: the largest value before the activation, over the usual range
        there, the least of several layers; infinite for all other units.
    where : str
        The module at which they were recorded.
    read : bool
        Whether they are what that module reads, rather than what it makes.
    """

    values: Tensor
    low: Tensor
    high: Tensor
    samples: int
    eps: float
    where: str
    read: bool
    depth: Tensor | None = None

    def constant(self, tolerance: float) -> Tensor:
        """Return a mask of units that vary nowhere, next to the more active units of the class."""
        spread = self.high - self.low
        size = torch.maximum(self.high.abs(), self.low.abs())
        usual = spread.quantile(0.9, 1, keepdim=True)
        # Where most do not vary, rounding counts as nothing too.
        usual = usual.where(usual > 0, spread.amax(1, keepdim=True))
        return ((spread <= tolerance * usual) | (spread <= 8 * self.eps * size)).all(0)


class Recorder:
    """Hooks that record the units of one class while a model runs.

    Parameters
    ----------
    units : UnitClass
        The class.
    modules : dict of str to nn.Module
        All modules of the model, by name.
    """

    def __init__(self, units: UnitClass, modules: dict[str, nn.Module]) -> None:
        self._values: list[Tensor] = []
        self._ends: dict[str, list[Tensor]] = {}  # least and largest values, by module
        self._before: dict[str, list[Tensor]] = {}  # the same, in front of the activation
        self._samples, self._eps = 0, 0.0
        self.width = units.width
        self.where: str | None = None
        self.read = False
        self._handles = []
        readers = [part for part in units.parts if part.role == "outgoing"]
        makers = [part for part in units.parts if part.role in ("gain", "incoming")]
        norms = [part for part in makers if _is_batch_norm(part, modules)]  # gates are behind them
        for part in readers:
            found = _module(part, modules)
            if found is not None and found[0] not in self._ends:
                name, module = found
                self._ends[name] = []
                self._handles.append(module.register_forward_pre_hook(self._read(name, part)))
                self.where, self.read = self.where or name, True
        for part in norms or makers:
            if (found := _module(part, modules)) is not None:
                name, module = found
                record = self._made(name, part, keep=self.where is None)
                self._handles.append(module.register_forward_hook(record))
                self.where = self.where or name

    def remove(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def features(self) -> Features | None:
        """Return the recorded features, or None if there are none."""
        if not self._values or self.where is None:
            return None
        ends = torch.stack([_ends(seen) for seen in self._ends.values() if seen])
        low, high = ends.unbind(1)
        depth = None
        if self._before:
            depth = torch.stack([_depth(seen) for seen in self._before.values()]).amin(0)
            depth = depth.where(_silent(low, high), math.inf)
        values = _evenly(torch.cat(self._values))
        return Features(values, low, high, self._samples, self._eps, self.where, self.read, depth)

    def _read(self, name: str, part: Part) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[object, ...]) -> None:
            if arguments and isinstance(arguments[0], Tensor):
                self._keep(name, _by_unit(module, part, arguments[0]))

        return hook

    def _made(self, name: str, part: Part, keep: bool) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[object, ...], output: object) -> None:
            if not isinstance(output, Tensor):
                return
            values = _by_unit(module, part, output)
            if values is None:
                return
            if keep:
                self._keep(name, values)
            else:
                _add_ends(self._before, name, values)

        return hook

    def _keep(self, name: str, values: Tensor | None) -> None:
        if values is None or not values.numel():
            return
        _add_ends(self._ends, name, values)
        if name != self.where:
            return
        self._samples += len(values)
        self._eps = torch.finfo(values.dtype).eps
        self._values.append(_evenly(values).double().cpu())


def _add_ends(ends: dict[str, list[Tensor]], name: str, values: Tensor) -> None:
    """Note the least and the largest value of each unit in one call of a module."""
    both = torch.stack([values.amin(0), values.amax(0)])
    ends.setdefault(name, []).append(both.double().cpu())


def _ends(seen: list[Tensor]) -> Tensor:
    """Return the least and the largest values over all calls of a module, (2, units)."""
    both = torch.stack(seen)
    return torch.stack([both[:, 0].amin(0), both[:, 1].amax(0)])


def _silent(low: Tensor, high: Tensor) -> Tensor:
    """Return a mask of units whose values are next to 0 at all places, (units,)."""
    usual = (high - low).quantile(0.9, 1, keepdim=True)
    return (torch.maximum(high.abs(), low.abs()) <= _NEXT_TO_0 * usual).all(0)


def _depth(seen: list[Tensor]) -> Tensor:
    """Return the largest value of each unit over the usual range."""
    low, high = _ends(seen)
    return high / (high - low).quantile(0.9).clamp_min(1e-300)


class InputRank:
    """A hook that takes the rank of what a module reads, centred; `rank` is infinite if unknown.

    Parameters
    ----------
    name : str
        Of the module.
    module : nn.Module
        Whose units are not those of a class.
    """

    def __init__(self, name: str, module: nn.Module) -> None:
        self.name, self.rank = name, math.inf
        self.remove = module.register_forward_pre_hook(self._read).remove

    @torch.no_grad()
    def _read(self, module: nn.Module, arguments: tuple[object, ...]) -> None:
        x, axis = arguments[0] if arguments else None, unit_axis(module)
        if not isinstance(x, Tensor) or axis is None or not x.is_floating_point() or x.ndim < 2:
            return
        rows = x.detach().movedim(axis, -1).reshape(-1, x.shape[axis])
        rows = rows[:: -(-len(rows) // _MOST_ROWS)].double().cpu()
        if rows.shape[1] > _MOST_INPUTS:
            return
        values = measures.squared_spectrum(rows - rows.mean(0)).sqrt()
        tolerance = max(1e-7, 32 * torch.finfo(x.dtype).eps)
        rank = float((values > tolerance * values.max()).sum())
        self.rank = rank if math.isinf(self.rank) else self.rank + rank


def _evenly(values: Tensor) -> Tensor:
    return values[:: -(-len(values) // _KEPT)]


def _module(part: Part, modules: dict[str, nn.Module]) -> tuple[str, nn.Module] | None:
    """Return the module that a tensor belongs to, if its inputs and outputs lie as expected."""
    name = part.tensor.rpartition(".")[0]
    module = modules.get(name)
    if module is None or unit_axis(module) is None:
        return None
    if part.entries is None:
        return None
    if part.role == "outgoing" and getattr(module, "groups", 1) != 1:
        return None  # its weight does not say which of its inputs a group reads
    return name, module


def _is_batch_norm(part: Part, modules: dict[str, nn.Module]) -> bool:
    module = modules.get(part.tensor.rpartition(".")[0])
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def unit_axis(module: nn.Module) -> int | None:
    """Return the axis of a module's input and output along which units lie; None if not known."""
    kinds = {kind.__name__ for kind in type(module).__mro__}
    if kinds & set(_BIAS_LAST):
        return -1
    if isinstance(module, nn.modules.conv._ConvNd | nn.modules.batchnorm._BatchNorm | nn.GroupNorm):
        return 1
    return None


@torch.no_grad()
def _by_unit(module: nn.Module, part: Part, values: Tensor) -> Tensor | None:
    """Return values as (samples, units): all other axes, and a unit's several entries, count."""
    axis = unit_axis(module)
    assert axis is not None
    assert part.entries is not None
    if isinstance(module, nn.modules.conv._ConvNd):  # without a batch axis
        axis = values.ndim - len(module.kernel_size) - 1
    if not values.is_floating_point() or values.ndim < 2:
        return None
    entries = part.entries.to(values.device)
    if int(entries.max()) >= values.shape[axis]:
        return None
    chosen = values.detach().movedim(axis, -1)[..., entries.T.flatten()]
    return chosen.reshape(-1, entries.shape[0])


def recorded(recorders: Sequence[Recorder]) -> list[Features | None]:
    """Return the features of several classes, and take their hooks away."""
    for one in recorders:
        one.remove()
    return [one.features() for one in recorders]
