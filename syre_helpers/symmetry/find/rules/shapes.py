"""Rules of operators that move entries: views, slices, joins, reads by index."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

from ..engine import Engine, Info, Stack, rule
from ..graph import Node
from ..labels import Axis, Tangled


def argument(node: Node, place: int, name: str, default: Any = None) -> Any:
    """Return an argument that may be given by its place or its name."""
    if len(node.args) > place:
        return node.args[place]
    return node.kwargs.get(name, default)


@rule("clone", "alias", "detach", "lift_fresh", "lift_fresh_copy", "contiguous", "_to_copy",
      "_reshape_alias", "positive")  # fmt: skip
def same(engine: Engine, node: Node) -> Info | Stack | list[Info]:
    """Return the record of the input."""
    source, result = node.args[0], node.results[0]
    if result is None or result.shape != source.shape or result.floating != source.floating:
        return engine.unknown(node)
    return engine.raw(source)


@rule("view_as_complex", "view_as_real")
def parts_of_complex(engine: Engine, node: Node) -> Info:
    """Return complex numbers of pairs, or the pairs."""
    info = engine.info(node.args[0])
    if node.name == "view_as_real":
        return Info(
            [*info.axes, engine.labels.fresh(2, pinned=True, bent=True, free=False)], info.whole
        )
    pair = info.axes[-1]
    engine.labels.pin(pair)
    engine.labels.freeze(pair)
    engine.labels.bend(pair)
    return Info(info.axes[:-1], info.whole)


def _moved(info: Info | Stack, order: list[int]) -> Info | Stack:
    """Return the tensor with its axes in another order."""
    if isinstance(info, Stack):
        dim = order.index(info.dim)
        inner = [axis - (axis > info.dim) for axis in order if axis != info.dim]
        members = [_moved(member, inner) for member in info.members]
        return Stack(dim, [one for one in members if isinstance(one, Info)])
    products = frozenset(order.index(axis) for axis in info.products)
    spread = frozenset(order.index(axis) for axis in info.spread)
    return Info([info.axes[axis] for axis in order], info.whole, products, spread)


@rule("permute", "transpose", "t", "movedim", "swapaxes", "numpy_T")
def permute(engine: Engine, node: Node) -> Info | Stack:
    """Return the tensor with its axes in another order."""
    value, n = node.args[0], len(node.args[0].shape)
    order = list(range(n))
    if node.name == "permute":
        order = [axis % n for axis in node.args[1]]
    elif node.name == "t":
        order.reverse()
    else:
        a, b = (axis % n for axis in node.args[1:3])
        order[a], order[b] = order[b], order[a]
    return _moved(engine.raw(value), order)


@rule("unsqueeze", "squeeze", "view", "_unsafe_view", "reshape")
def view(engine: Engine, node: Node) -> Info | Stack | list[Info]:
    """Return the same entries in another shape."""
    result = node.results[0]
    assert result is not None
    source = engine.raw(node.args[0])
    if isinstance(source, Stack):
        known = _viewed_stack(engine, source, node.args[0].shape, result.shape)
        if known is not None:
            return known
    info = engine.peek(node.args[0])
    if info.spread or (
        [n for n in node.args[0].shape if n > 1] != [n for n in result.shape if n > 1]
    ):
        info = replace(engine.info(node.args[0]), products=frozenset())
    try:
        stack = _as_stack(engine, info, result.shape)
        if stack is not None:
            return stack
        axes = engine.labels.regrouped(info.axes, result.shape)
    except Tangled:
        return engine.unknown(node, "a view that no labels can follow")
    return Info(axes, info.whole, _kept_products(info, result.shape))


def _kept_products(info: Info, shape: tuple[int, ...]) -> frozenset[int]:
    """Return the places of a product's axes after axes of length 1 came or went."""
    if not info.products:
        return frozenset()
    wide = [axis for axis, n in enumerate(shape) if n > 1]
    before = [axis for axis, one in enumerate(info.axes) if one]
    return frozenset(new for old, new in zip(before, wide, strict=False) if old in info.products)


def _as_stack(engine: Engine, info: Info, shape: tuple[int, ...]) -> Stack | None:
    """Return a stack where a view takes the pieces of an axis apart."""
    axes = [engine.labels.expanded(axis) for axis in info.axes]
    for place, axis in enumerate(axes):
        if not axis or axis[0].pieces is None:
            continue
        pieces = axis[0].pieces
        count, block = len(pieces), len(pieces[0][0])
        if [here for here, _ in pieces] != [
            range(i * block, (i + 1) * block) for i in range(count)
        ]:
            continue
        before = math.prod(size_along(one) for one in axes[:place])
        for dim, n in enumerate(shape):
            if math.prod(shape[:dim]) == before and n == count and block > 1:
                rest = [*shape[:dim], *shape[dim + 1 :]]
                members = []
                for _, inner in pieces:
                    flat = [*axes[:place], [*inner, *axis[1:]], *axes[place + 1 :]]
                    members.append(Info(engine.labels.regrouped(flat, rest), info.whole))
                return Stack(dim, members)
    return None


