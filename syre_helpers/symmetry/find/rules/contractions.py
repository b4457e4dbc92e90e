"""Rules of matrix products, convolutions and pools."""

from __future__ import annotations

import math
from typing import Any

from ..engine import Engine, Info, rule
from ..graph import Node, Value
from ..labels import FIXED, Axis, Tangled
from .pointwise import sum_


def _contracted(engine: Engine, a: Axis, b: Axis) -> None:
    engine.labels.same(a, b)
    engine.equal(a, b)


@rule("mm", "mv", "bmm", "matmul", "_sparse_mm")
def matrix_product(engine: Engine, node: Node) -> Info:
    """Return a product that sums over the last axis of the first, for each entry of a batch."""
    return _times(engine, node.args[0], node.args[1])


def _times(engine: Engine, left: Value, right: Value) -> Info:
    a, b = engine.info(left), engine.info(right)
    whole = engine.whole(a.whole, b.whole)
    if len(b.axes) == 1:
        _contracted(engine, a.axes[1], b.axes[0])
        return Info([a.axes[0]], whole)
    _contracted(engine, a.axes[-1], b.axes[-2])
    batch = []
    for x, y in zip(a.axes[:-2], b.axes[:-2], strict=True):
        engine.labels.same(x, y)
        engine.labels.bend(x)
        batch.append(engine.product(x, y))
    return Info([*batch, a.axes[-2], b.axes[-1]], whole)


@rule("addmm", "baddbmm", "addbmm", "_sparse_addmm")
def product_and_sum(engine: Engine, node: Node) -> Info | list[Info]:
    """Return a product of matrices with something added."""
    if node.name == "addbmm":
        return engine.unknown(node)
    added, left, right = node.args[:3]
    result = node.results[0]
    assert result is not None
    info = _times(engine, left, right)
    if node.kwargs.get("beta", 1) == 0:
        return info
    return _plus(engine, node, info, result, added)


def _plus(engine: Engine, node: Node, info: Info, result: Value, added: Value) -> Info:
    """Return the sum of something already followed and a tensor."""
    term = Value(-result.number - 1, result.shape, "made", True)
    engine.infos[term.number] = info
    sum_node = Node(node.op, (term, added), {}, (result,), node.module)
    made = sum_(engine, sum_node)
    assert isinstance(made, Info)
    return made


@rule("convolution", "conv1d", "conv2d", "conv3d")
def convolution(engine: Engine, node: Node) -> Info | list[Info]:
    """Return a convolution: a product over channels, for each group; places are told apart."""
    x, w, bias = node.args[:3]
    transposed, groups = bool(node.args[6]), int(node.args[8])
    result = node.results[0]
    assert result is not None
    a, b = engine.info(x), engine.info(w)
    for axis in (*a.axes[2:], *b.axes[2:]):
        engine.labels.pin(axis)
        engine.labels.freeze(axis)
        engine.labels.bend(axis)
    try:
        batch, read, made = _channels(engine, a, b, groups, transposed)
    except Tangled:
        return engine.unknown(node, "groups that no labels can follow")
    places = [engine.labels.fresh(n, pinned=True, bent=True, free=False) for n in result.shape[2:]]
    _contracted(engine, *read)
    axes = [a.axes[0], [*batch, *made], *places]
    info = Info(axes, engine.whole(a.whole, b.whole))
    if bias is None:
        return info
    across = engine.info(bias)
    term = Value(-result.number - 1, (bias.shape[0],) + (1,) * len(places), "made", True)
    engine.infos[term.number] = Info([across.axes[0], *([] for _ in places)], across.whole)
    second = Value(-result.number - 2 * 10**9, result.shape, "made", True)
    engine.infos[second.number] = info
    made_sum = sum_(engine, Node(node.op, (second, term), {}, (result,), node.module))
    assert isinstance(made_sum, Info)
    return made_sum


def _channels(
    engine: Engine, a: Info, b: Info, groups: int, transposed: bool
) -> tuple[Axis, tuple[Axis, Axis], Axis]:
    """Return the groups' axis, the two axes that are summed over, and the axis that is made."""
    labels = engine.labels
    if groups == 1:
        read, made = (b.axes[0], b.axes[1]) if transposed else (b.axes[1], b.axes[0])
        return [], (a.axes[1], read), made
    total, out = (math.prod(p.label.size for p in axis) for axis in (a.axes[1], b.axes[0]))
    inputs = labels.regrouped([a.axes[1]], [groups, total // groups])
    outputs = labels.regrouped([b.axes[0]], [groups, out // groups])
    labels.same(inputs[0], outputs[0])
    labels.bend(inputs[0])
    batch = engine.product(inputs[0], outputs[0])
    if transposed:
        return batch, (inputs[1], outputs[1]), b.axes[1]
    return batch, (inputs[1], b.axes[1]), outputs[1]


_MAXIMA = ("max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d",
           "adaptive_max_pool3d", "max_pool1d", "max_pool2d", "max_pool3d")  # fmt: skip


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
      "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d",
      "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d",
      "_upsample_bilinear2d_aa", "reflection_pad1d", "reflection_pad2d", "replication_pad1d",
      "replication_pad2d", *_MAXIMA)  # fmt: skip
def places(engine: Engine, node: Node) -> list[Info]:
    """Return other places of an image; channels go through."""
    value = node.args[0]
    count = _places(node)
    info = engine.info(value)
    for axis in info.axes[-count:]:
        engine.labels.pin(axis)
        engine.labels.freeze(axis)
        engine.labels.bend(axis)
    linear = node.name not in _MAXIMA
    if not linear:
        engine.still(info)
        engine.bend(info)
    engine.mixes(info, frozenset(range(len(value.shape) - count, len(value.shape))))
    results: list[Any] = []
    for result in node.results:
        if result is None:
            continue
        new = [
            engine.labels.fresh(n, pinned=True, bent=True, free=False)
            for n in result.shape[-count:]
        ]
        results.append(Info([*info.axes[:-count], *new], info.whole if linear else FIXED))
    return results


def _places(node: Node) -> int:
    for count in (1, 2, 3):
        if f"{count}d" in node.name:
            return count
    raise AssertionError(node.name)
