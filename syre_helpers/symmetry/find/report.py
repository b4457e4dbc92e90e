"""Proved families as rows of a table."""

from __future__ import annotations

import math

from .action import Site
from .candidates import Candidate
from .engine import Left
from .layout import Piece, Region
from .network import Network
from .result import Family, Symmetries
from .shifts import Shift


def report(
    network: Network,
    families: list[Candidate],
    idle: list[Region],
    shifts: list[Shift],
    left: list[Left],
) -> Symmetries:
    """Return the proved families as the reader gets them.

    Parameters
    ----------
    network : Network
        Gives names and shapes.
    families : list of Candidate
        In any order; they are sorted by the first tensor that they move.
    idle : list of Region
        Parts of parameters that change no output.
    shifts : list of Shift
        Independent combinations of entries of other parts that change none.
    left : list of Left
        What was not understood or not looked at.

    Returns
    -------
    Symmetries
        One row per family, then one per idle part, then one per group of modules that idle
        combinations belong to.
    """
    order = {name: number for number, name in enumerate(network.state)}
    kinds = ("permutation", "rotation", "sign", "whole", "module swap")
    families = sorted(
        families, key=lambda one: (min(order.get(n, 0) for n in one.names()), kinds.index(one.kind))
    )
    rows = [family_of(network, one) for one in families]
    rows += [
        _idle_row(network, [one.piece.name], math.prod(one.sizes), 0.0, ("every entry",))
        for one in idle
    ]
    rows += _shift_rows(network, shifts)
    total = sum(
        network.state[n].numel() for n, kind in network.moving.items() if kind == "parameter"
    )
    return Symmetries(tuple(rows), tuple(left), total)


def family_of(network: Network, one: Candidate) -> Family:
    """Return a family as the reader gets it."""
    names = one.names()
    groups = {
        "permutation": f"S_{one.units}",
        "module swap": f"S_{one.units}",
        "rotation": f"O({one.units})",
        "sign": f"Z_2^{one.units}" if one.units > 1 else "Z_2",
        "whole": "Z_2",
    }
    return Family(
        kind="sign" if one.kind == "whole" else one.kind,
        layers=_layers(network, names),
        units=one.units,
        group=groups[one.kind],
        per=one.per,
        count=one.members,
        rank=_rank(network, one),
        violation=one.violation,
        tensors=tuple(names),
        buffers=frozenset(name for name in names if network.moving.get(name) == "buffer"),
        candidate=one,
        centre={name: shift for name, shift in network.centre.items() if name in names},
    )


def _idle_row(
    network: Network, names: list[str], directions: int, violation: float, words: tuple[str, ...]
) -> Family:
    return Family(
        "idle", _layers(network, names), directions, f"R^{directions}", "", 1, directions,
        violation, tuple(names), frozenset(), None, {}, words,
    )  # fmt: skip


def _shift_rows(network: Network, shifts: list[Shift]) -> list[Family]:
    """Return one row for all combinations of entries of the same modules."""
    order = {name: number for number, name in enumerate(network.state)}
    together: dict[tuple[str, ...], list[Shift]] = {}
    for one in sorted(shifts, key=lambda one: min(order[name] for name in one.names())):
        names = sorted(one.names(), key=order.__getitem__)
        together.setdefault(_layers(network, names), []).append(one)
    rows = []
    for own in together.values():
        names = sorted({name for one in own for name in one.names()}, key=order.__getitem__)
        directions = sum(one.directions for one in own)
        violation = max(one.violation for one in own)
        rows.append(_idle_row(network, names, directions, violation, _words(own)))
    return rows


def _words(shifts: list[Shift]) -> tuple[str, ...]:
    """Return the names of the numbers that move together, in words."""
    alone = [one.terms[0] for one in shifts if len(one.terms) == 1]
    axes = [
        (_last(region.piece.name), {region.axes[axis] for axis in column.along})
        for region, column, _ in alone
    ]
    words: dict[str, None] = {}
    for name, along in axes:
        if not any(other == name and fewer < along for other, fewer in axes):
            axis = " and ".join(map(str, sorted(along)))
            words[f"{name} along axis {axis}" if along else f"{name}, sums to zero"] = None
    for one in shifts:
        if len(one.terms) > 1:
            words[" with ".join(_last(region.piece.name) for region, _, _ in one.terms)] = None
    return tuple(words)


def _last(name: str) -> str:
    return name.removesuffix(".original").rpartition(".")[2]


def _layers(network: Network, names: list[str]) -> tuple[str, ...]:
    modules = [
        name.rpartition(".")[0].replace(".parametrizations.", ".").removesuffix(".weight")
        if ".parametrizations." in name
        else name.rpartition(".")[0] or name
        for name in names
        if not name.startswith("noise ")
    ]
    return tuple(dict.fromkeys(modules))


def _rank(network: Network, one: Candidate) -> int:
    """Return rank(P) of one reflection: half of what is left of the trace of the identity."""
    parameters = {n for n, kind in network.moving.items() if kind == "parameter"}
    rank = sum(piece.of(network.state).numel() for piece in one.pieces if piece.name in parameters)
    if one.modules:
        rank += sum(network.state[name].numel() for name in one.modules[0])
    by_piece: dict[Piece, list[Site]] = {}
    for site in one.sites:
        if site.piece.name in parameters:
            by_piece.setdefault(site.piece, []).append(site)
    for piece, own in by_piece.items():
        shape = piece.of(network.state).shape
        copies = [0.0] * len(shape)
        for site in own:
            inside = site.unit >= 0
            share = 1.0
            members = site.own[inside]
            for axis, each in site.others:
                share *= float((each == 0).sum()) / shape[axis]
            copies[site.axis] += share * float((members == 0).sum()) / one.units
        total, trace = 1.0, 1.0
        for n, count in zip(shape, copies, strict=True):
            total, trace = total * n, trace * (n - 2 * count)
        rank += round((total - trace) / 2)
    return rank
