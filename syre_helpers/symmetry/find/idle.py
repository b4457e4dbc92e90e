"""Parts of parameters that no output depends on: a key's bias, a unit that nothing reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from .action import Site
from .candidates import Candidate
from .layout import Layout, Piece
from .proof import Prover

# A part of a tensor is idle where moving it by its own size changes the outputs by less than this,
# relative to the part that counts most.
_IDLE = 1e-9
# At how many other generic states that is looked at.
_ELSEWHERE = 3


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


def idle_regions(layout: Layout, prover: Prover) -> list[Region]:
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
    del gradients  # as large as the model
    largest = max((size for size, _ in sizes), default=0.0)
    flat = [region for size, region in sizes if not size > _IDLE * largest]
    # Without a slope need not be without effect: a model may detach what it reads, and ReLUs may
    # all be shut for once.
    for number in range(_ELSEWHERE + 1):
        if flat:
            # One at a time: each state is as large as the model.
            flat = _still_flat(prover.elsewhere(number - 1) if number else prover, flat)
    return flat


def _still_flat(prover: Prover, flat: list[Region]) -> list[Region]:
    return [region for region in flat if not _changed(prover, *region) > _IDLE]


def _changed(prover: Prover, piece: Piece, places: list[Tensor]) -> float:
    """Return the relative change of the outputs when a part of a parameter is scaled."""
    state = {**prover.state, piece.name: prover.state[piece.name].clone()}
    tensor = piece.of(state)
    where = torch.ones((), dtype=tensor.dtype)
    for axis, chosen in enumerate(places):
        inside = torch.zeros(tensor.shape[axis], dtype=tensor.dtype)
        inside[chosen] = 1
        where = where * inside.reshape(-1, *(1,) * (tensor.ndim - 1 - axis))
    tensor.mul_((1 - 1.83 * where).to(tensor.device))
    return prover.difference(prover.outputs(state))


def counts(family: Candidate, idle: list[Region]) -> bool:
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
