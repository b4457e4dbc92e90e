"""Modules that may change places: experts in a list or a stack, members of an ensemble, paths."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .action import Element, Site
from .candidates import Candidate
from .graph import Graph
from .labels import Axis, size_of
from .layout import Layout, Piece
from .network import Network
from .proof import Prover

# Of so many modules, all pairs are tried where not all of them may change places.
_FEW = 8
# And so many guesses of what moves along.
_MOST = 12
# Operators that choose among units by their values: which units these are plays no part.
_CHOICES = frozenset({"topk", "sort", "argsort", "argmax", "max"})


def module_swaps(
    network: Network, graph: Graph, layout: Layout, prover: Prover, seed: int
) -> list[Candidate]:
    """Return the families of modules that may change places.

    Parameters
    ----------
    network : Network
        Its modules are looked at.
    graph : Graph
        Tells modules one of which reads what another wrote.
    layout : Layout
        Tells which axes of other tensors count modules, such as a router's rows.
    prover : Prover
        Each is tried by evaluation.
    seed : int
        Of random orders.

    Returns
    -------
    list of Candidate
        Proved by one draw each.
    """
    found: list[Candidate] = []
    for paths, tensors in _alike(network):
        if _in_a_row(graph, paths, tensors):
            continue
        family = _first(prover, layout, paths, tensors, seed)
        if family is not None:
            found.append(family)
        elif 2 < len(paths) <= _FEW:
            found += _parts(prover, layout, paths, tensors, seed)
    return found


def _first(
    prover: Prover, layout: Layout, paths: list[str], tensors: list[list[str]], seed: int
) -> Candidate | None:
    families = _orders(layout, paths, tensors)
    return next((one for one in families if prover.prove([one], 1, seed)), None)


def _parts(
    prover: Prover, layout: Layout, paths: list[str], tensors: list[list[str]], seed: int
) -> list[Candidate]:
    """Return the families of some of the modules: two that may change places are of one kind."""
    kinds: list[list[int]] = []
    for i in range(len(paths)):
        for kind in kinds:
            pair = [kind[0], i]
            some = [paths[k] for k in pair], [tensors[k] for k in pair]
            if _first(prover, layout, *some, seed) is not None:
                kind.append(i)
                break
        else:
            kinds.append([i])
    families = (
        _first(prover, layout, [paths[k] for k in kind], [tensors[k] for k in kind], seed)
        for kind in kinds
        if len(kind) > 1
    )
    return [one for one in families if one is not None]


def _alike(network: Network) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield siblings with parameters of the same names and shapes."""
    shapes = {name: tuple(network.state[name].shape) for name in network.moving}
    for path, module in network.model.named_modules():
        kinds: dict[tuple[object, ...], list[str]] = {}
        for name, child in module.named_children():
            inside = f"{path}.{name}" if path else name
            own = _own(inside, shapes)
            if own:
                signature = (type(child), *((one[len(inside) :], shapes[one]) for one in own))
                kinds.setdefault(signature, []).append(inside)
        for paths in kinds.values():
            if len(paths) > 1:
                yield paths, [_own(one, shapes) for one in paths]


