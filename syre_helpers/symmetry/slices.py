"""The slices of tensors that belong to the hidden units of a layer."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._checks import check_int, check_model

# Each of these acts on every unit by itself and in the same way, so it commutes with a permutation.
_ELEMENTWISE = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity,
    nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.Sigmoid, nn.SiLU,
    nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
_UNITWISE = (
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.MaxPool1d, nn.MaxPool2d,
    nn.MaxPool3d,
)  # fmt: skip
_MAX_POOLS = (
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.MaxPool1d, nn.MaxPool2d,
    nn.MaxPool3d,
)  # fmt: skip
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_NORMS = (*_BATCH_NORMS, nn.LayerNorm)
_WITH_UNITS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_LayerWithUnits = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True)
class Slice:
    """The part of one tensor that a layer's units own: `block` entries per unit along `axis`."""

    axis: int
    block: int = 1

    def entries(self, units: Iterable[int], device: torch.device | None = None) -> Tensor:
        """Return the indices along the axis that belong to some units, in the order given."""
        owned = (range(unit * self.block, (unit + 1) * self.block) for unit in units)
        indices = list(itertools.chain.from_iterable(owned))
        return torch.tensor(indices, dtype=torch.int64, device=device)

    def of(self, tensor: Tensor, units: Iterable[int]) -> Tensor:
        """Return a copy of the entries that belong to some units."""
        return tensor.index_select(self.axis, self.entries(units, tensor.device))

    def rows(self, tensor: Tensor, width: int) -> Tensor:
        """Return the scalars of each of `width` units as one row: (units, scalars per unit)."""
        return tensor.movedim(self.axis, 0).reshape(width, -1)

    def from_rows(self, rows: Tensor, like: Tensor) -> Tensor:
        """Return the tensor, of the shape of `like`, whose `rows` are given."""
        return rows.reshape(like.movedim(self.axis, 0).shape).movedim(0, self.axis)


@dataclass(frozen=True)
class HiddenLayer:
    """The tensors that a layer's units own, by name.

    `incoming`, `outgoing` and `norm` map names of tensors to slices; `activations` are the modules
    between the layer and its norm or, where it has none, the outgoing layer; None where not known.
    """

    name: str
    width: int
    incoming: dict[str, Slice]
    outgoing: dict[str, Slice]
    norm: dict[str, Slice]
    norm_module: nn.Module | None
    activations: tuple[nn.Module, ...] | None
    buffers: frozenset[str]

    @property
    def slices(self) -> dict[str, Slice]:
        """All slices together, by the name of the tensor."""
        return {**self.incoming, **self.norm, **self.outgoing}

    def check_unit(self, unit: int, argument: str) -> None:
        """Raise an error unless `unit` is the number of one of the layer's units."""
        check_int(argument, unit)
        if not 0 <= unit < self.width:
            raise ValueError(
                f"{argument}={unit} is out of range: layer {self.name!r} has {self.width} units, "
                "counted from 0"
            )


def hidden_layer(
    model: nn.Module, layer: str, outgoing: str | Sequence[str] | None, norm: str | None
) -> HiddenLayer:
    """Return the tensors that belong to the units of a layer.

    Parameters
    ----------
    model : nn.Module
        A network; its structure is read, its values are not.
    layer : str
        Name of an ``nn.Linear`` or convolution without groups.
    outgoing : str or sequence of str, optional
        The layer (or layers) that read the units. None: inferred from a plain ``nn.Sequential``.
    norm : str, optional
        The BatchNorm or LayerNorm over the units. None: inferred likewise; no norm where `outgoing`
        is given.

    Returns
    -------
    HiddenLayer
        Names of the tensors, with the slice of each that belongs to the units.

    Raises
    ------
    ValueError
        If a name is wrong, or the structure cannot be inferred and `outgoing` was not given.
    """
    check_model("model", model)
    module = _with_units(model, layer, "layer")
    width = module.weight.shape[0]
    if outgoing is None:
        norm_found, activations, following = _follow(model, layer)
        norm = norm_found if norm is None else norm
        targets: Sequence[str] = (following,)
    else:
        activations = None
        targets = (outgoing,) if isinstance(outgoing, str) else tuple(outgoing)
    norm_module = None if norm is None else _module(model, norm, "norm")
    norm_tensors = {} if norm is None else _norm_tensors(norm, norm_module, width)
    return HiddenLayer(
        name=layer,
        width=width,
        incoming={f"{layer}.{n}": Slice(0) for n, _ in module.named_parameters(recurse=False)},
        outgoing={f"{target}.weight": _reading_slice(model, target, width) for target in targets},
        norm=norm_tensors,
        norm_module=norm_module,
        activations=activations,
        buffers=frozenset(norm_tensors) & {name for name, _ in model.named_buffers()},
    )


