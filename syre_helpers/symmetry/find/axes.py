"""The algebra of axes: what is known of their labels in one pass through a network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from .labels import (
    FIXED,
    PINNED,
    UNKNOWN,
    Axis,
    Label,
    Part,
    Tangled,
    Tree,
    atoms,
    atoms_of,
    size_of,
)


class Labels:
    """The labels of one pass through a network, with the linear relations of their signs.

    Parameters
    ----------
    known : list of Tree
        What the labels of the pass before have become, in the order in which they were made.
    """

    def __init__(self, known: Sequence[Tree] = ()) -> None:
        self.known = known
        self.made: list[Label] = []
        self.changed = False
        self.variables = 1
        self.equations: list[tuple[int, ...]] = []
        self._atoms: dict[int, Label] = {}

    # ---- making ----

    def sign(self) -> int:
        """Return a new sign variable."""
        self.variables += 1
        return self.variables - 1

    def fresh(
        self, size: int, *, pinned: bool = False, bent: bool = False, free: bool = True
    ) -> Axis:
        """Return a new axis; `free` means that its units can be negated."""
        if size == 1:
            return []
        number = len(self.made)
        if number < len(self.known) and self.known[number] != UNKNOWN:
            label = self._recalled(self.known[number])
            if label.size != size:
                label = Label(size)
                self.changed = True
        else:
            label = Label(size)
            self.changed = True
        self.made.append(label)
        axis = self._occurrence([label], free)
        if pinned:
            self.pin(axis)
        if bent:
            self.bend(axis)
        return axis

    def _recalled(self, tree: Tree) -> Label:
        kind, content = tree
        if kind == "new":
            return Label(int(content))
        if kind == "atom":
            old: Label = content
            if id(old) not in self._atoms:
                self._atoms[id(old)] = Label(old.size, old.pinned, old.bent, softmax=old.softmax)
            return self._atoms[id(old)]
        if kind == "product":
            factors = [self._recalled(one) for one in content]
            size = 1
            for one in factors:
                size *= one.size
            for one in factors:
                one.outermost = one.outermost or one is factors[0]
            return Label(size, factors=factors)
        pieces = [
            (where, [self._recalled(one)] if len(where) > 1 else []) for where, one in content
        ]
        return Label(sum(len(where) for where, _ in pieces), pieces=pieces)

    def _occurrence(self, labels: Sequence[Label], free: bool) -> Axis:
        axis: Axis = []
        for label in labels:
            label = label.root()
            if label.factors is not None:
                axis += self._occurrence(label.factors, free)
            elif label.pieces is not None:
                inner = [(where, self._occurrence(part, free)) for where, part in label.pieces]
                axis.append(Part(label, pieces=inner))
            else:
                axis.append(Part(label, self.sign() if free else FIXED))
        return axis

    # ---- flags ----

    def pin(self, axis: Axis, why: int = PINNED) -> None:
        """Say that the units of an axis are told apart."""
        for label in self._all(axis):
            self.changed |= not label.pinned & why
            label.pinned |= why

    def bend(self, axis: Axis) -> None:
        """Say that the units of an axis cannot be rotated."""
        for label in self._all(axis):
            self.changed |= not label.bent
            label.bent = True

    def freeze(self, axis: Axis) -> None:
        """Say that no unit of an axis can be negated in this tensor."""
        for part in atoms(axis):
            self.equations.append((part.sign,))

    def _all(self, axis: Axis) -> Iterator[Label]:
        for part in self.expanded(axis):
            yield from atoms_of(part.label)

    # ---- structure ----

    def expanded(self, axis: Axis) -> Axis:
        """Return an axis with all that is known of its labels by now."""
        result: Axis = []
        for part in axis:
            label = part.label.root()
            if label.factors is not None:
                self.changed = True
                result += self.expanded(self._occurrence(label.factors, True))
            elif label.pieces is not None and part.pieces is None:
                self.changed = True
                result += self._occurrence([label], True)
            else:
                result.append(part)
        return result

    def same(self, a: Axis, b: Axis) -> None:
        """Say that two axes count the same units."""
        try:
            self._same(a, b)
        except Tangled:
            self.pin(a)
            self.pin(b)

    def _same(self, a: Axis, b: Axis) -> None:
        a, b = self.expanded(a), self.expanded(b)
        while a and b:
            x, y = a[0].label.root(), b[0].label.root()
            if x is y or x.size == y.size:
                self._merge(x, y)
                a, b = a[1:], b[1:]
                continue
            if x.size < y.size:
                a, b, x, y = b, a, y, x
            self._split(x, y.size)
            a, b = self.expanded(a), self.expanded(b)
        if a or b:
            raise Tangled

    def _merge(self, x: Label, y: Label) -> None:
        if x is y:
            return
        if x.pieces is not None and y.pieces is not None:
            if [w for w, _ in x.pieces] == [w for w, _ in y.pieces]:
                for (_, inner), (_, other) in zip(x.pieces, y.pieces, strict=True):
                    self._same(self._parts(inner), self._parts(other))
                return
            self.changed = True
            for (here, inner), (there, other) in itertools.product(list(x.pieces), list(y.pieces)):
                if here.step != 1 or there.step != 1:
                    raise Tangled
                start, stop = max(here.start, there.start), min(here.stop, there.stop)
                if start < stop:
                    self._same(
                        self.cut(self._parts(inner), range(start - here.start, stop - here.start)),
                        self.cut(
                            self._parts(other), range(start - there.start, stop - there.start)
                        ),
                    )
            return
        self.changed = True
        if x.pieces is not None or x.factors is not None:
            x, y = y, x
        x.above = y
        y.selected, y.softmax = y.selected or x.selected, y.softmax or x.softmax
        y.outermost = y.outermost or x.outermost
        for label in atoms_of(y):
            label.pinned, label.bent = label.pinned | x.pinned, label.bent or x.bent

    def _parts(self, labels: Sequence[Label]) -> Axis:
        return self._occurrence(labels, free=False)

    def _split(self, label: Label, first: int) -> None:
        """Make a label a product whose outermost factor has the given size."""
        if label.size % first or label.pieces is not None:
            raise Tangled
        self.changed = True
        label.factors = [
            Label(size, label.pinned, label.bent, softmax=label.softmax)
            for size in (first, label.size // first)
        ]
        label.factors[0].outermost = True

    def cut(self, axis: Axis, where: range) -> Axis:
        """Return the entries of an axis that a slice takes.

        Returns
        -------
        list of Part
            A new axis, as long as `where`.

        Raises
        ------
        Tangled
            If the slice runs across the factors of a product.
        """
        axis = self.expanded(axis)
        if len(where) == 1 and not axis:
            return []
        if where == range(size_of(axis)):
            return axis
        if len(axis) == 1:
            return self._cut_part(axis[0], where)
        first, rest = axis[:1], axis[1:]
        inner = size_of(rest)
        if where.step == 1 and where.start % inner == 0 and where.stop % inner == 0:
            return self.cut(first, range(where.start // inner, where.stop // inner)) + rest
        if where.start // inner == where[-1] // inner:
            self.cut(first, range(where.start // inner, where.start // inner + 1))
            start = where.start % inner
            return self.cut(rest, range(start, start + len(where) * where.step, where.step))
        if inner % where.step == 0 and len(where) * where.step == size_of(axis):
            return first + self.cut(rest, range(where.start, inner, where.step))
        raise Tangled

    def _cut_part(self, part: Part, where: range) -> Axis:
        label = part.label.root()
        if label.pieces is None:
            if len(where) == 1:
                label.selected = True
            label.pieces = [
                (one, [Label(len(one), label.pinned, label.bent)] if len(one) > 1 else [])
                for one in _around(where, label.size)
            ]
            self.changed = True
            part = self._occurrence([label], True)[0]
        assert part.pieces is not None
        kept: list[tuple[int, Axis]] = []
        for here, inner in part.pieces:
            wanted = [i for i, place in enumerate(here) if place in where]
            if wanted:
                within = _as_range(wanted)
                kept.append((where.index(here[wanted[0]]), self.cut(inner, within)))
        if len(kept) == 1:
            return kept[0][1]
        if any(here.step != 1 for here, _ in part.pieces):
            raise Tangled
        return self.joined([axis for _, axis in sorted(kept, key=lambda one: one[0])], where)

    def joined(self, axes: list[Axis], where: range | None = None) -> Axis:
        """Return the axis whose pieces are given, one after the other."""
        if where is not None and where.step != 1:
            raise Tangled
        pieces, start = [], 0
        for axis in axes:
            length = size_of(axis)
            axis = self.expanded(axis)
            if len(axis) == 1 and axis[0].pieces is not None:
                for here, inner in axis[0].pieces:
                    moved = range(here.start + start, here.stop + start, here.step)
                    pieces.append((moved, inner))
            else:
                pieces.append((range(start, start + length), axis))
            start += length
        if len(pieces) == 1:
            return pieces[0][1]
        labels = [(here, [part.label for part in inner]) for here, inner in pieces]
        return [Part(Label(start, pieces=labels), pieces=pieces)]

    def regrouped(self, axes: Sequence[Axis], shape: Sequence[int]) -> list[Axis]:
        """Return the axes of a view of other shape.

        Returns
        -------
        list of list of Part
            One axis per length in `shape`.

        Raises
        ------
        Tangled
            If the new shape runs across the old one's factors.
        """
        queue = [part for axis in axes for part in self.expanded(axis)]
        result = []
        for size in shape:
            axis: Axis = []
            need = int(size)
            while need > 1:
                if not queue:
                    raise Tangled
                part = queue[0]
                if need % part.label.size == 0:
                    need //= part.label.size
                    axis.append(queue.pop(0))
                    continue
                self._split(part.label.root(), need)
                queue = self.expanded(queue)
            result.append(axis)
        return result


def _around(where: range, size: int) -> list[range]:
    """Return a partition of all places one part of which is the slice."""
    if where.step == 1 or len(where) == 1:
        start, stop = where.start, where.start + len(where)
        parts = [range(start), range(start, stop), range(stop, size)]
        return [one for one in parts if len(one)]
    if size % where.step or len(where) * where.step != size:
        raise Tangled
    return [range(start, size, where.step) for start in range(where.step)]


def _as_range(places: list[int]) -> range:
    step = places[1] - places[0] if len(places) > 1 else 1
    where = range(places[0], places[-1] + 1, step)
    if list(where) != places:
        raise Tangled
    return where
