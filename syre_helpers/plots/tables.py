"""Checks of the tidy tables that figures and words are made of, and the rows that they show."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def check_columns(df: pd.DataFrame, columns: Iterable[str], numbers: Iterable[str]) -> None:
    """Raise an error if a table is none, is empty, lacks a column, or holds NaN or infinity."""
    import numpy as np
    import pandas as pd

    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"df is a {type(df).__name__}; pass a pandas.DataFrame, a tidy table")
    missing = [column for column in columns if column not in df.columns]
    if missing:
        raise ValueError(
            f"df has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, df.columns))}"
        )
    if df.empty:
        raise ValueError("df is empty: no row to draw or describe; check how it was selected")
    for column in numbers:
        if not pd.api.types.is_numeric_dtype(df[column]):
            raise ValueError(f"df[{column!r}] holds {df[column].iloc[0]!r}; numbers are drawn")
        bad = int((~np.isfinite(df[column].astype(float))).sum())
        if bad:
            raise ValueError(
                f"df[{column!r}] has {bad} values that are NaN or infinite; leave out the runs "
                "that diverged, and say so beside the figure"
            )


def last_of_each_run(df: pd.DataFrame, value: str, arm: str, seed: str) -> pd.DataFrame:
    """Return one row per arm and seed: the only one, or that of the last step."""
    check_columns(df, [arm, seed, value], [value])
    if "step" in df.columns:
        df = df[df["step"] == df.groupby([arm, seed], sort=False)["step"].transform("max")]
    repeated = df.duplicated([arm, seed])
    if repeated.any():
        row = df[repeated].iloc[0]
        raise ValueError(
            f"df has several rows for {arm}={row[arm]!r}, {seed}={row[seed]!r}; keep one row "
            'per arm and seed, or tell the arms apart by their labels, with variant="..."'
        )
    return df


def seeds_in_words(df: pd.DataFrame, arm: str, seed: str) -> str:
    """Return "8 seeds", or "5 to 8 seeds" where the arms have different numbers of them."""
    counts = df.groupby(arm, sort=False)[seed].nunique()
    low, high = int(counts.min()), int(counts.max())
    if low != high:
        return f"{low} to {high} seeds"
    return "1 seed" if low == 1 else f"{low} seeds"
