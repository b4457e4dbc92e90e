"""Numbers in words, for alt texts and for the sentences that state a result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .tables import last_of_each_run, seeds_in_words

if TYPE_CHECKING:
    import pandas as pd


def describe(df: pd.DataFrame, value: str, arm: str = "arm", *, seed: str = "seed") -> str:
    """Return the mean and standard deviation of a column over the seeds, arm by arm, in words.

    Parameters
    ----------
    df : DataFrame
        Tidy: one row per arm and seed. With a column ``step``, the last step of each run counts.
    value : str
        Column of numbers.
    arm, seed : str
        Columns of the arms and the seeds. Defaults "arm" and "seed".

    Returns
    -------
    str
        Arms in order of appearance; the sample's standard deviation, with two significant digits.

    Notes
    -----
    A ValueError says if a column is missing, the table is empty, a value is NaN or infinite, or an
    arm has several rows for one seed.

    Examples
    --------
    >>> import pandas as pd
    >>> df = pd.DataFrame(
    ...     {
    ...         "arm": ["syre", "syre", "vanilla", "vanilla"],
    ...         "seed": [0, 1, 0, 1],
    ...         "loss": [0.011, 0.015, 1.2, 1.9],
    ...     }
    ... )
    >>> describe(df, "loss")
    'syre 0.0130 ± 0.0028, vanilla 1.55 ± 0.49 (mean ± sd, 2 seeds)'
    """
    rows = last_of_each_run(df, value, arm, seed)
    groups = rows.groupby(arm, sort=False)[value]
    parts = [f"{name} {plus_minus(group.mean(), group.std())}" for name, group in groups]
    return f"{', '.join(parts)} (mean ± sd, {seeds_in_words(rows, arm, seed)})"


def plus_minus(mean: float, sd: float) -> str:
    """Return a mean and a standard deviation with as many digits as the deviation supports.

    Parameters
    ----------
    mean, sd : float
        An `sd` of NaN (one seed) or 0 is left out or written as 0.

    Returns
    -------
    str
        The deviation has two significant digits, and the mean as many decimals.

    Examples
    --------
    >>> plus_minus(0.98712, 0.0123), plus_minus(1234.5, 56.7), plus_minus(2.51e-5, 3e-6)
    ('0.987 ± 0.012', '1234 ± 57', '2.51e-05 ± 3.0e-06')
    >>> plus_minus(0.5, float("nan")), plus_minus(3, 0)
    ('0.5', '3 ± 0')
    """
    if math.isnan(sd):
        return f"{mean:.3g}"
    if sd == 0:
        return f"{mean:.3g} ± 0"
    largest = max(abs(mean), sd)
    place = math.floor(math.log10(sd)) - 1  # of the deviation's second significant digit
    if 1e-3 <= largest < 1e5:
        decimals = min(max(0, -place), 6)
        return f"{mean:.{decimals}f} ± {sd:.{decimals}f}"
    digits = min(max(0, math.floor(math.log10(largest)) - place), 6)
    return f"{mean:.{digits}e} ± {sd:.1e}"
