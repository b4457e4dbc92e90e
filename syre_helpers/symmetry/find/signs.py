"""Sign flips: the solutions of linear relations over the field of two elements."""

from __future__ import annotations

from collections.abc import Iterable

from .labels import FIXED


def components(equations: Iterable[tuple[int, ...]], variables: int) -> list[int]:
    """Return for each variable the number of its component: those linked by relations.

    Parameters
    ----------
    equations : iterable of tuple of int
        Each a set of variables whose sum is 0. Variable 0 is always 0, and links nothing.
    variables : int
        How many there are.

    Returns
    -------
    list of int
        The component of each variable.
    """
    above = list(range(variables))

    def root(one: int) -> int:
        while above[one] != one:
            above[one] = above[above[one]]
            one = above[one]
        return one

    for equation in equations:
        linked = [one for one in equation if one != FIXED]
        for other in linked[1:]:
            above[root(other)] = root(linked[0])
    return [root(one) for one in range(variables)]


def solutions(equations: Iterable[tuple[int, ...]], sources: list[int]) -> list[set[int]]:
    """Return independent solutions, by the variables that are 1.

    Parameters
    ----------
    equations : iterable of tuple of int
        Relations, as in `components`.
    sources : list of int
        The variables that count: solutions that differ in others only are one, and each comes
        with one choice of the others.

    Returns
    -------
    list of set of int
        A basis, with few sources in each.
    """
    last = set(sources)
    # Relations as sets; pivots are taken among the other variables first.
    rows: dict[int, set[int]] = {}
    for equation in equations:
        row: set[int] = set()
        for one in equation:
            if one != FIXED:
                row ^= {one}
        # One pass is not enough: a pivot's row may bring in another pivot.
        while pivots := row & rows.keys():
            row = row ^ rows[pivots.pop()]
        if not row:
            continue
        pivot = min(row, key=lambda one: (one in last, one))
        for other, content in rows.items():
            if pivot in content:
                rows[other] = content ^ row
        rows[pivot] = row
    free = [one for one in sources if one not in rows]
    basis = []
    for one in free:
        basis.append({one} | {pivot for pivot, row in rows.items() if one in row})
    return _lightened(basis, last)


def _lightened(basis: list[set[int]], sources: set[int]) -> list[set[int]]:
    """Add solutions to one another as long as that leaves fewer sources in one of them."""
    better = True
    while better:
        better = False
        for i in range(len(basis)):
            for j in range(len(basis)):
                if i == j:
                    continue
                both = basis[i] ^ basis[j]
                if len(both & sources) < len(basis[i] & sources):
                    basis[i], better = both, True
    return sorted(basis, key=lambda one: (len(one & sources), sorted(one & sources)))
