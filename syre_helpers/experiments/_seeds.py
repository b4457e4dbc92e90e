"""The seeds of a run: so many, counted from 0, or those that its ``Config`` names."""

from __future__ import annotations

from collections.abc import Sequence

Seeds = int | tuple[int, ...]


def seeds_of(seeds: Seeds) -> Sequence[int]:
    """Return the seeds that the field ``seeds`` of a ``Config`` stands for.

    Parameters
    ----------
    seeds : int or tuple of int
        A number of seeds, or the seeds themselves: a part of a run, see `grid`.

    Raises
    ------
    ValueError
        If there is none, or one comes twice.

    Examples
    --------
    >>> list(seeds_of(3)), list(seeds_of((2, 5)))
    ([0, 1, 2], [2, 5])
    """
    found: Sequence[int] = range(seeds) if isinstance(seeds, int) else tuple(seeds)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"seeds={seeds!r} must be at least one, all different")
    return found
