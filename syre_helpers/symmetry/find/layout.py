"""Where the units of a label lie in the tensors of a network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .engine import Info, Stack, Structure
from .graph import Graph, Value
from .labels import Axis, Label, size_of


class Piece(NamedTuple):
    """A tensor that may move, or one entry of it along its first axis."""

    name: str
    entry: int | None

    def of(self, state: dict[str, Tensor]) -> Tensor:
        """Return the piece, as a view."""
        tensor = state[self.name]
        return tensor if self.entry is None else tensor[self.entry]


@dataclass(frozen=True, eq=False)
class Occurrence:
    """One occurrence of a label along an axis of a piece.

    `unit` says which unit each place of the axis belongs to, -1 for none; a place's unit grows by
    one with every `stride` places. `beside` are the labels at the same places.
    """

    piece: Piece
    axis: int
    label: Label
    sign: int
    unit: Tensor
    stride: int
    beside: tuple[tuple[Label, Tensor], ...]


@dataclass(eq=False)
class Layout:
    """All occurrences of all labels in parameters, buffers and noise."""

    pieces: dict[Piece, Info]
    occurrences: dict[Label, list[Occurrence]]
    shapes: dict[Piece, tuple[int, ...]]

    def places(self, piece: Piece, axis: int, label: Label) -> list[Occurrence]:
        """Return the sites of a label along an axis of a piece."""
        return [
            one
            for one in self.occurrences.get(label, ())
            if one.piece == piece and one.axis == axis
        ]


class Region(NamedTuple):
    """A part of a piece that labels tell apart: its places along each axis.

    As a tensor of shape `sizes` it has an axis for each label, without those of one unit; `axes`
    says on which axis of the piece each of these lies.
    """

    piece: Piece
    places: tuple[Tensor, ...]
    sizes: tuple[int, ...]
    axes: tuple[int, ...]

    def of(self, state: dict[str, Tensor]) -> Tensor:
        """Return the region of a state's tensor with an axis for each label."""
        tensor = self.piece.of(state)
        for axis, chosen in enumerate(self.places):
            if len(chosen) < tensor.shape[axis]:
                tensor = tensor.index_select(axis, chosen.to(tensor.device))
        return tensor.reshape(self.sizes)

    def add_(self, state: dict[str, Tensor], change: Tensor) -> None:
        """Add numbers, which broadcast to `sizes`, to the region of a state's tensor, in place."""
        tensor = self.piece.of(state)
        change = change.expand(self.sizes).reshape([len(chosen) for chosen in self.places])
        if change.shape == tensor.shape:
            tensor.add_(change.to(tensor))
            return
        after = reversed(range(tensor.ndim))
        where = tuple(
            chosen.to(tensor.device).reshape(-1, *(1,) * number)
            for chosen, number in zip(self.places, after, strict=True)
        )
        tensor[where] += change.to(tensor)


def regions(layout: Layout, piece: Piece) -> Iterator[Region]:
    """Yield the regions of a piece that labels tell apart."""
    blocks = [list(_blocks(axis)) for axis in layout.pieces[piece].axes]
    for each in itertools.product(*blocks):
        grid = [(size, axis) for axis, (_, sizes) in enumerate(each) for size in sizes if size > 1]
        yield Region(
            piece,
            tuple(places for places, _ in each),
            tuple(size for size, _ in grid),
            tuple(axis for _, axis in grid),
        )


def _blocks(axis: Axis) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield the places of each part of an axis that labels tell apart, and its labels' sizes."""
    alternatives = [
        [(torch.arange(part.label.size), (part.label.size,))]
        if part.pieces is None
        else [
            (torch.tensor(list(where))[places], sizes)
            for where, within in part.pieces
            for places, sizes in _blocks(within)
        ]
        for part in axis
    ]
    for chosen in itertools.product(*alternatives):
        places, shape = torch.zeros(1, dtype=torch.int64), tuple[int, ...]()
        for part, (own, sizes) in zip(axis, chosen, strict=True):
            places = (places[:, None] * part.label.size + own).reshape(-1)
            shape += sizes
        yield places, shape


def noise_name(number: int) -> str:
    """Return the name under which the state holds the tensor of a random draw."""
    return f"noise {number}"


def entries_used(graph: Graph, source: Value) -> set[int]:
    """Return the entries of a tensor, along its first axis, that a forward pass reads."""
    used: set[int] = set()
    for node in graph.nodes:
        if not any(value.number == source.number for value in node.inputs()):
            continue
        if node.name != "select" or node.args[1] % len(source.shape):
            return set(range(source.shape[0]))
        used.add(node.args[2] % source.shape[0])
    return used