def _own(path: str, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    return [name for name in shapes if name.startswith(f"{path}.")]


def _in_a_row(graph: Graph, paths: list[str], tensors: list[list[str]]) -> bool:
    """Test whether one of the modules reads what depends on another's parameters."""
    owner = {name: 1 << number for number, names in enumerate(tensors) for name in names}
    depends = {
        source.number: owner.get(source.name, 0)
        for source in graph.sources
        if source.kind == "parameter"
    }
    for node in graph.nodes:
        mask = 0
        for value in node.inputs():
            mask |= depends.get(value.number, 0)
        for number, path in enumerate(paths):
            inside = node.module == path or node.module.startswith(f"{path}.")
            if inside and mask & ~(1 << number):
                return True
        for result in node.results:
            if result is not None:
                depends[result.number] = mask
    return False


def _orders(layout: Layout, paths: list[str], tensors: list[list[str]]) -> Iterator[Candidate]:
    """Yield guesses of what moves along with the modules: nothing, and axes that count them."""
    own = {name for names in tensors for name in names}
    count = len(paths)
    groups: dict[object, list[Site]] = {}
    for piece, info in layout.pieces.items():
        for number, axis in enumerate(info.axes):
            if piece.name not in own and _counts(axis, count):
                atom = axis[0].label if axis[0].pieces is None else None
                site = _slots(piece, number, size_of(axis), count)
                groups.setdefault(atom, []).append(site)
    parts = groups.get(None, [])
    choices = [[], *groups.values(), [one for group in groups.values() for one in group]]
    choices += [
        [one, *other] for one in parts for other in ([], *groups.values()) if other != parts
    ]
    for chosen in choices[:_MOST]:
        yield Candidate("module swap", count, sites=chosen, modules=tensors)


def _counts(axis: Axis, count: int) -> bool:
    """Test whether an axis consists of as many parts of one length, or of as many units."""
    if len(axis) != 1:
        return False
    if axis[0].pieces is None:
        return axis[0].label.size == count
    block = size_of(axis) // count
    ranges = [range(i * block, (i + 1) * block) for i in range(count)]
    return [where for where, _ in axis[0].pieces] == ranges


def _slots(piece: Piece, number: int, length: int, count: int) -> Site:
    block = length // count
    place = torch.arange(length)
    return Site(
        piece, number, place // block, place % block, torch.arange(count) * block,
        torch.zeros_like(place), (), 0,
    )  # fmt: skip


def stacked_swaps(graph: Graph, layout: Layout, prover: Prover) -> list[Candidate]:
    """Return the swaps of experts that are stacked in one tensor and chosen by a router.

    No label can follow a choice such as topk, so each is guessed, and tried by evaluation.

    Parameters
    ----------
    graph : Graph
        Tells among how many a choice is made, and in which module.
    layout : Layout
        Tells which axes count so many units.
    prover : Prover
        Evaluates.

    Returns
    -------
    list of Candidate
        Each holds for two orders that move every expert; it still has to be proved.
    """
    tried: dict[frozenset[tuple[str, int]], Candidate | None] = {}

    def holds(sites: list[Site], count: int) -> bool:
        key = frozenset((site.piece.name, site.axis) for site in sites)
        if key not in tried:
            family = Candidate("permutation", count, sites=sites)
            # Not at random: of two experts that would leave both where they are, half the time.
            orders = (torch.arange(count).roll(step)[None] for step in (1, -1))
            known = (prover.violation([(family, Element(order))]) <= prover.tol for order in orders)
            tried[key] = family if all(known) else None
        return tried[key] is not None

    for module, count in _choices(graph):
        levels = module.split(".")
        # The router's module, and those around it: the smallest in which experts change places.
        any(
            holds(sites, count)
            for depth in range(len(levels), -1, -1)
            for sites in _stacks(layout, prover, ".".join(levels[:depth]), count)
        )
    return [one for one in tried.values() if one is not None]


def _choices(graph: Graph) -> list[tuple[str, int]]:
    """Return in which modules a choice is made, and among how many."""
    return list(
        dict.fromkeys(
            (node.module, size)
            for node in graph.nodes
            if node.name in _CHOICES
            for size in node.args[0].shape
            if size > 1
        )
    )


def _stacks(layout: Layout, prover: Prover, path: str, count: int) -> Iterator[list[Site]]:
    """Yield guesses of what is counted by the experts in a module: stacked tensors and a router."""
    groups: dict[object, list[Site]] = {}
    stacked: set[object] = {"taken apart"}
    around = (f"{path}.", "noise ") if path else ""
    # A stack of which every entry is used by itself, then what is used as a whole.
    for name in dict.fromkeys(one.name for one in layout.pieces if one.entry is not None):
        if name.startswith(around) and len(prover.state[name]) == count:
            site = _slots(Piece(name, None), 0, count, count)
            groups.setdefault("taken apart", []).append(site)
    for piece, info in layout.pieces.items():
        if piece.entry is not None or not piece.name.startswith(around):
            continue
        for number, axis in enumerate(info.axes):
            if _counts(axis, count) and (axis[0].pieces is not None or axis[0].label.pinned):
                label = axis[0].label if axis[0].pieces is None else None
                groups.setdefault(label, []).append(_slots(piece, number, size_of(axis), count))
                if number == 0 and len(info.axes) > 2:
                    stacked.add(label)
    own = [site for key, each in groups.items() if key in stacked for site in each]
    others = [each for key, each in groups.items() if key not in stacked]
    if own and others:
        yield own + [site for each in others for site in each]
        if len(others) > 1:
            yield from (own + each for each in others)
