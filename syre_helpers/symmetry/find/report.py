"""Proved families as rows of a table."""

from __future__ import annotations

from torch import Tensor

from .action import Site
from .candidates import Candidate
from .engine import Left
from .idle import Region
from .layout import Piece
from .network import Network
from .result import Family, Symmetries


def report(
    network: Network,
    families: list[Candidate],
    idle: list[Region],
    left: list[Left],
) -> Symmetries:
    """Return the proved families as the reader gets them.

    Parameters
    ----------
    network : Network
        Gives names and shapes.
    families : list of Candidate
        In any order; they are sorted by the first tensor that they move.
    idle : list of tuple
        Parts of parameters that change no output.
    left : list of Left
        What was not understood or not looked at.

    Returns
    -------
    Symmetries
        One row per family, then one per idle part.
    """
    order = {name: number for number, name in enumerate(network.state)}
    kinds = ("permutation", "rotation", "sign", "whole", "module swap")
    families = sorted(
        families, key=lambda one: (min(order.get(n, 0) for n in one.names()), kinds.index(one.kind))
    )
    rows = [family_of(network, one) for one in families]
    rows += [_idle_row(piece, places, network) for piece, places in idle]
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


def _idle_row(piece: Piece, places: list[Tensor], network: Network) -> Family:
    count = 1
    for each in places:
        count *= len(each)
    return Family(
        "idle", _layers(network, [piece.name]), count, "", "", 1, count, 0.0, (piece.name,),
        frozenset(), None, {},
    )  # fmt: skip


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