def layout(graph: Graph, structure: Structure) -> Layout:
    """Return the places of the units of all labels.

    Parameters
    ----------
    graph : Graph
        A recorded network.
    structure : Structure
        Its labels.

    Returns
    -------
    Layout
        Of the sources that may move.
    """
    pieces: dict[Piece, Info] = {}
    noises = 0
    read = {value.number for node in graph.nodes for value in node.inputs()}
    for source in graph.sources:
        known = structure.sources[source.number]
        name = source.name
        if source.kind == "noise":
            name, noises = noise_name(noises), noises + 1
        if source.kind == "input" or source.number not in read:
            continue
        if isinstance(known, Stack):
            used = entries_used(graph, source)
            pieces |= {Piece(name, i): one for i, one in enumerate(known.members) if i in used}
        else:
            pieces[Piece(name, None)] = known
    occurrences: dict[Label, list[Occurrence]] = {}
    shapes = {}
    for piece, info in pieces.items():
        shapes[piece] = tuple(size_of(axis) for axis in info.axes)
        for number, axis in enumerate(info.axes):
            for one in _along(piece, number, axis):
                occurrences.setdefault(one.label, []).append(one)
    return Layout(pieces, occurrences, shapes)


def _along(piece: Piece, number: int, axis: Axis) -> Iterator[Occurrence]:
    found = list(_parts(axis, torch.arange(size_of(axis)), 1))
    for label, sign, unit, stride in found:
        inside = unit >= 0
        beside = tuple(
            (other, places)
            for other, _, places, _ in found
            if other is not label and bool((places[inside] >= 0).all())
        )
        yield Occurrence(piece, number, label, sign, unit, stride, beside)


def _parts(axis: Axis, place: Tensor, scale: int) -> Iterator[tuple[Label, int, Tensor, int]]:
    inner = size_of(axis)
    for part in axis:
        label = part.label.root()
        inner //= label.size
        unit = torch.where(place >= 0, place // inner % label.size, -1)
        if part.pieces is None:
            yield label, part.sign, unit, scale * inner
            continue
        for where, within in part.pieces:
            number = torch.full((label.size + 1,), -1)
            number[torch.tensor(list(where))] = torch.arange(len(where))
            yield from _parts(within, number[unit], scale * inner * where.step)


def companions(structure: Structure, label: Label, signs: set[int] | None = None) -> set[Label]:
    """Return the labels that stand beside a label wherever it occurs, so that it acts for each.

    Parameters
    ----------
    structure : Structure
        The labels of a network, with all tensors that it makes.
    label : Label
        An atom.
    signs : set of int, optional
        Only occurrences with these sign variables count. Default: all.

    Returns
    -------
    set of Label
        Its units can be moved or negated separately for each unit of these.
    """
    common: set[Label] | None = None
    apart = _mixing(structure)
    for number, info in enumerate(structure.tensors):
        for axis, near in _met(structure, number, info, label, signs):
            others = near | _far(structure, number, info, axis, near)
            others -= apart.get(id(info), {}).get(axis, frozenset())
            common = others if common is None else common & others
            if not common:
                return set()
    return common or set()


def _far(structure: Structure, number: int, info: Info, axis: int, near: set[Label]) -> set[Label]:
    tops = _tops(structure)[number]
    counts: dict[Label, int] = {}
    for own in tops:
        for one in own:
            counts[one] = counts.get(one, 0) + 1
    return {
        one
        for other, own in enumerate(tops)
        if other != axis
        for one in own
        if counts[one] == 1 and one not in near
    }


def _cached(structure: Structure, name: str) -> dict:
    return structure.__dict__.setdefault(f"_{name}", {})


def _tops(structure: Structure) -> list[list[list[Label]]]:
    """Return for each tensor and axis the atoms that all of its entries have."""
    store = _cached(structure, "tops")
    if not store:
        store["all"] = [
            [[part.label.root() for part in axis if part.pieces is None] for axis in info.axes]
            for info in structure.tensors
        ]
    return store["all"]


def _met(
    structure: Structure, number: int, info: Info, label: Label, signs: set[int] | None
) -> list[tuple[int, set[Label]]]:
    """Return the axes at which a tensor has a label, with the atoms beside it on that axis."""
    store = _cached(structure, "met")
    if not store:
        for position, one in enumerate(structure.tensors):
            for axis, parts in enumerate(one.axes):
                for atom, sign, near in _near(parts, set()):
                    store.setdefault((position, atom), []).append((axis, sign, near))
    return [
        (axis, set(near))
        for axis, sign, near in store.get((number, label), ())
        if signs is None or sign in signs
    ]


def _near(axis: Axis, above: set[Label]) -> Iterator[tuple[Label, int, set[Label]]]:
    own = [part.label.root() for part in axis if part.pieces is None]
    for part in axis:
        if part.pieces is None:
            label = part.label.root()
            twice = own.count(label) > 1
            yield label, part.sign, set() if twice else (above | set(own)) - {label}
        else:
            for _, inner in part.pieces:
                yield from _near(inner, above | set(own))


def _mixing(structure: Structure) -> dict[int, dict[int, frozenset[Label]]]:
    """Return for each tensor that is mixed along axes, what so cannot act separately."""
    store = _cached(structure, "mixing")
    if not store:
        for info, dims in structure.mixed:
            along = frozenset(atom for axis in dims for atom, _, _ in _near(info.axes[axis], set()))
            store[id(info)] = {axis: along for axis in range(len(info.axes)) if axis not in dims}
        store.setdefault(0, {})
    return store