def is_odd(activations: Sequence[nn.Module | Callable[[Tensor], Tensor]]) -> bool:
    """Test on a grid of float64 values whether the composed activations are an odd function.

    Parameters
    ----------
    activations : sequence of nn.Module or callable
        Applied one after the other.

    Returns
    -------
    bool
        True where f(-x) = -f(x) on the grid, to 1e-12.
    """
    grid = torch.linspace(-4, 4, 257, dtype=torch.float64)
    plus, minus = grid, -grid
    for activation in activations:
        if isinstance(activation, _MAX_POOLS):
            return False  # max(-x) is not -max(x)
        if isinstance(activation, _UNITWISE):
            continue  # the others are linear in the unit
        function = (
            copy.deepcopy(activation).double() if isinstance(activation, nn.Module) else activation
        )
        with torch.no_grad():
            plus, minus = function(plus), function(minus)
    return bool(torch.allclose(plus, -minus, rtol=0, atol=1e-12))


def _module(model: nn.Module, name: str, argument: str) -> nn.Module:
    modules = dict(model.named_modules())
    if not name or name not in modules:
        candidates = [n for n, m in modules.items() if isinstance(m, _WITH_UNITS)]
        raise ValueError(
            f"{argument}={name!r} names no module of the model; layers with units are {candidates}"
        )
    return modules[name]


def _with_units(model: nn.Module, name: str, argument: str) -> _LayerWithUnits:
    module = _module(model, name, argument)
    if not isinstance(module, _WITH_UNITS):
        raise ValueError(
            f"{argument}={name!r} is a {type(module).__name__}; a layer with hidden units is an "
            "nn.Linear or an nn.Conv1d, 2d or 3d"
        )
    if not isinstance(module, nn.Linear) and module.groups != 1:
        raise ValueError(
            f"{argument}={name!r} is a grouped convolution (groups={module.groups}); its channels "
            "are not interchangeable. Use a layer with groups=1."
        )
    return module


def _reading_slice(model: nn.Module, target: str, width: int) -> Slice:
    """Return the slice of the next layer's weight that reads the units."""
    module = _with_units(model, target, "outgoing")
    inputs = module.weight.shape[1]
    if inputs % width:
        raise ValueError(
            f"outgoing={target!r} reads {inputs} inputs, which is no multiple of the layer's "
            f"{width} units; name the layer that reads these units"
        )
    return Slice(1, inputs // width)


def _norm_tensors(norm: str, module: nn.Module | None, width: int) -> dict[str, Slice]:
    if not isinstance(module, _NORMS):
        raise ValueError(
            f"norm={norm!r} is a {type(module).__name__}; only BatchNorm and LayerNorm treat all "
            "units alike"
        )
    tensors = [*module.named_parameters(), *module.named_buffers()]
    slices = {f"{norm}.{name}": Slice(0) for name, tensor in tensors if tensor.ndim == 1}
    for name, tensor in tensors:
        if tensor.ndim > 0 and tensor.shape != (width,):
            raise ValueError(
                f"norm={norm!r} normalises shape {tuple(tensor.shape)} ({name}), but the layer has "
                f"{width} units; name the norm that follows the layer"
            )
    return slices


def _follow(model: nn.Module, layer: str) -> tuple[str | None, tuple[nn.Module, ...], str]:
    """Walk down the plain Sequential that holds the layer, to the layer that reads its units."""
    chain = list(_chain(model, layer))
    names = [name for name, _ in chain]
    advice = (
        "; pass example_input=..., which shows it in any model, or name the layer that reads these "
        "units with outgoing='...'"
    )
    if layer not in names:
        raise ValueError(
            f"layer={layer!r} does not stand in a plain nn.Sequential, so the layer after it "
            f"cannot be inferred{advice} (and its norm with norm='...')"
        )
    norm: str | None = None
    activations: list[nn.Module] = []
    for name, module in chain[names.index(layer) + 1 :]:
        if isinstance(module, _WITH_UNITS):
            return norm, tuple(activations), name
        if isinstance(module, _NORMS) and norm is None:
            norm = name
        elif isinstance(module, (*_ELEMENTWISE, *_UNITWISE)):
            if norm is None:
                activations.append(module)
        else:
            raise ValueError(
                f"cannot tell what {type(module).__name__} ({name!r}) does to the units of layer "
                f"{layer!r}{advice}"
            )
    raise ValueError(
        f"layer={layer!r} has no layer after it: its units are the outputs, not hidden{advice}"
    )


def _chain(model: nn.Module, layer: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the leaves, in order, of the outermost plain Sequential around the layer."""
    parts = layer.split(".")
    for depth in range(len(parts)):
        prefix = ".".join(parts[:depth])
        module = model.get_submodule(prefix)
        if _is_plain_sequential(module):
            yield from _leaves(module, prefix)
            return


def _is_plain_sequential(module: nn.Module) -> bool:
    """Test whether a module runs its children in order: a Sequential that keeps its forward."""
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _leaves(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    if not _is_plain_sequential(module):
        yield prefix, module
        return
    for name, child in module.named_children():
        yield from _leaves(child, f"{prefix}.{name}" if prefix else name)
