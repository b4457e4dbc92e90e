"""The search for the reflections of a model: trace, labels, candidates, proof."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..._checks import check_nonnegative_int, check_positive, check_positive_int
from ..._random import generator
from . import rules
from .action import Site
from .candidates import Candidate, candidates, wholes
from .engine import Left, structure
from .graph import Graph, record
from .layout import Layout, Piece, layout
from .network import Network, undisturbed
from .proof import Prover
from .result import Family, Symmetries
from .swaps import module_swaps

# A part of a tensor is idle where moving it by its own size changes the outputs by less than this,
# relative to the part that counts most.
_IDLE = 1e-9
# At how many other generic states that is looked at.
_ELSEWHERE = 3
# How far a penalty may change, relative to itself.
_SAME_PENALTY = 1e-12


def find_reflections(
    model: nn.Module,
    example_input: Any,
    *,
    outputs: Callable[[Any], Any] | None = None,
    penalty: Callable[[nn.Module], Tensor] | None = None,
    tol: float = 1e-10,
    draws: int = 20,
    seed: int = 0,
) -> Symmetries:
    """Return the reflection symmetries of a model, each proved by evaluation.

    One forward pass is recorded; what each operation demands of the axes of its tensors gives
    families of permutations, sign flips and rotations. Each family is then proved at generic
    parameters in float64, never at the model's own. An operation that is not understood can hide a
    symmetry, and is named in ``left_out``; it never makes a false one. The model, its mode and the
    random state are left as they were.

    Parameters
    ----------
    model : nn.Module
        In any mode and type of numbers. Parameters that do not train (``requires_grad=False``) are
        constants.
    example_input : Tensor, tuple or dict
        What the model is called with: a tensor, a tuple of arguments, or a dict of named ones.
        Small inputs are enough: two rows of a batch, say.
    outputs : callable, optional
        Takes what the model returns, and returns what must not change. Default: all tensors that
        the model returns. A variational autoencoder needs it: a reflection permutes the means of
        its latents, and the loss stays the same.
    penalty : callable, optional
        ``penalty(model)`` is added to the loss, such as ``syre.penalty``; what changes it is no
        symmetry of the regularised loss.
    tol : float
        Largest change of an output, relative to its size. Default 1e-10.
    draws : int
        How many random products of all families are tried; a family that is no symmetry passes with
        a chance of 2^-draws. Default 20.
    seed : int
        Of the generic parameters and the draws. Default 0.

    Returns
    -------
    Symmetries
        One `Family` per row of its ``table``; ``left_out`` says what was not understood. Under
        ``Syre.parametrize`` the reflections are centred at ``-theta_0``.

    Raises
    ------
    ValueError
        If the model cannot run on the input, the input is empty, or the outputs are not finite.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    >>> found = find_reflections(model, torch.ones(4, 3))
    >>> [(family.kind, family.group, family.rank) for family in found]
    [('permutation', 'S_5', 6), ('sign', 'Z_2^5', 6)]
    >>> R = found[0].reflection(1, 4)
    """
    network = Network(model, example_input, outputs, penalty, check_nonnegative_int("seed", seed))
    check_positive("tol", tol)
    check_positive_int("draws", draws)
    with undisturbed(model):
        network.prepare()
        graph = record(model, network.call, network.state, network.moving, network.inputs)
        known = structure(graph, rules.elementwise)
        where = layout(graph, known)
        prover = Prover(network, tol)
        families = candidates(known, where)
        families += wholes(known, where, families)
        idle = _idle(where, prover)
        families = [one for one in families if _counts(one, idle)]
        families += module_swaps(network, graph, where, prover, seed)
        families = prover.prove(families, draws, seed)
        left = [*known.left, *_unused(network, graph)]
        if penalty is not None:
            families = _unpenalised(families, prover, seed, left)
        return _result(network, where, families, idle, left)


def _regions(layout: Layout, piece: Piece) -> Iterator[list[Tensor]]:
    """Yield for each region of a piece that labels tell apart its places along each axis."""
    axes = []
    for axis, n in enumerate(layout.shapes[piece]):
        here = [
            one.unit >= 0
            for each in layout.occurrences.values()
            for one in each
            if one.piece == piece and one.axis == axis
        ]
        columns = torch.stack(here, 1).tolist() if here else [[]] * n
        kinds: dict[tuple[bool, ...], list[int]] = {}
        for place, column in enumerate(columns):
            kinds.setdefault(tuple(column), []).append(place)
        axes.append([torch.tensor(places) for places in kinds.values()])
    yield from (list(one) for one in itertools.product(*axes))


def _taken(tensor: Tensor, places: list[Tensor]) -> Tensor:
    for axis, chosen in enumerate(places):
        if len(chosen) < tensor.shape[axis]:
            tensor = tensor.index_select(axis, chosen.to(tensor.device))
    return tensor


Region = tuple[Piece, list[Tensor]]


def _idle(layout: Layout, prover: Prover) -> list[Region]:
    """Return the parts of parameters that no output depends on."""
    gradients = prover.gradients()
    sizes: list[tuple[float, Region]] = []
    for piece in layout.pieces:
        if prover.network.moving.get(piece.name) != "parameter":
            continue
        for places in _regions(layout, piece):
            size = 0.0
            if gradients is not None:
                slope = _taken(piece.of(gradients), places).norm()
                size = float(slope * _taken(piece.of(prover.state), places).norm())
            sizes.append((size, (piece, places)))
    largest = max((size for size, _ in sizes), default=0.0)
    flat = [region for size, region in sizes if not size > _IDLE * largest]
    # Without a slope need not be without effect: a model may detach what it reads, and ReLUs may
    # all be shut for once.
    others = (prover.elsewhere(number) for number in range(_ELSEWHERE if flat else 0))
    for one in (prover, *others):
        flat = [region for region in flat if not _changed(one, *region) > _IDLE]
    return flat


def _changed(prover: Prover, piece: Piece, places: list[Tensor]) -> float:
    """Return how much the outputs change when a part of a parameter is scaled."""
    state = {**prover.state, piece.name: prover.state[piece.name].clone()}
    tensor = piece.of(state)
    where = torch.ones((), dtype=tensor.dtype)
    for axis, chosen in enumerate(places):
        inside = torch.zeros(tensor.shape[axis], dtype=tensor.dtype)
        inside[chosen] = 1
        where = where * inside.reshape(-1, *(1,) * (tensor.ndim - 1 - axis))
    tensor.mul_((1 - 1.83 * where).to(tensor.device))
    return prover.difference(prover.outputs(state))


def _counts(family: Candidate, idle: list[Region]) -> bool:
    """Test whether a family moves anything that outputs depend on."""
    dead: dict[Piece, list[list[Tensor]]] = {}
    for piece, places in idle:
        dead.setdefault(piece, []).append(places)

    def lives(site: Site) -> bool:
        if site.piece.name.startswith("noise "):
            return False
        inside = set((site.unit >= 0).nonzero().reshape(-1).tolist())
        for places in dead.get(site.piece, ()):
            inside -= set(places[site.axis].tolist())
        return bool(inside)

    return any(lives(site) for site in family.sites) or any(
        piece not in dead and not piece.name.startswith("noise ") for piece in family.pieces
    )


def _unused(network: Network, graph: Graph) -> list[Left]:
    read = {value.number for node in graph.nodes for value in node.inputs()}
    read |= {value.number for value in graph.outputs}
    unused = [
        source.name
        for source in graph.sources
        if source.kind == "parameter" and source.number not in read
    ]
    return [Left(name, "", "frozen") for name in network.frozen] + [
        Left(name, "", "never used") for name in unused
    ]


def _unpenalised(
    families: list[Candidate], prover: Prover, seed: int, left: list[Left]
) -> list[Candidate]:
    """Return the families that leave the penalty as it is, and say how many do not."""
    network = prover.network
    before = network.penalised(prover.state)
    kept = []
    for family in families:
        element = family.drawn(generator(seed, "find", "penalty"))
        after = network.penalised(prover.moved([(family, element)]))
        if float((after - before).abs()) <= _SAME_PENALTY * float(before.abs()):
            kept.append(family)
    if len(kept) < len(families):
        lost = len(families) - len(kept)
        left.append(Left("penalty", "", f"{lost} families leave the outputs alone, but change it"))
    return kept


def _result(
    network: Network,
    layout: Layout,
    families: list[Candidate],
    idle: list[Region],
    left: list[Left],
) -> Symmetries:
    order = {name: number for number, name in enumerate(network.state)}
    kinds = ("permutation", "rotation", "sign", "whole", "module swap")
    families = sorted(
        families, key=lambda one: (min(order.get(n, 0) for n in one.names()), kinds.index(one.kind))
    )
    rows = [_family(network, one) for one in families]
    rows += [_idle_row(piece, places, network) for piece, places in idle]
    total = sum(
        network.state[n].numel() for n, kind in network.moving.items() if kind == "parameter"
    )
    return Symmetries(tuple(rows), tuple(left), total)


def _family(network: Network, one: Candidate) -> Family:
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
