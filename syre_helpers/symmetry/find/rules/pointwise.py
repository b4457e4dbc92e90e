"""Rules of operators that treat every entry alike, and of sums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..engine import Engine, Info, rule
from ..graph import Node, Value
from ..labels import FIXED, Axis


def tensors(node: Node) -> list[Value]:
    """Return the tensors that an operation reads."""
    return list(node.inputs())


def _columns(
    engine: Engine, values: Sequence[Value], shape: tuple[int, ...]
) -> Iterator[tuple[int, int, list[tuple[int, Axis]], list[Value]]]:
    """Yield for each axis of the result the inputs that have it, and those that are repeated."""
    infos = [engine.term(value) for value in values]
    for axis, n in enumerate(shape):
        present: list[tuple[int, Axis]] = []
        repeated: list[tuple[int, Axis]] = []
        absent: list[Value] = []
        for number, (value, info) in enumerate(zip(values, infos, strict=True)):
            own = axis - len(shape) + len(value.shape)
            if own < 0 or value.shape[own] != n or n == 1:
                absent.append(value)
            elif own in info.spread:
                repeated.append((number, info.axes[own]))
            else:
                present.append((number, info.axes[own]))
        if present:
            absent += [values[number] for number, _ in repeated]
        else:
            present = repeated
            for _, own_axis in repeated:
                engine.labels.bend(own_axis)
        yield axis, n, present, absent


def _unified(engine: Engine, present: list[tuple[int, Axis]]) -> None:
    for _, axis in present[1:]:
        engine.labels.same(present[0][1], axis)


def _scalar(node: Node) -> bool:
    """Test whether a number other than 0 is among the operands."""
    return any(isinstance(one, int | float | complex) and one != 0 for one in node.args[:2])


@rule("add", "sub", "rsub", "where", "masked_fill")
def sum_(engine: Engine, node: Node) -> Info:
    """Return a sum: a unit is negated in all terms or in none."""
    result = node.results[0]
    assert result is not None
    values = tensors(node)
    condition: list[Value] = []
    shifted = _scalar(node)
    if node.name == "where":
        condition, values = values[:1], values[1:]
        shifted = any(isinstance(one, int | float) and one != 0 for one in node.args[1:])
    if node.name == "masked_fill":
        condition = [node.args[1]]
        fill = node.args[2]
        values = [node.args[0]] + ([fill] if isinstance(fill, Value) and fill.shape else [])
        shifted = not isinstance(fill, Value) and fill != 0
        shifted = shifted or (isinstance(fill, Value) and not fill.shape and not fill.zero)
    values = [one for one in values if one.shape or not one.zero]
    for one in condition:
        engine.still(engine.info(one))
    infos = [engine.term(one) for one in values]
    every = values + condition
    axes: list[Axis] = []
    for _, n, present, absent in _columns(engine, every, result.shape):
        _unified(engine, present)
        terms = [axis for number, axis in present if number < len(values)]
        if not terms:
            axes.append(present[0][1] if present else [])
            continue
        engine.equal(*terms)
        short = [one for one in absent if one not in condition and not one.zero]
        if n > 1 and (short or shifted):
            engine.labels.freeze(terms[0])
            engine.labels.bend(terms[0])
        axes.append(terms[0])
    if condition:
        for one in condition:
            engine.bend(engine.info(one))
    if shifted:
        for info in infos:
            engine.labels.equations.append((info.whole,))
    engine.same_whole(*infos)
    return Info(axes, infos[0].whole if infos else FIXED)


@rule("mul", "div", "true_divide")
def product(engine: Engine, node: Node) -> Info | list[Info]:
    """Return a product: a unit is negated where an odd number of the factors is."""
    if node.kwargs.get("rounding_mode"):
        return elementwise(engine, node)
    result = node.results[0]
    assert result is not None
    values = tensors(node)
    if node.name == "mul" and any(isinstance(one, int | float) and one == 0 for one in node.args):
        return engine.zero(engine.info(values[0]))
    if node.name != "mul" and isinstance(node.args[1], Value):
        # A quotient is linear in its first operand only.
        divisor = engine.term(node.args[1])
        for axis, own in enumerate(divisor.axes):
            if axis not in divisor.spread:
                engine.labels.bend(own)
    axes: list[Axis] = []
    products = set()
    if len(values) == 1 and not isinstance(node.args[0], Value):
        engine.bend(engine.info(values[0]))  # a number over a tensor
    for axis, _, present, _ in _columns(engine, values, result.shape):
        _unified(engine, present)
        if len(present) > 1:
            products.add(axis)
        axes.append(engine.product(*(own for _, own in present)) if present else [])
    if node.name != "mul":
        for axis in products:
            engine.labels.bend(axes[axis])
        products = set()
    for value in values:
        _freeze_short(engine, value, result.shape)
    infos = [engine.term(value) for value in values]
    return Info(axes, engine.whole(*(one.whole for one in infos)), frozenset(products))


def _freeze_short(engine: Engine, value: Value, shape: tuple[int, ...]) -> None:
    """Say that units of an axis which is not the result's cannot be negated (there is none)."""
    info = engine.term(value)
    for own, n in enumerate(value.shape):
        axis = own + len(shape) - len(value.shape)
        if axis < 0 or shape[axis] != n:
            engine.labels.freeze(info.axes[own])


