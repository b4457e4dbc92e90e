"""Rules of operators that read or write at places which numbers name."""

from __future__ import annotations

from ..engine import Engine, Info, rule
from ..graph import Node, Value
from ..labels import FIXED, Axis
from .shapes import argument, size_along


@rule("embedding")
def embedding(engine: Engine, node: Node) -> Info:
    """Return rows of a table."""
    table, places = engine.info(node.args[0]), engine.info(node.args[1])
    if node.args[1].number in engine.graph.learned:
        engine.tell(node, table.axes[0])  # codes that the network chooses
    else:
        engine.labels.pin(table.axes[0])
    engine.labels.freeze(table.axes[0])
    engine.still(places)
    return Info([*(engine.even(axis) for axis in places.axes), table.axes[1]], table.whole)


@rule("_embedding_bag", "_embedding_bag_forward_only")
def bag(engine: Engine, node: Node) -> list[Info | None]:
    """Return sums of rows of a table, or the largest of them."""
    table = engine.info(node.args[0])
    engine.labels.pin(table.axes[0])
    engine.labels.freeze(table.axes[0])
    for value in list(node.inputs())[1:]:
        engine.fix(engine.info(value))
    result = node.results[0]
    assert result is not None
    linear = argument(node, 4, "mode", 0) != 2
    if not linear:
        engine.still(table)
        engine.bend(table)
    bags = engine.labels.fresh(result.shape[0], pinned=True, bent=True, free=False)
    return [Info([bags, table.axes[1]], table.whole if linear else FIXED), None, None, None]


@rule("_fft_r2c", "_fft_c2r", "_fft_c2c")
def fourier(engine: Engine, node: Node) -> Info:
    """Return a Fourier transform along some axes: linear for all others."""
    value, result = node.args[0], node.results[0]
    assert result is not None
    info = engine.info(value)
    chosen = {one % len(value.shape) for one in node.args[1]}
    for axis in chosen:
        engine.tell(node, info.axes[axis])
        engine.labels.freeze(info.axes[axis])
        engine.labels.bend(info.axes[axis])
    engine.mixes(info, frozenset(chosen))
    axes = [
        engine.labels.fresh(n, pinned=True, bent=True, free=False)
        if axis in chosen
        else info.axes[axis]
        for axis, n in enumerate(result.shape)
    ]
    return Info(axes, info.whole)


@rule("index_select", "flip", "roll", "cumsum", "sort", "topk", "cummax", "logcumsumexp")
def ordered(engine: Engine, node: Node) -> list[Info]:
    """Return a tensor whose entries along some axes depend on their order; others go through."""
    value = node.args[0]
    info, linear = engine.info(value), node.name in ("index_select", "flip", "roll", "cumsum")
    named = {"roll": 2, "topk": 2}.get(node.name, 1)
    dims = argument(node, named, "dims" if node.name in ("flip", "roll") else "dim", -1)
    chosen = {
        one % len(value.shape) for one in (dims if isinstance(dims, list | tuple) else [dims])
    }
    for axis in chosen:
        engine.tell(node, info.axes[axis])
        engine.labels.freeze(info.axes[axis])
        engine.labels.bend(info.axes[axis])
    if not linear:
        engine.still(info)
        engine.bend(info)
    engine.mixes(info, frozenset(chosen))
    results = []
    for result in node.results:
        if result is None:
            continue
        axes = [
            engine.ordered(node, n, info.axes[axis]) if axis in chosen else info.axes[axis]
            for axis, n in enumerate(result.shape)
        ]
        results.append(Info(axes, info.whole if linear else FIXED))
    return results


@rule("index")
def index(engine: Engine, node: Node) -> Info | list[Info]:
    """Return entries that tensors of indices choose; axes without one go through."""
    value, places = node.args[:2]
    info = engine.info(value)
    chosen = [axis for axis, one in enumerate(places) if one is not None]
    if not chosen or any(not isinstance(places[axis], Value) for axis in chosen):
        return engine.unknown(node)
    for axis in chosen:
        engine.still(engine.info(places[axis]))
        if value.kind == "parameter":
            engine.labels.pin(info.axes[axis])  # the rows of a table
        engine.tell(node, info.axes[axis])
        engine.labels.freeze(info.axes[axis])
        engine.labels.bend(info.axes[axis])
    result = node.results[0]
    assert result is not None
    kept = [axis for axis in range(len(value.shape)) if axis not in chosen]
    count = len(result.shape) - len(kept)
    together = chosen == list(range(chosen[0], chosen[-1] + 1))
    start = chosen[0] if together else 0
    read = [info.axes[axis] for axis in chosen]
    new = [engine.ordered(node, n, *read) for n in result.shape[start : start + count]]
    old = [info.axes[axis] for axis in kept]
    return Info([*old[:start], *new, *old[start:]], info.whole)


@rule("gather", "scatter", "scatter_add", "index_add", "index_copy", "index_fill")
def by_index(engine: Engine, node: Node) -> Info | list[Info]:
    """Return a tensor read or written along one axis at places that a tensor gives."""
    if not node.args[0].floating:  # numbers of places, such as a one-hot code of experts
        return engine.unknown(node)
    value, dim = node.args[0], node.args[1] % len(node.args[0].shape)
    infos = [engine.info(one) for one in node.args if isinstance(one, Value)]
    result = node.results[0]
    assert result is not None
    floating = [engine.info(one) for one in node.args if isinstance(one, Value) and one.floating]
    for one in infos:
        if one not in floating:
            engine.still(one)
    engine.same_whole(*floating)
    axes = []
    for axis, n in enumerate(result.shape):
        own = [one.axes[axis] for one in infos if len(one.axes) > axis]
        if axis == dim or (len(own) > 1 and any(size_along(along) != n for along in own)):
            for along in own:
                engine.tell(node, along)
                engine.labels.freeze(along)
                engine.labels.bend(along)
            axes.append(engine.ordered(node, n, *own))
            continue
        for other in own[1:]:
            engine.labels.same(own[0], other)
        engine.equal(*(one.axes[axis] for one in floating if len(one.axes) > axis))
        axes.append(floating[0].axes[axis])
    engine.mixes(infos[0], frozenset({dim}))
    if value.floating and any(not isinstance(one, Value | int) for one in node.args[2:]):
        engine.still(infos[0])
    return Info(axes, floating[0].whole)


@rule("index_put")
def index_put(engine: Engine, node: Node) -> Info | list[Info]:
    """Return a tensor written along its first axes at places that tensors give."""
    value, places, piece = node.args[:3]
    chosen = [axis for axis, one in enumerate(places) if one is not None]
    if chosen != list(range(len(chosen))) or any(
        not isinstance(places[axis], Value) for axis in chosen
    ):
        return engine.unknown(node)
    info, new = engine.info(value), engine.info(piece)
    for axis in chosen:
        engine.still(engine.info(places[axis]))
    rest = list(range(len(chosen), len(value.shape)))
    axes: list[Axis] = []
    for axis, along in enumerate(info.axes):
        other = axis - len(value.shape) + len(piece.shape)
        if axis in rest and other >= 0 and piece.shape[other] == value.shape[axis]:
            engine.labels.same(along, new.axes[other])
            engine.equal(along, new.axes[other])
            axes.append(along)
            continue
        engine.tell(node, along)
        engine.labels.freeze(along)
        engine.labels.bend(along)
        axes.append(along)
    for axis in range(len(piece.shape) - len(rest)):
        engine.tell(node, new.axes[axis])
        engine.labels.freeze(new.axes[axis])
    engine.same_whole(info, new)
    return Info(axes, info.whole)
