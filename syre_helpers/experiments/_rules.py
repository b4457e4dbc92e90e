"""Rules of claims: one scheme for all verdicts, fixed before a number is seen.

A claim measures one number per seed; where it compares two arms, that number is a difference or a
ratio *within* the seed, so that what the seeds have in common drops out. What is judged is the 95%
interval of the mean over the seeds (Student's t; of the mean logarithm where the number is a ratio,
so that its mean is the geometric one). A rule names the range in which that interval must lie, and,
if it has one, a wider range for "partly":

- the whole interval lies in the range: the claim is **reproduced**;
- it lies in the wider range only: **partly**;
- it lies outside both: **not**;
- anything else, and a single seed: **not shown**. More seeds could decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["reproduced", "partly", "not", "not shown"]


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the ends of its interval."""

    mean: float
    low: float
    high: float
    seeds: int

    def __str__(self) -> str:
        """Return mean and ends, to the digits that the width allows, and the number of seeds."""
        if self.low == self.high:
            return f"{self.mean:.3g} in all {self.seeds} seeds"
        ends = (self.mean, self.low, self.high)
        mean, low, high = (_digits(end, self.high - self.low) for end in ends)
        return f"{mean} [{low}, {high}], {self.seeds} seeds"


def _digits(number: float, width: float) -> str:
    """Return a number with the last digit that an interval of this width leaves a meaning."""
    if not math.isfinite(number) or not math.isfinite(width):
        return f"{number:.3g}"
    digits = 1 - math.floor(math.log10(width / 2))
    text = f"{round(number, digits):,.{min(max(digits, 0), 8)}f}"
    return text.removeprefix("-") if not float(text.replace(",", "")) else text  # never "-0.00"


def interval(values: pd.Series, geometric: bool = False) -> Interval:
    """Return the mean over the seeds with its 95% interval.

    Parameters
    ----------
    values : pandas.Series
        One number per seed.
    geometric : bool
        The numbers are ratios: take their geometric mean. Default False.

    Returns
    -------
    Interval
        From Student's t distribution with one degree of freedom fewer than seeds. For a single seed
        the ends are infinitely far away.

    Raises
    ------
    ValueError
        If a geometric mean is asked for and a number is not positive.

    Examples
    --------
    >>> import pandas as pd
    >>> found = interval(pd.Series([1.0, 2.0, 3.0]))
    >>> round(found.low, 2), found.mean, round(found.high, 2)
    (-0.48, 2.0, 4.48)
    """
    from scipy.stats import t  # 0.3 s, and only who judges a claim needs it

    if geometric and not (values > 0).all():
        raise ValueError(f"a geometric mean needs ratios above 0, and these are {values.tolist()}")
    numbers = values.map(math.log) if geometric else values
    seeds = len(numbers)
    mean = float(numbers.mean())
    half = float(t.ppf(0.975, seeds - 1) * numbers.sem()) if seeds > 1 else math.inf
    back = math.exp if geometric else float
    return Interval(
        back(mean), back(mean - half), back(mean + half) if half < math.inf else half, seeds
    )


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, which belong to the range unless they are infinite.

    Parameters
    ----------
    low, high : float
        The ends.
    open : bool
        The ends do not belong to the range. Default False.
    """

    low: float = -math.inf
    high: float = math.inf
    open: bool = False

    def has(self, found: Interval) -> bool:
        """Test whether a whole interval lies in the range."""
        if self.open:
            return self.low < found.low and found.high < self.high
        return self.low <= found.low and found.high <= self.high

    def misses(self, found: Interval) -> bool:
        """Test whether a whole interval lies outside the range."""
        if self.open:
            return found.high <= self.low or found.low >= self.high
        return found.high < self.low or found.low > self.high

    def __str__(self) -> str:
        """Return the range in words."""
        if self.low == self.high:
            return f"at {self.low:g}"
        if math.isinf(self.low):
            return f"below {self.high:g}"
        if math.isinf(self.high):
            return f"above {self.low:g}"
        return f"between {self.low:g} and {self.high:g}"


@dataclass(frozen=True)
class Rule:
    """Where the 95% interval of a claim's mean must lie.

    Parameters
    ----------
    full : Range
        For "reproduced".
    part : Range, optional
        For "partly"; it holds `full`. Default: none.
    """

    full: Range
    part: Range | None = None

    def outcome(self, found: Interval) -> Outcome:
        """Return the word for what an interval says.

        Parameters
        ----------
        found : Interval
            From `interval`.

        Returns
        -------
        {"reproduced", "partly", "not", "not shown"}
            As the scheme at the head of this module has it.
        """
        if found.seeds < 2:
            return "not shown"
        if self.full.has(found):
            return "reproduced"
        if self.part is not None and self.part.has(found):
            return "partly"
        return "not" if (self.part or self.full).misses(found) else "not shown"

    def __str__(self) -> str:
        """Return the rule in words."""
        return str(self.full) + (f" (partly: {self.part})" if self.part else "")


def below(bound: float, *, partly: float | None = None) -> Rule:
    """Return the rule that the interval lies below a bound; for "partly", below a higher one."""
    part = None if partly is None else Range(high=partly, open=True)
    return Rule(Range(high=bound, open=True), part)


def above(bound: float, *, partly: float | None = None) -> Rule:
    """Return the rule that the interval lies above a bound; for "partly", above a lower one."""
    part = None if partly is None else Range(low=partly, open=True)
    return Rule(Range(low=bound, open=True), part)


def between(low: float, high: float) -> Rule:
    """Return the rule that the interval lies between two bounds, or on them."""
    return Rule(Range(low, high))
