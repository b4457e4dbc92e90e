"""Labels of axes: which axes of which tensors count the same units.

Each axis of a tensor is an ordered product of parts, outermost first; each part is an occurrence of
a label. What an operator demands (these two axes are summed over together) makes two labels one.
What a view demands makes a label a product, what a slice demands makes it a union of pieces. The
search goes through a network until nothing new is learned; by then all labels are atoms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# The sign variable that is always 0: what it stands at cannot be negated.
FIXED = 0


class Tangled(Exception):
    """Raised where an axis cannot be written by labels; its labels are pinned then."""


@dataclass(eq=False)
class Label:
    """A node of the union-find: `size` units that are all alike, unless it is split further."""

    size: int
    pinned: bool = False  # the units are told apart, by a fixed order or fixed numbers
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
Tree = tuple[str, object]


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


def tree_of(label: Label) -> Tree:
    """Return the label that another one has become, for the next pass."""
    label = label.root()
    if label.factors is not None:
        flat = [one for factor in label.factors for one in factors_of(factor)]
        if flat[0].selected and flat[0].size <= 64:
            # Its entries are used one by one: each has units of its own.
            block = label.size // flat[0].size
            ranges = (range(i * block, (i + 1) * block) for i in range(flat[0].size))
            return "pieces", [(where, ("new", block)) for where in ranges]
        return "product", [tree_of(one) for one in flat]
    if label.pieces is not None:
        return "pieces", list(_pieces(label))
    return "atom", label


def factors_of(label: Label) -> list[Label]:
    """Return the factors of a label, none of which is a product."""
    label = label.root()
    if label.factors is None:
        return [label]
    return [one for factor in label.factors for one in factors_of(factor)]


def _pieces(label: Label) -> Iterator[tuple[range, Tree]]:
    assert label.pieces is not None
    for where, inner in label.pieces:
        flat = [one for each in inner for one in factors_of(each)]
        if len(flat) == 1 and flat[0].pieces is not None:
            for within, tree in _pieces(flat[0]):
                yield where[within.start : within.stop : within.step], tree
        elif len(flat) == 1:
            yield where, tree_of(flat[0])
        else:
            yield where, ("product", [tree_of(one) for one in flat])


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