def _viewed_stack(
    engine: Engine, stack: Stack, old: tuple[int, ...], new: tuple[int, ...]
) -> Stack | None:
    before = math.prod(old[: stack.dim])
    for dim, n in enumerate(new):
        if math.prod(new[:dim]) == before and n == len(stack.members):
            rest = [*new[:dim], *new[dim + 1 :]]
            try:
                return Stack(
                    dim,
                    [
                        Info(engine.labels.regrouped(one.axes, rest), one.whole)
                        for one in stack.members
                    ],
                )
            except Tangled:
                return None
    return None


def size_along(axis: Axis) -> int:
    """Return the number of entries of an axis."""
    return math.prod(part.label.size for part in axis)


@rule("expand", "broadcast_to")
def expand(engine: Engine, node: Node) -> Info:
    """Return a tensor repeated along axes of length 1, or along new ones."""
    value, result = node.args[0], node.results[0]
    assert result is not None
    info = engine.peek(value)
    new = len(result.shape) - len(value.shape)
    axes, spread = [], {axis + new for axis in info.spread}
    for axis, n in enumerate(result.shape):
        old = axis - new
        if old >= 0 and value.shape[old] == n:
            axes.append(info.axes[old])
        else:
            axes.append(engine.labels.fresh(n, free=False))
            spread.add(axis)
    products = frozenset(axis + new for axis in info.products)
    return Info(axes, info.whole, products, frozenset(spread))


@rule("repeat")
def repeat(engine: Engine, node: Node) -> Info:
    """Return a tensor laid side by side with itself."""
    value, result = node.args[0], node.results[0]
    assert result is not None
    info = engine.info(value)
    new = len(node.args[1]) - len(value.shape)
    axes = []
    for axis, times in enumerate(node.args[1]):
        inner = info.axes[axis - new] if axis >= new else []
        axes.append([*engine.labels.fresh(int(times), bent=True, free=False), *inner])
    return Info(axes, info.whole)


def _range(length: int, start: int | None, stop: int | None, step: int) -> range:
    return range(length)[slice(start, stop, step)]


@rule("slice", "narrow")
def slice_(engine: Engine, node: Node) -> Info | Stack | list[Info]:
    """Return some entries along an axis."""
    value = node.args[0]
    dim = argument(node, 1, "dim", 0) % len(value.shape)
    start, stop = argument(node, 2, "start"), argument(node, 3, "end")
    where = _range(value.shape[dim], start, stop, argument(node, 4, "step", 1))
    raw = engine.raw(value)
    if isinstance(raw, Stack) and raw.dim == dim:
        return Stack(dim, [raw.members[i] for i in where])
    return _cut(engine, node, engine.info(value), dim, [where])


def _cut(engine: Engine, node: Node, info: Info, dim: int, parts: list[range]) -> list[Info]:
    try:
        cuts = [engine.labels.cut(info.axes[dim], where) for where in parts]
    except Tangled:
        return engine.unknown(node, "a slice across the factors of an axis")
    return [
        Info([*info.axes[:dim], cut, *info.axes[dim + 1 :]], info.whole, info.products)
        for cut in cuts
    ]


@rule("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes", "chunk",
      "unsafe_chunk")  # fmt: skip
