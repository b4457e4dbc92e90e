"""What `find_reflections` returns: families of reflections, and what could not be followed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..._checks import check_int, check_unit_vector
from ..reflection import Parameters, Reflection
from .action import Element
from .candidates import Candidate
from .engine import Left
from .proof import transform_

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["kind", "layers", "units", "group", "per", "count", "rank", "violation"]


@dataclass(frozen=True)
class Family:
    """One family of reflections of a model: a row of ``Symmetries.table``.

    Parameters
    ----------
    kind : str
        "permutation", "sign", "rotation", "module swap", or "idle": fixed directions along which no
        output changes.
    layers : tuple of str
        Names of the modules whose tensors move.
    units : int
        How many units there are; for "idle", how many independent directions, each of which is
        counted in one row only.
    group : str
        Such as "S_512", "Z_2^512" or "O(64)"; "R^9" for nine idle directions.
    per : str
        What has a family of its own ("head", "block"), or "".
    count : int
        How many such families there are.
    rank : int
        rank(P) of one reflection: the scalars that its mirror plane lacks; for "idle" the number
        of directions.
    violation : float
        Largest relative change of an output that was seen, in float64 at generic parameters.
    tensors : tuple of str
        Names of the parameters and buffers that move.
    buffers : frozenset of str
        Those of them that are buffers.
    candidate : Candidate, optional
        How the reflections are made; None for "idle".
    centre : dict of str to Tensor
        Where the mirror planes meet, by parameter: empty for 0.
    idle : tuple of str
        For "idle", the directions in words: "every entry" of a parameter that nothing depends on
        (a key's bias), or entries that count although a combination of them does not, such as
        "bias along axis 0" (all of them moved by the same), "bias_ih_l0 with bias_hh_l0" (one moved
        up and the other one down) and "weight, sums to zero" (where only a sum is used).

    Notes
    -----
    An idle direction v leaves the loss alone at all parameters and for all steps: f(theta + c v) =
    f(theta). The reflection theta - 2 (v . theta) v, for v of length 1, is a symmetry of it, too,
    and a harmless one: all states are alike along v, so that its plane has no pull that training
    lacks elsewhere, and no output can tell the plane from its neighbourhood. Weight decay takes
    the part along v away, and nothing is lost by it. Directions that depend on theta, such as a
    rescaling of two layers, are no idle ones. Buffers do not move: a bias in front of BatchNorm
    counts, since evaluation subtracts a fixed mean.
    """

    kind: str
    layers: tuple[str, ...]
    units: int
    group: str
    per: str
    count: int
    rank: int
    violation: float
    tensors: tuple[str, ...] = field(repr=False)
    buffers: frozenset[str] = field(repr=False)
    candidate: Candidate | None = field(repr=False, compare=False)
    centre: dict[str, Tensor] = field(repr=False, compare=False)
    idle: tuple[str, ...] = field(default=(), repr=False)

    def reflection(self, *units: Any, at: int = 0) -> Reflection:
        """Return one reflection of the family.

        Parameters
        ----------
        *units : int or Tensor
            Two units for a permutation or a module swap, counted from 0; one for a sign; for a
            rotation a unit vector of shape (units,), normal to the mirror plane.
        at : int
            Which of the `count` families, such as which head. Default 0.

        Returns
        -------
        Reflection
            Of parameters and, where the family moves them, buffers.

        Raises
        ------
        ValueError
            If a unit does not exist, or their number does not fit the kind.
        """
        candidate = self.candidate
        if candidate is None:
            raise ValueError(
                "idle directions change no output, so that no reflection of theirs means anything"
            )
        if not 0 <= check_int("at", at) < self.count:
            raise ValueError(f"at={at} is out of range: there are {self.count} such families")
        element = self._element(units, at)
        own = [site for site in candidate.sites if not site.piece.name.startswith("noise ")]
        candidate = replace(candidate, sites=own)
        names = candidate.names()

        def involution(params: Parameters) -> dict[str, Tensor]:
            state = {name: params[name].clone() for name in names}
            transform_(state, candidate, element)
            return {**params, **state}

        return Reflection(involution, self.centre, buffers=self.buffers, check=False)

    def _element(self, units: tuple[Any, ...], at: int) -> Element:
        shape = self.count, self.units
        if self.kind in ("permutation", "module swap"):
            i, j = self._checked(units, 2, "two units, reflection(i, j)")
            if i == j:
                raise ValueError(f"i and j must be two different units, got i = j = {i}")
            order = torch.arange(self.units).repeat(self.count, 1)
            order[at, i], order[at, j] = j, i
            return Element(order=order)
        if self.kind == "sign":
            (i,) = self._checked(units or (0,) * (self.units == 1), 1, "one unit, reflection(i)")
            signs = torch.ones(shape, dtype=torch.int64)
            signs[at, i] = -1
            return Element(signs=signs)
        if len(units) != 1:
            raise ValueError(f"a rotation takes one unit vector of shape ({self.units},)")
        normal = check_unit_vector(units[0])
        if len(normal) != self.units:
            raise ValueError(f"n has {len(normal)} entries, but there are {self.units} units")
        matrix = torch.eye(self.units, dtype=torch.float64).repeat(self.count, 1, 1)
        matrix[at] -= 2 * torch.outer(normal, normal)
        return Element(matrix=matrix)

    def _checked(self, units: tuple[Any, ...], number: int, usage: str) -> tuple[int, ...]:
        if len(units) != number:
            raise ValueError(f"a {self.kind} takes {usage}; got {len(units)} arguments")
        for unit in units:
            if not 0 <= check_int("unit", unit) < self.units:
                raise ValueError(
                    f"unit {unit} is out of range: there are {self.units}, counted from 0"
                )
        return units

    def vectors(self, params: Parameters) -> Tensor:
        """Return all scalars that each unit owns in the parameters.

        Parameters
        ----------
        params : mapping of str to Tensor
            Of the model; buffers may be left out.

        Returns
        -------
        Tensor
            Shape (count, units, scalars per unit), float64, without gradient. Two rows are equal
            where two units are twins, a row is zero where a unit is dead. For a module swap the
            units are modules, (1, modules, scalars per module): all their own parameters, then
            what moves along, such as a router's row; copies whose own hidden units stand in
            another order have different rows.

        Raises
        ------
        ValueError
            If the family has no units: "idle", and a sign of whole tensors.
        """
        candidate = self.candidate
        if candidate is None or not (candidate.sites or candidate.modules):
            raise ValueError(
                f"a family of kind {self.kind!r} has no units with scalars of their own"
            )

        def centred(name: str) -> Tensor:
            value = params[name].detach()
            return value - self.centre[name] if name in self.centre else value

        rows: list[Tensor] = []
        for names in zip(*candidate.modules, strict=True):  # one tensor of every module
            if names[0] not in self.buffers:
                rows.append(torch.stack([centred(name).flatten() for name in names]).double()[None])
        for site in candidate.sites:
            name = site.piece.name
            if name not in self.buffers and not name.startswith("noise "):
                piece = site.piece.of({name: centred(name)}).double()
                rows.append(site.rows(piece, self.count, self.units))
        return torch.cat(rows, -1)


@dataclass(frozen=True)
class Symmetries:
    """The families of reflections of a model: a sequence of `Family`.

    Parameters
    ----------
    families : tuple of Family
        In the order of the network's tensors.
    left_out : tuple of Left
        What was not understood or not looked at: `operator`, `module` and `why`.
    parameters : int
        How many scalars train.
    """

    families: tuple[Family, ...]
    left_out: tuple[Left, ...]
    parameters: int

    def __getitem__(self, number: int) -> Family:
        return self.families[number]

    def __len__(self) -> int:
        return len(self.families)

    def __iter__(self) -> Iterator[Family]:
        return iter(self.families)

    @property
    def table(self) -> pd.DataFrame:
        """All families, one per row."""
        import pandas as pd

        rows = [{name: getattr(one, name) for name in COLUMNS} for one in self.families]
        table = pd.DataFrame(rows, columns=COLUMNS)
        table["layers"] = [", ".join(one.layers) for one in self.families]
        return table

    @property
    def swaps(self) -> int:
        """How many swaps of two units or modules there are."""
        kinds = ("permutation", "module swap")
        return sum(one.count * math.comb(one.units, 2) for one in self if one.kind in kinds)

    @property
    def flips(self) -> int:
        """How many sign flips of one unit there are."""
        return sum(one.count * one.units for one in self if one.kind == "sign")

    @property
    def rotations(self) -> int:
        """How many families of rotations there are, each with uncountably many reflections."""
        return sum(one.count for one in self if one.kind == "rotation")

    @property
    def idle(self) -> int:
        """How many independent directions change no output, at any parameters."""
        return sum(one.units for one in self if one.kind == "idle")

    def __repr__(self) -> str:
        rows = sum(one.kind != "idle" for one in self)
        head = (
            f"{self.swaps:,} swaps, {self.flips:,} sign flips and {self.rotations:,} groups of "
            f"rotations, in {rows} famil{'y' if rows == 1 else 'ies'}"
        )
        if self.idle:
            head += f"; {self.idle:,} idle directions"
        lines = [head, *(_line(number, one) for number, one in enumerate(self))]
        if self.left_out:
            lines.append("left out:")
            lines += [f"  {_place(one)}: {one.why}" for one in self.left_out]
        return "\n".join(lines)


def _line(number: int, family: Family) -> str:
    times = f"{family.count} x " if family.count > 1 else ""
    per = f" (per {family.per})" if family.per else ""
    shown = ", ".join(family.layers[:3]) + (", ..." if len(family.layers) > 3 else "")
    if family.kind == "idle":
        shown += f" ({'; '.join(family.idle)})"
    return (
        f"  [{number}] {family.kind:<11} {times}{family.group}{per}: {shown}; rank {family.rank}, "
        f"violation {family.violation:.0e}"
    )


def _place(left: Left) -> str:
    return f"{left.operator} in {left.module}" if left.module else left.operator
