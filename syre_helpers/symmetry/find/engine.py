"""The pass through a recorded network that finds out which axes count the same units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .axes import Labels
from .graph import Graph, Node, Value
from .labels import (
    FIXED,
    PINNED,
    TOLD,
    UNKNOWN,
    Axis,
    Label,
    Tree,
    atoms,
    has_new,
    parted,
    spans,
    tree_of,
    with_signs,
)  # fmt: skip
from .noise import EVEN
from .records import Info, Left, Stack, Structure

__all__ = ["RULES", "Engine", "Info", "Left", "Rule", "Stack", "Structure", "rule", "structure"]

MOST_PASSES = 12
_EVERY = frozenset(range(64))


Rule = Callable[["Engine", Node], Any]
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Give operators of some names a rule."""

    def add(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return add


@dataclass(eq=False)
class Engine:
    """One pass: the labels of all tensors, operation by operation.

    Parameters
    ----------
    graph : Graph
        The recorded network.
    known : list of Tree
        What the labels of the pass before have become.
    stacked : set of int
        Numbers of the sources whose first axis is taken apart, entry by entry.
    fallback : callable
        The rule of operators that have none.
    """

    graph: Graph
    known: Sequence[Tree]
    stacked: set[int]
    fallback: Rule
    labels: Labels = field(init=False)
    infos: dict[int, Info | Stack] = field(default_factory=dict)
    tensors: list[Info] = field(default_factory=list)
    mixed: list[tuple[Info, frozenset[int]]] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    told: list[tuple[Node, Axis, list[int] | None]] = field(default_factory=list)
    node: Node = field(init=False)

    def __post_init__(self) -> None:
        self.labels = Labels(self.known)

    def run(self) -> None:
        """Go through all operations."""
        for source in self.graph.sources:
            self.infos[source.number] = self._source(source)
        for node in self.graph.nodes:
            self.node = node
            results = RULES.get(node.name, self.fallback)(self, node)
            results = results if isinstance(results, list) else [results]
            for value, info in zip(node.results, results, strict=False):
                if value is not None and info is not None:
                    self._put(value, info)
        for value in self.graph.outputs:
            self.fix(self.info(value))

    def name_what_is_told(self) -> None:
        """Note the operations that alone tell units apart, some of which may well be alike."""
        own: set[Label] = set()
        for source in self.graph.sources:
            info = self.infos[source.number]
            if source.kind == "parameter":
                for one in info.members if isinstance(info, Stack) else [info]:
                    own |= {part.label.root() for axis in one.axes for part in atoms(axis)}
        for node, axis, alike in self.told:
            for part, places in spans(self.labels.expanded(axis)):
                label = part.label.root()
                some = alike is None or len({alike[i] for i in places}) < len(places)
                if label in own and label.pinned == TOLD and some:
                    self.leave(node, "an order of units" if alike is None else "fixed numbers")

    def _put(self, value: Value, info: Info | Stack) -> None:
        self.infos[value.number] = info
        self.tensors += info.members if isinstance(info, Stack) else [info]

    def _source(self, value: Value) -> Info | Stack:
        labels, moves = self.labels, value.kind in ("parameter", "buffer", "noise")
        if value.number in self.stacked:
            members = [
                Info([labels.fresh(n) for n in value.shape[1:]]) for _ in range(value.shape[0])
            ]
            self.tensors += members
            return Stack(0, members)
        free = moves and (value.kind != "noise" or value.name == EVEN)
        axes = [
            labels.fresh(n, pinned=not moves, bent=moves and not free, free=free)
            for n in value.shape
        ]
        info = Info(axes, labels.sign() if free else FIXED)
        self.tensors.append(info)
        return info

    def _constant(self, value: Value) -> Info:
        labels = self.labels
        axes = [labels.fresh(n, bent=not value.zero, free=value.zero) for n in value.shape]
        for axis, alike in zip(axes, self.graph.alike.get(value.number, ()), strict=False):
            if alike is not None:
                self.tell(self.node, axis, alike)
        return Info(axes, labels.sign() if value.zero else FIXED)

    # ---- what rules ask ----

    def raw(self, value: Value) -> Info | Stack:
        """Return the record of a tensor, which may be a stack."""
        if value.number not in self.infos:
            self._put(value, self._constant(value))
        return self.infos[value.number]

    def peek(self, value: Value) -> Info:
        """Return the record of a tensor whose entries are only moved."""
        return self.info(value, summed=_EVERY)

    def term(self, value: Value) -> Info:
        """Return the record of a tensor that may be repeated along the others' axes."""
        info = self.peek(value)
        for axis in info.products:
            self.labels.bend(info.axes[axis])
        return info

    def info(self, value: Value, *, summed: frozenset[int] = frozenset()) -> Info:
        """Return the record of a tensor that an operation reads.

        Parameters
        ----------
        value : Value
            The tensor.
        summed : frozenset of int
            The axes that the operation sums over. Of a product, a sum over an axis is an inner
            product; any other use of it is no linear map of the units.

        Returns
        -------
        Info
            Its axes, with all that is known of their labels.
        """
        info = self.raw(value)
        if isinstance(info, Stack):
            info = self._unstacked(info)
            self.infos[value.number] = info
        info.axes = [self.labels.expanded(axis) for axis in info.axes]
        for axis in info.products - summed:
            self.labels.bend(info.axes[axis])
        if not summed:
            for axis in info.spread:
                self.labels.bend(info.axes[axis])
        return info

    def _unstacked(self, stack: Stack) -> Info:
        first, *others = stack.members
        for other in others:
            for a, b in zip(first.axes, other.axes, strict=True):
                self.labels.same(a, b)
                self.equal(a, b)
            self.labels.equations.append((first.whole, other.whole))
        axis = self.labels.fresh(len(stack.members), pinned=True, free=False)
        axes = [*first.axes[: stack.dim], axis, *first.axes[stack.dim :]]
        info = Info(axes, first.whole)
        self.tensors.append(info)
        return info

    def equal(self, *axes: Axis) -> None:
        """Say that units are negated in all of these axes or in none."""
        first, *others = (self._signs(axis) for axis in axes)
        for other in others:
            if len(other) != len(first):
                self.labels.changed = True
                continue
            self.labels.equations += [(a, b) for a, b in zip(first, other, strict=True) if a != b]

    def product(self, *axes: Axis) -> Axis:
        """Return the axis of a product: negated where an odd number of the factors is."""
        first, *others = (self._signs(axis) for axis in axes)
        if not others:
            return axes[0]
        signs = []
        if any(len(other) != len(first) for other in others):
            self.labels.changed = True
            return axes[0]
        for each in zip(first, *others, strict=True):
            signs.append(self.labels.sign())
            self.labels.equations.append((signs[-1], *each))
        return with_signs(self.labels.expanded(axes[0]), iter(signs))

    def zero(self, info: Info) -> Info:
        """Return a tensor of zeros of the same units: each may be negated or not."""
        axes = [self.labels.expanded(axis) for axis in info.axes]
        new = [with_signs(axis, (self.labels.sign() for _ in atoms(axis))) for axis in axes]
        return Info(new, self.labels.sign())

    def even(self, axis: Axis) -> Axis:
        """Return the axis of a tensor in which no unit is negated."""
        axis = self.labels.expanded(axis)
        return with_signs(axis, iter([FIXED] * len(self._signs(axis))))

    def _signs(self, axis: Axis) -> list[int]:
        return [part.sign for part in atoms(self.labels.expanded(axis))]

    def whole(self, *signs: int) -> int:
        """Return the sign variable of a product of whole tensors."""
        if len(signs) == 1:
            return signs[0]
        sign = self.labels.sign()
        self.labels.equations.append((sign, *signs))
        return sign

    def same_whole(self, *infos: Info) -> None:
        """Say that all of these tensors are negated or none."""
        for other in infos[1:]:
            self.labels.equations.append((infos[0].whole, other.whole))

    def still(self, info: Info) -> None:
        """Say that nothing of a tensor is negated."""
        for axis in info.axes:
            self.labels.freeze(axis)
        self.labels.equations.append((info.whole,))

    def tell(self, node: Node, axis: Axis, alike: list[int] | None = None) -> None:
        """Say that an order or fixed numbers tell the units of an axis apart.

        Parameters
        ----------
        node : Node
            The operation.
        axis : list of Part
            Counts the units.
        alike : list of int, optional
            Equal numbers for places that the fixed numbers do not tell apart.
        """
        self.labels.pin(axis, TOLD)
        self.told.append((node, axis, alike))

    def ordered(self, node: Node, size: int, *read: Axis) -> Axis:
        """Return a new axis whose entries an order tells apart, for the reasons of those read."""
        axis = self.labels.fresh(size, bent=True, free=False)
        self.tell(node, axis)
        if any(part.label.root().pinned & PINNED for one in read for part in atoms(one)):
            self.labels.pin(axis)
        return axis

    def bend(self, info: Info) -> None:
        """Say that no axis of a tensor can be rotated."""
        for axis in info.axes:
            self.labels.bend(axis)

    def fix(self, info: Info) -> None:
        """Say that nothing of a tensor may change."""
        self.still(info)
        for axis in info.axes:
            self.labels.pin(axis)

    def mixes(self, info: Info, dims: frozenset[int]) -> None:
        """Say that an operation goes along some axes of a tensor without summing them up."""
        self.mixed.append((info, dims))

    def leave(self, node: Node, why: str) -> None:
        """Note that an operation could not be followed."""
        left = Left(node.name, node.module, why)
        if left not in self.left:
            self.left.append(left)

    def unknown(self, node: Node, why: str = "no rule") -> list[Info]:
        """Take an operation as one that tells all units of its inputs apart."""
        self.leave(node, why)
        for value in node.inputs():
            self.fix(self.info(value))
        return [self.nothing_known(value) for value in node.results if value is not None]

    def nothing_known(self, value: Value) -> Info:
        """Return the axes of a tensor whose units are told apart."""
        return Info([self.labels.fresh(n, pinned=True, bent=True, free=False) for n in value.shape])


def structure(graph: Graph, fallback: Rule) -> Structure:
    """Return the labels of a recorded network, when nothing new is learned any more.

    Parameters
    ----------
    graph : Graph
        The recorded network.
    fallback : callable
        The rule of operators that have none.

    Returns
    -------
    Structure
        The labels of all sources.
    """
    known: list[Tree] = []
    stacked: set[int] = set()
    apart: dict[int, Tree] = {}
    done, passes = False, 0
    while not done and passes < MOST_PASSES:
        engine = Engine(graph, known, stacked, fallback)
        before = len(stacked)
        engine.run()
        passes += 1
        known = [tree_of(label) for label in engine.labels.made]
        new = {number: parted(tree) for number, tree in enumerate(known) if has_new(tree)}
        done = not engine.labels.changed and len(stacked) == before and not new
        if new or len(stacked) != before:
            # What was learned took units for alike that are not: begin again.
            apart = {**apart, **new} if len(stacked) == before else {}
            known = [apart.get(number, UNKNOWN) for number in range(len(known))]
            passes = 0
    if not done:
        engine.left.append(Left("", "", f"labels still changed after {MOST_PASSES} passes"))
    engine.name_what_is_told()
    sources = {one.number: engine.infos[one.number] for one in graph.sources}
    return Structure(engine.labels, sources, engine.tensors, engine.mixed, engine.left)
