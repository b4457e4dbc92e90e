"""Recorded tables of the package, for chapters that cannot make them on every machine."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def recorded(name: str) -> pd.DataFrame:
    """Return a recorded table by its name: a copy of that in the repository's ``results/``.

    Parameters
    ----------
    name : str
        "census" (trained networks, one row per layer), "census_units" (one row per unit that is
        dead by some count), "census_rotations" (one row per attention head), or a recorded run of
        an experiment, such as "closed_gates-images", "growing-quick" or "transformers-full-size".

    Returns
    -------
    pandas.DataFrame
        Where and how it was made stands in the JSON file of that name in ``results/``.

    Raises
    ------
    ValueError
        If there is no such table.

    Examples
    --------
    >>> recorded("census").network.nunique()
    7
    """
    import pandas as pd

    folder = resources.files(__package__) / "tables"
    known = sorted(file.name.removesuffix(".csv") for file in folder.iterdir())
    if name not in known:
        raise ValueError(f"name={name!r} is no recorded table; there are {', '.join(known)}")
    with (folder / f"{name}.csv").open() as file:
        return pd.read_csv(file)
