"""Parts of parameters that no output depends on: a key's bias, a unit that nothing reads."""

from __future__ import annotations

from torch import Tensor

from .action import Site
from .candidates import Candidate
from .layout import Layout, Piece, Region, regions
from .proof import Prover
from .shifts import Columns, Shift, broken, gradients, suggested

# A part of a tensor is idle where moving it by its own size changes the outputs by less than this,
# relative to the part that counts most.
_IDLE = 1e-9
# At how many other generic states that is looked at.
_ELSEWHERE = 3


def idle_directions(layout: Layout, prover: Prover) -> tuple[list[Region], list[Shift] | None]:
    """Return the parts and the shifts of parameters that no output depends on.

    Parameters
    ----------
    layout : Layout
        Tells which parts there are.
    prover : Prover
        At generic parameters.

    Returns
    -------
    list of Region
        Parts whose entries change no output.
    list of Shift or None
        Combinations of entries of the other parts, all of them independent; None where the model
        has no gradient that could suggest them.
    """
    flat, shifts = _suspected(layout, prover)
    # Without a slope need not be without effect: a model may detach what it reads, and ReLUs may
    # all be shut for once.
    if flat:
        flat = _still_flat(prover, flat)
    for number in range(_ELSEWHERE):
        if flat or shifts:
            here = prover.elsewhere(number)  # one at a time: each state is as large as the model
            flat = _still_flat(here, flat)
            failed = broken(here, shifts or [])
            shifts = shifts and [one for one in shifts if one not in failed]
            del here  # before the next one is made
    return flat, shifts


def _suspected(layout: Layout, prover: Prover) -> tuple[list[Region], list[Shift] | None]:
    """Return the parts and the combinations without slope; all parts where no gradient is there."""
    parts = [
        region
        for piece in layout.pieces
        if prover.network.moving.get(piece.name) == "parameter"
        for region in regions(layout, piece)
    ]
    sizes, columns = [0.0] * len(parts), Columns(parts)

    def look(name: str, gradient: Tensor) -> None:
        for number, one in enumerate(parts):
            if one.piece.name == name:
                slope = one.of({name: gradient}).norm()
                sizes[number] = float(slope * one.of(prover.state).norm())
        columns.take(name, gradient)

    if not gradients(prover, 0, look):
        return parts, None
    smallest = _IDLE * max(sizes, default=0.0)
    none = [number for number, size in enumerate(sizes) if not size > smallest]
    columns.leave(none)
    return [parts[number] for number in none], suggested(columns, prover)


def _still_flat(prover: Prover, flat: list[Region]) -> list[Region]:
    return [region for region in flat if not _changed(prover, region) > _IDLE]


def _changed(prover: Prover, region: Region) -> float:
    """Return the relative change of the outputs when a part of a parameter is scaled."""
    name = region.piece.name
    state = {**prover.state, name: prover.state[name].clone()}
    region.add_(state, -1.83 * region.of(state))
    return prover.difference(prover.outputs(state))


def counts(family: Candidate, idle: list[Region]) -> bool:
    """Test whether a family moves anything that outputs depend on."""
    dead: dict[Piece, list[Region]] = {}
    for region in idle:
        dead.setdefault(region.piece, []).append(region)

    def lives(site: Site) -> bool:
        if site.piece.name.startswith("noise "):
            return False
        inside = set((site.unit >= 0).nonzero().reshape(-1).tolist())
        for region in dead.get(site.piece, ()):
            inside -= set(region.places[site.axis].tolist())
        return bool(inside)

    return any(lives(site) for site in family.sites) or any(
        piece not in dead and not piece.name.startswith("noise ") for piece in family.pieces
    )
