"""Rules of sums, extremes and lengths along axes, and of the softmax."""

from __future__ import annotations

from ..engine import Engine, Info, rule
from ..graph import Node, Value
from ..labels import FIXED
from .pointwise import elementwise, tensors


@rule("sum", "mean", "nansum")
def total(engine: Engine, node: Node) -> Info:
    """Return a sum or mean over some axes."""
    value, result = node.args[0], node.results[0]
    assert result is not None
    dims = _reduced(node, value)
    info = engine.info(value, summed=dims)
    for axis in dims:
        engine.labels.freeze(info.axes[axis])
        if axis not in info.products:
            engine.labels.bend(info.axes[axis])
    return _without(info, dims, value, result, info.whole)


def _reduced(node: Node, value: Value) -> frozenset[int]:
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if isinstance(dims, int) and not isinstance(dims, bool):
        dims = [dims]
    if not isinstance(dims, list | tuple) or not dims:
        return frozenset(range(len(value.shape)))
    return frozenset(axis % len(value.shape) for axis in dims)


def _without(info: Info, dims: frozenset[int], value: Value, result: Value, whole: int) -> Info:
    if len(result.shape) == len(value.shape):
        return Info([[] if axis in dims else own for axis, own in enumerate(info.axes)], whole)
    return Info([own for axis, own in enumerate(info.axes) if axis not in dims], whole)


@rule("amax", "amin", "max", "min", "logsumexp", "prod", "any", "all", "aminmax", "median")
def extreme(engine: Engine, node: Node) -> Info | list[Info]:
    """Return the largest of the units, or another number in which their order plays no part."""
    value = node.args[0]
    if len(tensors(node)) > 1:
        return elementwise(engine, node)
    dims = _reduced(node, value)
    info = engine.info(value)
    engine.still(info)
    engine.bend(info)
    results = [one for one in node.results if one is not None]
    if len(results) > 1:
        # The place of the largest is told beside it: it names units.
        for axis in dims:
            engine.tell(node, info.axes[axis])
    return [_without(info, dims, value, one, FIXED) for one in results]


@rule("argmax", "argmin")
def place(engine: Engine, node: Node) -> Info:
    """Return the number of a unit: all of the axis are told apart."""
    value, result = node.args[0], node.results[0]
    assert result is not None
    dims = _reduced(node, value)
    info = engine.info(value)
    engine.still(info)
    engine.bend(info)
    for axis in dims:
        engine.tell(node, info.axes[axis])
    return _without(info, dims, value, result, FIXED)


@rule("_local_scalar_dense")
def number(engine: Engine, node: Node) -> None:
    """Note that a number is read out, which may decide on what is computed."""
    engine.leave(node, "a number is read out")
    engine.fix(engine.info(node.args[0]))


@rule("linalg_vector_norm", "norm")
def norm(engine: Engine, node: Node) -> Info | list[Info]:
    """Return the length along some axes, which neither signs nor rotations change."""
    value, result = node.args[0], node.results[0]
    assert result is not None
    order = node.args[1] if len(node.args) > 1 else node.kwargs.get("ord", 2)
    dims = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim")
    reduced = (
        frozenset(range(len(value.shape)))
        if dims is None
        else frozenset(
            axis % len(value.shape) for axis in ([dims] if isinstance(dims, int) else dims)
        )
    )
    info = engine.info(value)
    for axis, own in enumerate(info.axes):
        if axis not in reduced or order != 2:
            engine.labels.bend(own)
    even = Info([engine.even(axis) for axis in info.axes])
    return _without(even, reduced, value, result, FIXED)


@rule("_softmax", "_log_softmax", "_safe_softmax", "softmax", "log_softmax")
def softmax(engine: Engine, node: Node) -> Info:
    """Return a softmax: no sign, no rotation; the units of its axis may change places."""
    value = node.args[0]
    info = engine.info(value)
    engine.still(info)
    engine.bend(info)
    dim = node.args[1] % len(value.shape)
    engine.mixes(info, frozenset({dim}))
    for axis, own in enumerate(info.axes):
        if axis != dim:
            for part in own:
                part.label.root().softmax = True
    return Info(info.axes)
