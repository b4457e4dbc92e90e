"""Labels of axes: which axes of which tensors count the same units.

Each axis of a tensor is an ordered product of parts, outermost first; each part is an occurrence of
a label. What an operator demands (these two axes are summed over together) makes two labels one.
What a view demands makes a label a product, what a slice demands makes it a union of pieces. The
search goes through a network until nothing new is learned; by then all labels are atoms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# The sign variable that is always 0: what it stands at cannot be negated.
FIXED = 0
# Why the units of a label are told apart: by inputs, outputs or places, or by an operation without
# a rule, which is named anyway; or by an order or fixed numbers inside.
PINNED, TOLD = 1, 2


class Tangled(Exception):
    """Raised where an axis cannot be written by labels; its labels are pinned then."""


@dataclass(eq=False)
class Label:
    """A node of the union-find: `size` units that are all alike, unless it is split further."""

    size: int
    pinned: int = 0  # the units are told apart: PINNED, TOLD, or both
    bent: bool = False  # something other than a linear map acts on them: no rotation
    above: Label | None = None
    factors: list[Label] | None = None
    pieces: list[tuple[range, list[Label]]] | None = None
    outermost: bool = False  # a view made it the first factor of another label
    selected: bool = False  # one of its entries was taken out
    softmax: bool = False  # it stood beside an axis that a softmax runs over

    def root(self) -> Label:
        """Return the label that this one has become."""
        label = self
        while label.above is not None:
            label = label.above
        return label


@dataclass(eq=False)
class Part:
    """One occurrence of a label in a tensor: with its sign variable, or its pieces' occurrences."""

    label: Label
    sign: int = FIXED
    pieces: list[tuple[range, list[Part]]] | None = None


Axis = list[Part]
# What a label was in an earlier pass: an atom, a product of trees, or a union of trees.
Tree = tuple[str, Any]
UNKNOWN: Tree = "unknown", None
_SINGLE: Tree = "product", []


def size_of(axis: Axis) -> int:
    """Return the length of an axis."""
    length = 1
    for part in axis:
        length *= part.label.size
    return length


def atoms(axis: Axis) -> Iterator[Part]:
    """Yield the occurrences of atoms in an axis, in order."""
    for part in axis:
        if part.pieces is None:
            yield part
        else:
            for _, inner in part.pieces:
                yield from atoms(inner)


def with_signs(axis: Axis, signs: Iterator[int]) -> Axis:
    """Return an axis with other sign variables, taken in the order of its atoms."""
    return [
        Part(part.label, next(signs))
        if part.pieces is None
        else Part(part.label, pieces=[(here, with_signs(one, signs)) for here, one in part.pieces])
        for part in axis
    ]


def spans(axis: Axis) -> Iterator[tuple[Part, list[int]]]:
    """Yield the occurrences of atoms in an axis, each with the places of its first copy."""
    inner = size_of(axis)
    for part in axis:
        inner //= part.label.size
        if part.pieces is None:
            yield part, [unit * inner for unit in range(part.label.size)]
            continue
        for where, within in part.pieces:
            for one, places in spans(within):
                yield one, [where[place] * inner for place in places]


def tree_of(label: Label) -> Tree:
    """Return the label that another one has become, for the next pass."""
    label = label.root()
    if label.factors is not None:
        return _product([one for factor in label.factors for one in factors_of(factor)])
    if label.pieces is not None:
        return "pieces", list(_pieces(label))
    return "atom", label


def factors_of(label: Label) -> list[Label]:
    """Return the factors of a label, none of which is a product."""
    label = label.root()
    if label.factors is None:
        return [label]
    return [one for factor in label.factors for one in factors_of(factor)]


def has_new(tree: Tree) -> bool:
    """Test whether a label has parts that were found to have units of their own."""
    kind, content = tree
    if kind == "product":
        return any(has_new(one) for one in content)
    if kind == "pieces":
        return any(has_new(one) for _, one in content)
    return kind == "new"


def parted(tree: Tree) -> Tree:
    """Return the same pieces, of which nothing else is known."""
    kind, content = tree
    if kind == "pieces":
        return kind, [(where, ("new", len(where))) for where, _ in content]
    if kind == "product":
        return kind, [
            parted(one) if has_new(one) else ("new", size_of_tree(one)) for one in content
        ]
    return tree


def size_of_tree(tree: Tree) -> int:
    """Return the length of an axis that such a label counts."""
    kind, content = tree
    if kind == "product":
        return math.prod(size_of_tree(one) for one in content)
    if kind == "pieces":
        return sum(len(where) for where, _ in content)
    return content if kind == "new" else content.size


def _product(flat: list[Label]) -> Tree:
    count = flat[0].size
    if flat[0].selected and count <= 64:
        # Its entries are used one by one: each has units of its own.
        block = math.prod(one.size for one in flat[1:])
        ranges = (range(i * block, (i + 1) * block) for i in range(count))
        return "pieces", [(where, ("new", block)) for where in ranges]
    return "product", [tree_of(one) for one in flat]


def _pieces(label: Label) -> Iterator[tuple[range, Tree]]:
    assert label.pieces is not None
    for where, inner in label.pieces:
        flat = [one for each in inner for one in factors_of(each)]
        kind, content = _product(flat) if len(flat) > 1 else tree_of(flat[0]) if flat else _SINGLE
        if kind != "pieces":
            yield where, (kind, content)
            continue
        for within, tree in content:
            yield where[within.start : within.stop : within.step], tree


def atoms_of(label: Label) -> Iterator[Label]:
    """Yield the atoms that a label is made of."""
    label = label.root()
    if label.factors is not None:
        inner = label.factors
    elif label.pieces is not None:
        inner = [one for _, each in label.pieces for one in each]
    else:
        yield label
        return
    for one in inner:
        yield from atoms_of(one)