@rule("neg")
def negative(engine: Engine, node: Node) -> Info:
    """Return the record of the input."""
    return engine.info(node.args[0])


@rule("square", "pow")
def power(engine: Engine, node: Node) -> Info | list[Info]:
    """Return a power; a square is a product with itself."""
    exponent = 2 if node.name == "square" else node.args[1]
    if isinstance(exponent, int | float) and exponent == 1:
        return engine.info(node.args[0])
    if exponent == 2 and isinstance(node.args[0], Value):
        info = engine.info(node.args[0])
        axes = [engine.even(axis) for axis in info.axes]
        return Info(axes, FIXED, frozenset(axis for axis, own in enumerate(axes) if own))
    return elementwise(engine, node)


@rule("tril", "triu")
def triangle(engine: Engine, node: Node) -> Info:
    """Return the part of matrices on one side of the diagonal."""
    info = engine.info(node.args[0])
    for own in info.axes[-2:]:
        engine.tell(node, own)
        engine.labels.bend(own)
    return info


def elementwise(engine: Engine, node: Node) -> Info | list[Info]:
    """Return a function of each entry, or of the entries that stand at one place."""
    values, result = tensors(node), node.results[0]
    if result is None or sum(one is not None for one in node.results) != 1:
        return engine.unknown(node)
    if len(values) == 1 and values[0].shape == result.shape:
        parity = _parity(node)
        if parity is None:
            return engine.unknown(node)
        info = engine.info(values[0])
        if parity == "linear":
            return info
        engine.bend(info)
        if parity == "odd":
            return Info(info.axes, info.whole)
        if parity == "even":
            return Info([engine.even(axis) for axis in info.axes])
        engine.still(info)
        return Info(info.axes)
    if torch.Tag.pointwise not in node.op.tags and node.name != "_prelu_kernel":
        return engine.unknown(node)
    return _of_several(engine, node, values, result)


def _of_several(engine: Engine, node: Node, values: list[Value], result: Value) -> Info:
    """Return a function of the entries at one place: odd or even in each, in both, or neither."""
    parities = _parities(node, values)
    both = parities == ("both",)
    axes: list[Axis] = []
    for _, n, present, absent in _columns(engine, values, result.shape):
        _unified(engine, present)
        if both:
            engine.equal(*(own for _, own in present))
            if n > 1 and absent and present:
                engine.labels.freeze(present[0][1])
            axes.append(present[0][1] if present else [])
            continue
        odd = [own for number, own in present if parities[number] == "odd"]
        first = present[0][1] if present else []
        axes.append(engine.product(*odd) if odd else engine.even(first))
    infos = [engine.info(value) for value in values]
    for info in infos:
        engine.bend(info)
    if both:
        engine.same_whole(*infos)
        return Info(axes, infos[0].whole)
    for info, parity in zip(infos, parities, strict=True):
        if parity == "neither":
            engine.still(info)
    for value in values:
        _freeze_short(engine, value, result.shape)
    odd_ones = [info.whole for info, one in zip(infos, parities, strict=True) if one == "odd"]
    return Info(axes, engine.whole(*odd_ones) if odd_ones else FIXED)


