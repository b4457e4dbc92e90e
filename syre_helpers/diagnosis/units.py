"""A class of interchangeable units: which entries of which tensors each of its units owns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Role = Literal["incoming", "outgoing", "gain", "shift", "module", "buffer"]
State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Part:
    """The entries of one tensor that belong to the units of a class.

    Parameters
    ----------
    tensor : str
        Name of a parameter or buffer.
    axis : int
        The axis along which the units lie.
    entries : Tensor, optional
        Indices along the axis, int64, shape (units, entries per unit); None where indices along one
        axis do not tell.
    role : str
        "incoming" weights make a unit's value, "outgoing" ones read it; a "gain" or a "shift" is
        that of a norm or a bias; where the units are modules, "module" is all but what reads them;
        a "buffer" is moved with its unit, and is not trained.
    pick : callable, optional
        Returns the rows of the tensor where `entries` do not tell.
    others : tuple of str
        Where the units are modules with tensors of their own: the names of the same tensor in the
        other modules, in their order.
    """

    tensor: str
    axis: int
    entries: Tensor | None
    role: Role
    pick: Callable[[Tensor], Tensor] | None = None
    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors that the part is in."""
        return (self.tensor, *self.others)

    def within(self, state: State) -> bool:
        """Test whether a state has the part."""
        return all(name in state for name in self.names)

    def of(self, state: State) -> Tensor:
        """Return the scalars of each unit in a state, float64: (units, scalars per unit)."""
        if self.others:
            return torch.stack([state[name].detach().flatten() for name in self.names]).double()
        return self.rows(state[self.tensor])

    def rows(self, tensor: Tensor) -> Tensor:
        """Return the scalars of each unit as one row, float64: (units, scalars per unit)."""
        if self.entries is None:
            assert self.pick is not None
            return self.pick(tensor.detach()).double()
        moved = tensor.detach().movedim(self.axis, 0)
        count = self.entries.numel()
        whole = len(moved) == count and torch.equal(self.entries.flatten(), torch.arange(count))
        if not whole:
            moved = moved.index_select(0, self.entries.flatten().to(tensor.device))
        return moved.reshape(len(self.entries), -1).double()


@dataclass(frozen=True)
class UnitClass:
    """Units of a model that may change places, or be flipped, without changing what it computes.

    Parameters
    ----------
    name : str
        For tables: the layer that makes the units.
    kinds : tuple of str
        The families of reflections that act on them: "permutation", "sign", "rotation"; "module
        swap" where the units are whole modules.
    width : int
        Number of units.
    parts : tuple of Part
        What the units own.
    vectors : callable, optional
        For rotations, and for signs of units that do not change places: returns of a state all
        scalars of each unit, (members, units, scalars), such as those of each head.
    flips : tuple of frozenset of int
        Numbers of the parts that each flip of a unit's sign negates: with it two units may be
        opposite twins.
    """

    name: str
    kinds: tuple[str, ...]
    width: int
    parts: tuple[Part, ...]
    vectors: Callable[[State], Tensor] | None = None
    flips: tuple[frozenset[int], ...] = ()

    @property
    def trained(self) -> tuple[Part, ...]:
        """The parts that are no buffers."""
        return tuple(part for part in self.parts if part.role != "buffer")

    def rows(self, state: State, *roles: Role) -> Iterator[tuple[Part, Tensor]]:
        """Yield each part of some roles, and its rows; without roles of all that is trained.

        Parameters
        ----------
        state : mapping of str to Tensor
            Values by name; parts that are not there are passed over.
        *roles : str
            As in `Part`.

        Yields
        ------
        tuple of Part and Tensor
            Rows are (units, scalars per unit), float64.
        """
        for part in self.parts:
            wanted = part.role in roles if roles else part.role != "buffer"
            if wanted and part.within(state):
                yield part, part.of(state)

    def signs(self) -> Tensor:
        """Return 1, or -1 for what is negated, of each flip and part; the first flip does nothing.

        Returns
        -------
        Tensor
            Shape (1 + flips, parts), float64.
        """
        signs = torch.ones(1 + len(self.flips), len(self.parts), dtype=torch.float64)
        for number, negated in enumerate(self.flips, 1):
            signs[number, sorted(negated)] = -1
        return signs

    def norms(self, state: State, *roles: Role) -> Tensor | None:
        """Return the Euclidean norm of each unit's scalars, (units,), or None without any part."""
        squares = [rows.square().sum(1) for _, rows in self.rows(state, *roles)]
        return torch.stack(squares).sum(0).sqrt().cpu() if squares else None

    def new_norm(self, state: State, *roles: Role) -> float:
        """Return the usual norm of a unit's scalars in a new layer, whose weights are of any width.

        Parameters
        ----------
        state : mapping of str to Tensor
            For the shapes.
        *roles : str
            As in `Part`.

        Returns
        -------
        float
            That of PyTorch's own initialisation, with variance 1 / (3 fan_in).
        """
        squares = 0.0
        for part, rows in self.rows(state, *roles):
            tensor = state[part.tensor]
            squares += rows.shape[1] * tensor.shape[0] / (3 * tensor.numel())
        return math.sqrt(squares)