def split(engine: Engine, node: Node) -> list[Info]:
    """Return consecutive parts of an axis."""
    value = node.args[0]
    dim = argument(node, 2, "dim", 0) % len(value.shape)
    sizes = [one.shape[dim] for one in node.results if one is not None]
    ends = list(itertools.accumulate(sizes))
    parts = [range(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return _cut(engine, node, engine.info(value), dim, parts)


@rule("select", "unbind")
def select(engine: Engine, node: Node) -> Info | list[Info]:
    """Return one entry along an axis, or each."""
    value = node.args[0]
    dim = argument(node, 1, "dim", 0) % len(value.shape)
    length = value.shape[dim]
    chosen = [node.args[2] % length] if node.name == "select" else list(range(length))
    raw = engine.raw(value)
    if isinstance(raw, Stack) and raw.dim == dim:
        return [raw.members[i] for i in chosen]
    if value.kind == "parameter" and dim == 0 and len(value.shape) > 2 and length <= 64:
        engine.stacked.add(value.number)
    info = engine.info(value)
    results = []
    for i in chosen:
        try:
            engine.labels.cut(info.axes[dim], range(i, i + 1))
        except Tangled:
            return engine.unknown(node, "one entry across the factors of an axis")
        axes = [*info.axes[:dim], *info.axes[dim + 1 :]]
        results.append(Info(axes, info.whole))
    return results


@rule("cat", "concat")
def cat(engine: Engine, node: Node) -> Info:
    """Return tensors one after the other along an axis."""
    values = [one for one in node.args[0] if one.shape != (0,)]
    dim = argument(node, 1, "dim", 0) % len(values[0].shape)
    infos = [engine.info(one) for one in values]
    return Info(_aligned(engine, infos, dim), _joined_whole(engine, infos))


def _aligned(engine: Engine, infos: list[Info], dim: int) -> list[Axis]:
    axes = []
    for axis in range(len(infos[0].axes)):
        own = [info.axes[axis] for info in infos]
        if axis == dim:
            axes.append(engine.labels.joined(own))
            continue
        for other in own[1:]:
            engine.labels.same(own[0], other)
        engine.equal(*own)
        axes.append(own[0])
    return axes


def _joined_whole(engine: Engine, infos: list[Info]) -> int:
    engine.same_whole(*infos)
    return infos[0].whole


@rule("stack")
def stack(engine: Engine, node: Node) -> Stack:
    """Return tensors behind one another along a new axis."""
    infos = [engine.info(one) for one in node.args[0]]
    dim = argument(node, 1, "dim", 0) % (len(node.args[0][0].shape) + 1)
    return Stack(dim, infos)


@rule("slice_scatter", "select_scatter")
def slice_scatter(engine: Engine, node: Node) -> Info | list[Info]:
    """Return a tensor in which a slice is replaced."""
    value, piece = node.args[:2]
    info, new = engine.info(value), engine.info(piece)
    dim = argument(node, 2, "dim", 0) % len(value.shape)
    length = value.shape[dim]
    if node.name == "slice_scatter":
        start, stop = argument(node, 3, "start"), argument(node, 4, "end")
        where = _range(length, start, stop, argument(node, 5, "step", 1))
    else:
        index = node.args[3] % length
        where = range(index, index + 1)
        new = Info([*new.axes[:dim], [], *new.axes[dim:]], new.whole)
    if len(where) == length:
        return new
    if where.step != 1:
        return engine.unknown(node, "writes every second entry")
    try:
        parts = [range(where.start), where, range(where.stop, length)]
        pieces = [
            new.axes[dim] if part is where else engine.labels.cut(info.axes[dim], part)
            for part in parts
            if len(part)
        ]
    except Tangled:
        return engine.unknown(node, "writes across the factors of an axis")
    kept = Info([*info.axes[:dim], [], *info.axes[dim + 1 :]], info.whole)
    written = Info([*new.axes[:dim], [], *new.axes[dim + 1 :]], new.whole)
    axes = _aligned(engine, [kept, written], dim)
    axes[dim] = engine.labels.joined(pieces)
    return Info(axes, _joined_whole(engine, [kept, written]))


@rule("copy")
def copy(engine: Engine, node: Node) -> Info:
    """Return the record of a tensor written over one of the same or a larger shape."""
    result, piece = node.results[0], node.args[1]
    assert result is not None
    info = engine.info(piece)
    new = len(result.shape) - len(piece.shape)
    axes = [
        info.axes[axis - new]
        if axis >= new and piece.shape[axis - new] == n
        else engine.labels.fresh(n, bent=True, free=False)
        for axis, n in enumerate(result.shape)
    ]
    return Info(axes, info.whole)


@rule("constant_pad_nd")
def pad(engine: Engine, node: Node) -> Info | list[Info]:
    """Return a tensor with a constant around it."""
    value, amounts = node.args[:2]
    filling = argument(node, 2, "value", 0)
    info = engine.info(value)
    if any(amount < 0 for amount in amounts):
        return engine.unknown(node, "a negative padding")
    axes = list(info.axes)
    for back in range(len(amounts) // 2):
        axis = len(axes) - 1 - back
        sides = amounts[2 * back : 2 * back + 2]
        around = [
            engine.labels.fresh(n, bent=bool(filling), free=not filling) if n else None
            for n in sides
        ]
        own = [axes[axis] if one is None else one for one in (around[0], None, around[1])]
        lengths = [sides[0], value.shape[axis], sides[1]]
        axes[axis] = engine.labels.joined([one for one, n in zip(own, lengths, strict=True) if n])
    if filling:
        engine.still(info)
        return Info([engine.even(axis) for axis in axes])
    return Info(axes, info.whole)