def _parities(node: Node, values: list[Value]) -> tuple[str, ...]:
    """Return "odd", "even" or "neither" for each operand, or "both": odd if all are negated."""
    unknown = ("neither",) * len(values)
    result = node.results[0]
    places = [i for i, one in enumerate(node.args) if isinstance(one, Value)]
    if len(places) != len(values) or result is None or not result.floating:
        return unknown
    if not all(value.floating for value in values):
        return unknown
    source = torch.Generator().manual_seed(0)
    drawn = [torch.randn(64, generator=source, dtype=torch.float64) for _ in values]

    def ask(signs: Sequence[int]) -> Tensor:
        args = list(node.args)
        for place, sign, one in zip(places, signs, drawn, strict=True):
            args[place] = sign * one
        return node.op(*args, **node.kwargs)

    try:
        with torch.no_grad():
            plain = ask([1] * len(values))
            if plain.shape != drawn[0].shape or bool(plain.isnan().any()):
                return unknown
            alone = [
                ask([-1 if i == k else 1 for i in range(len(values))]) for k in range(len(values))
            ]
            negated = ask([-1] * len(values))
    except Exception:
        return unknown
    found = tuple(
        "odd" if torch.equal(one, -plain) else "even" if torch.equal(one, plain) else "neither"
        for one in alone
    )
    return ("both",) if found == unknown and torch.equal(negated, -plain) else found


def _parity(node: Node) -> str | None:
    """Return "linear", "odd", "even" or "neither" of an element-wise operator, else None."""
    place = next((i for i, one in enumerate(node.args) if isinstance(one, Value)), None)
    if place is None or any(isinstance(one, Value) for one in node.kwargs.values()):
        return None
    if not node.args[place].floating or node.results[0] is None or not node.results[0].floating:
        pointwise = torch.Tag.pointwise in node.op.tags
        return "neither" if pointwise else None
    args = (*node.args[:place], None, *node.args[place + 1 :])
    return _asked(node.op, place, repr(args), _Hidden((args, node.kwargs)))


class _Hidden:
    """Arguments that travel past a cache, which knows them by their text."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden)


@cache
def _asked(op: Any, place: int, text: str, hidden: _Hidden) -> str | None:
    args, kwargs = hidden.content
    grid = torch.linspace(-3.1, 3.1, 12, dtype=torch.float64)
    mixed = torch.cat([grid * 1.37, grid, grid[:4] ** 3])

    def ask(x: Tensor) -> Tensor:
        return op(*args[:place], x, *args[place + 1 :], **kwargs)

    try:
        with torch.no_grad():
            whole, backwards, negated = ask(mixed), ask(mixed.flip(0)).flip(0), ask(-mixed)
            single = torch.cat([ask(one.reshape(1)) for one in mixed])
            doubled = ask(2 * mixed)
    except Exception:
        return None  # it wants another shape
    if whole.shape != mixed.shape:
        return None

    def close(a: Tensor, b: Tensor) -> bool:
        return bool(torch.allclose(a, b, rtol=1e-12, atol=1e-12, equal_nan=True))

    if not close(whole, backwards) or not close(whole, single):
        return None
    if bool(whole.isnan().any()):
        return "neither"
    if close(negated, -whole):
        return "linear" if close(doubled, 2 * whole) else "odd"
    return "even" if close(negated, whole) else "neither"
