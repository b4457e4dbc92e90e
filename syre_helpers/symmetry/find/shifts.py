"""Combinations of parameters that no output depends on, though each entry of them counts.

A router's rows may all be moved by one vector, two biases that are added by opposite ones. Such a
shift is the same at all parameters: unlike a rescaling, it does not depend on them.

Along each of its labels a region of a parameter is a sum of two parts: one that is constant, and
one that sums to zero. With all labels that makes sectors, orthogonal to each other, so that what is
found in different sectors is independent. In a sector, columns of slopes that are linearly
dependent, at several states, suggest a shift; evaluation proves it.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..._random import generator
from .layout import Region
from .proof import Prover, State

# Slopes smaller than this, relative to those of their region, count as zero.
_ZERO = 1e-9
# So do coefficients of linearly dependent columns, and their singular values.
_DEPENDENT = 1e-8
# So many entries of a column are looked at.
_MOST_ROWS = 4096
# Gradients: two, and for small models as many as there are columns need, up to these many with
# these many numbers in all.
_MOST_GRADIENTS, _NUMBERS = 24, 2**22

Key = tuple[int, ...]


@dataclass(frozen=True)
class Column:
    """The slopes of a sector of a region: summed over the axes in `along`, without means.

    `order` are the other axes of the region, by their sizes.
    """

    region: int
    along: frozenset[int]
    order: tuple[int, ...]


@dataclass(eq=False)
class Shift:
    """A family of directions: numbers that sum to zero along each axis, added to several regions.

    Parameters
    ----------
    terms : list of tuple
        Region, column, and the factor that the numbers get there.
    shape : tuple of int
        Of the numbers.
    size : float
        How large they are, to change entries by about their own size.
    seed : tuple
        Of the numbers that a proof adds.
    """

    terms: list[tuple[Region, Column, float]]
    shape: Key
    size: float
    seed: tuple[int, ...]
    violation: float = field(default=0.0)

    @property
    def directions(self) -> int:
        """How many independent directions it has."""
        return math.prod(n - 1 for n in self.shape)

    def names(self) -> set[str]:
        """Return the names of the parameters that it moves."""
        return {region.piece.name for region, _, _ in self.terms}

    def add_(self, state: State, number: int, sign: int) -> None:
        """Add random numbers of the family to a state, in place."""
        source = generator(*self.seed[:1], "find", "shift", *self.seed[1:], number)
        drawn = torch.randn(self.shape, generator=source, dtype=torch.float64)
        for axis in range(drawn.ndim):
            drawn -= drawn.mean(axis, keepdim=True)
        for region, column, factor in self.terms:
            back = [column.order.index(axis) for axis in sorted(column.order)]
            own = drawn.permute(back)
            for axis in sorted(column.along):
                own = own.unsqueeze(axis)
            region.add_(state, sign * self.size * factor * own)


def gradients(prover: Prover, number: int, look: Callable[[str, Tensor], None]) -> bool:
    """Show the gradient of a random combination of outputs; the first two at the same state."""
    if number >= 2:
        return prover.elsewhere(number).gradients(look, number)
    here = copy.copy(prover)
    here.network = prover.network.varied(number)
    return here.gradients(look, number)


def suggested(columns: Columns, prover: Prover) -> list[Shift] | None:
    """Return the shifts that gradients suggest, all of them independent.

    Parameters
    ----------
    columns : Columns
        Of the regions to look at, with their slopes of the first gradient.
    prover : Prover
        Gives more of them.

    Returns
    -------
    list of Shift or None
        Each still has to be proved. None where the model has no more gradients.
    """
    total = sum(prover.state[name].numel() for name in prover.network.moving)
    most = max(2, min(_MOST_GRADIENTS, _NUMBERS // max(total, 1)))
    for number in range(1, columns.wanted(most)):
        if not gradients(prover, number, columns.take):
            return None
    found: list[Shift] = []
    relations: dict[Key, list[dict[Column, float]]] = {}
    # Those with most axes first: what holds for them may hold for their sums.
    for key in sorted(columns.groups, key=len, reverse=True):
        relations[key] = columns.relations(key, relations)
        for relation in relations[key]:
            seed = prover.network.seed, len(found)
            found.append(_shift(relation, key, columns.regions, prover.state, seed))
    return found


def _shift(
    relation: dict[Column, float],
    key: Key,
    regions: list[Region],
    state: State,
    seed: tuple[int, int],
) -> Shift:
    terms, size = [], math.inf
    for column, factor in relation.items():
        region = regions[column.region]
        own = float(region.of(state).square().mean().sqrt())
        size = min(size, own / abs(factor))
        terms.append((region, column, factor))
    return Shift(terms, key, size, seed)


class Columns:
    """The slopes of all sectors of some regions, grouped by their shapes."""

    def __init__(self, regions: list[Region]) -> None:
        self.regions = regions
        self.slopes: dict[Column, list[Tensor]] = {}
        self.groups: dict[Key, list[Column]] = {}
        self.share: dict[Column, float] = {}
        self.left_out: set[int] = set()

    def leave(self, numbers: Iterable[int]) -> None:
        """Forget some of the regions."""
        self.left_out |= set(numbers)
        for key, columns in self.groups.items():
            kept = [one for one in columns if one.region not in self.left_out]
            # In the order of the regions: slopes come in the order of a backward pass.
            self.groups[key] = sorted(kept, key=lambda one: one.region)

    def take(self, name: str, gradient: Tensor) -> None:
        """Note the slopes of a parameter."""
        for number, region in enumerate(self.regions):
            if region.piece.name != name or number in self.left_out:
                continue
            whole = region.of({name: gradient})
            norm = float(whole.norm())
            for along, part in _sectors(whole).items():
                rest = [axis for axis in range(whole.ndim) if axis not in along]
                order = tuple(sorted(rest, key=lambda axis: region.sizes[axis]))
                column = Column(number, along, order)
                copies = math.prod(region.sizes[axis] for axis in along)
                if column not in self.share:
                    key = tuple(region.sizes[axis] for axis in order)
                    self.groups.setdefault(key, []).append(column)
                share = float(part.norm()) * copies**0.5 / norm if norm > 0 else 0.0
                self.share[column] = max(share, self.share.get(column, 0.0))
                part = part.squeeze(tuple(along)) if along else part
                back = [rest.index(axis) for axis in order]
                slopes = _some(part.permute(back)).cpu() * copies
                self.slopes.setdefault(column, []).append(slopes)

    def zero(self, column: Column) -> bool:
        """Test whether no output changes along any direction of a column."""
        return not self.share[column] > _ZERO

    def wanted(self, most: int) -> int:
        """Return the number of gradients that make as many equations as columns, if `most` do."""
        wanted = 2
        for key, columns in self.groups.items():
            equations = min(math.prod(n - 1 for n in key), _MOST_ROWS)
            unknown = sum(not self.zero(one) for one in columns)
            needed = math.ceil(unknown / equations) + 1
            wanted = max(wanted, needed) if needed <= most else wanted
        return wanted

    def relations(
        self, key: Key, above: dict[Key, list[dict[Column, float]]]
    ) -> list[dict[Column, float]]:
        """Return independent linear relations between the columns of a group.

        Parameters
        ----------
        key : tuple of int
            The group: the sizes of its columns' axes.
        above : dict
            The relations of groups with more axes. Where the gradients are too few for equations,
            only what follows from these is looked for.

        Returns
        -------
        list of dict
            Factors by column: single columns that are zero, then several.
        """
        found = [{one: 1.0} for one in self.groups[key] if self.zero(one)]
        columns = [one for one in self.groups[key] if not self.zero(one)]
        if not columns:
            return found
        matrix = torch.stack([torch.cat(self.slopes[one]) for one in columns], 1)
        norms = matrix.norm(dim=0)
        matrix = matrix / norms
        equations = len(self.slopes[columns[0]]) * min(math.prod(n - 1 for n in key), _MOST_ROWS)
        if equations >= len(columns):
            values, vectors = torch.linalg.svd(matrix, full_matrices=len(matrix) < len(columns))[1:]
            rank = int((values > _DEPENDENT * values[0]).sum())
            space = vectors[rank:]
        else:
            space = self._inherited(key, above, columns, matrix, norms)
        for row in _reduced(space):
            support = row.nonzero().reshape(-1)
            # Again with these columns alone, which is more exact.
            own = matrix[:, support]
            vectors = torch.linalg.svd(own, full_matrices=len(own) < len(support))[2]
            factors = vectors[-1] / norms[support]
            factors = factors / factors[factors.abs().argmax()]
            one = {columns[int(i)]: float(f) for i, f in zip(support, factors, strict=True)}
            # Sums of one region along different axes are alike where little of it is used: of a
            # kernel, on an image of one pixel, the centre.
            if len({column.region for column in one}) == len(one):
                found.append(one)
        return found

    def _inherited(
        self,
        key: Key,
        above: dict[Key, list[dict[Column, float]]],
        columns: list[Column],
        matrix: Tensor,
        norms: Tensor,
    ) -> Tensor:
        """Return the relations that follow from those of columns with one axis more."""
        number = {column: i for i, column in enumerate(columns)}
        rows = []
        for larger, relations in above.items():
            for axis in range(len(larger)):
                if larger[:axis] + larger[axis + 1 :] != key:
                    continue
                for relation in relations:
                    row = torch.zeros(len(columns), dtype=matrix.dtype)
                    for column, factor in relation.items():
                        summed = column.along | {column.order[axis]}
                        order = column.order[:axis] + column.order[axis + 1 :]
                        place = number.get(Column(column.region, summed, order))
                        if place is not None:
                            row[place] = factor * norms[place]
                    if bool(row.any()) and (matrix @ row).norm() <= _DEPENDENT * row.norm():
                        rows.append(row)
        return torch.stack(rows) if rows else matrix.new_zeros(0, len(columns))


def _sectors(tensor: Tensor) -> dict[frozenset[int], Tensor]:
    """Return the parts of a tensor by the axes along which they are constant."""
    parts = {frozenset[int](): tensor}
    for axis in range(tensor.ndim):
        split = {}
        for along, part in parts.items():
            mean = part.mean(axis, keepdim=True)
            # The tensor itself may be that of another parameter as well.
            split[along] = part.sub_(mean) if axis else part - mean
            split[along | {axis}] = mean
        parts = split
    return parts


def _some(values: Tensor) -> Tensor:
    """Return some of many numbers, the same ones for each shape."""
    if values.numel() <= _MOST_ROWS:
        return values.reshape(-1)
    source = generator(0, "find", "rows")
    places = torch.randint(values.numel(), (_MOST_ROWS,), generator=source)
    return values[torch.unravel_index(places.to(values.device), values.shape)]


def _reduced(space: Tensor) -> Tensor:
    """Return a basis of a space with few entries that are not zero."""
    rows = space / space.norm(dim=1, keepdim=True)
    for i in range(len(rows)):
        place = int(rows[i:].abs().argmax())
        pivot, column = i + place // rows.shape[1], place % rows.shape[1]
        if float(rows[pivot, column].abs()) <= _DEPENDENT:
            rows = rows[:i]
            break
        rows[[i, pivot]] = rows[[pivot, i]]
        rows[i] = rows[i] / rows[i, column]
        for other in itertools.chain(range(i), range(i + 1, len(rows))):
            rows[other] -= rows[other, column] * rows[i]
    return torch.where(rows.abs() > 100 * _DEPENDENT, rows, 0.0)


def broken(prover: Prover, shifts: list[Shift], number: int = 0) -> list[Shift]:
    """Return the shifts that change an output, by halves; the state is left as it was.

    Parameters
    ----------
    prover : Prover
        At a generic state.
    shifts : list of Shift
        Those to prove; each gets its largest `violation`.
    number : int
        Of the random numbers that are added. Default 0.

    Returns
    -------
    list of Shift
        Those that failed.
    """
    if not shifts:
        return []
    for one in shifts:
        one.add_(prover.state, number, 1)
    worst = prover.difference(prover.outputs(prover.state))
    for one in shifts:
        one.add_(prover.state, number, -1)
    if worst <= prover.tol:
        for one in shifts:
            one.violation = max(one.violation, worst)
        return []
    if len(shifts) == 1:
        return shifts
    half = len(shifts) // 2
    return broken(prover, shifts[:half], number) + broken(prover, shifts[half:], number)
