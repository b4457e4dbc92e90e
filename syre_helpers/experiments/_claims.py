"""What the paper, or a control, says of an experiment, as a measurement that can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._rules import Interval, Rule, interval

if TYPE_CHECKING:
    import pandas as pd

    from ..removal import Arm

Rows = Callable[["pd.DataFrame"], "pd.DataFrame"]
Measured = Callable[["pd.DataFrame"], "pd.Series"]

NO_CONTROL = "no such control"
"""What stands in place of the paper's number where the paper has none."""

# What the paper does not say can be found true or false here, but not reproduced.
_UNSAID = (NO_CONTROL, "not tried", "asked for by a reviewer, not reported")
_OF_A_CONTROL = {"reproduced": "holds", "not": "does not hold"}


@dataclass(frozen=True)
class Claim:
    """One row of the comparison of the paper with this book.

    Parameters
    ----------
    text : str
        The claim in plain words.
    measure : callable
        Takes the rows of the last step, and returns one number per seed: see `value`, `ratio` and
        `difference`.
    unit : str
        What the number is.
    holds : Rule
        Where the 95% interval of the mean must lie.
    comment : str
        One honest sentence.
    paper : str
        The paper's number or words. Default: those for a control that the paper does not have.
    presets : tuple of str, optional
        The presets that the claim is about. Default: all whose names do not begin with "quick-".
    """

    text: str
    measure: Measured
    unit: str
    holds: Rule
    comment: str
    paper: str = NO_CONTROL
    presets: tuple[str, ...] | None = None

    @property
    def of_paper(self) -> bool:
        """True where the paper says it; False for a control, or a setting, that is ours alone."""
        return self.paper not in _UNSAID

    def is_about(self, preset: str) -> bool:
        """Test whether the claim says something about runs of a preset.

        Parameters
        ----------
        preset : str
            A key of the experiment's ``PRESETS``.

        Returns
        -------
        bool
            True where it does.
        """
        if self.presets is None:
            return not preset.startswith("quick-")
        return preset in self.presets

    def values(self, table: pd.DataFrame) -> pd.Series:
        """Return the claim's number for each seed of a run's table.

        Parameters
        ----------
        table : pandas.DataFrame
            As the experiment's ``run`` returns it, or as it was recorded.

        Returns
        -------
        pandas.Series
            Indexed by seed.

        Raises
        ------
        ValueError
            If a number is missing or not finite: such a run shows nothing.
        """
        values = self.measure(table[table.step == table.step.max()]).astype(float)
        if values.empty or not values.map(lambda v: abs(v) < float("inf")).all():
            raise ValueError(f"the claim {self.text!r} measures {values.tolist()}")
        return values

    def interval(self, values: pd.Series) -> Interval:
        """Return the mean of the claim's numbers with its 95% interval.

        Parameters
        ----------
        values : pandas.Series
            From `values`.

        Returns
        -------
        Interval
            Of the geometric mean where the number is a `ratio` that asks for it.
        """
        geometric = isinstance(self.measure, ratio) and self.measure.geometric
        return interval(values, geometric)

    def verdict(self, values: pd.Series) -> str:
        """Return the word for what the numbers say of the claim, the same on all pages.

        Parameters
        ----------
        values : pandas.Series
            From `values`.

        Returns
        -------
        str
            "reproduced", "partly", "not" or "not shown", as the claim's rule has it; "holds" or
            "does not hold" in place of the first and the third for what the paper does not say.
        """
        outcome = self.holds.outcome(self.interval(values))
        return outcome if self.of_paper else _OF_A_CONTROL.get(outcome, outcome)


def verdicts(claims: Iterable[Claim], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the verdicts on claims as a table for a page.

    Parameters
    ----------
    claims : iterable of Claim
        An experiment's ``CLAIMS``.
    tables : mapping of str to pandas.DataFrame
        Runs of the experiment, by preset.

    Returns
    -------
    pandas.DataFrame
        One row per run and claim about it, in the order of the claims, with the columns verdict,
        claim, paper, here (mean and 95% interval), unit, rule and preset.
    """
    import pandas as pd

    rows = []
    for claim in claims:
        for preset, table in tables.items():
            if not claim.is_about(preset):
                continue
            values = claim.values(table)
            rows.append(
                {
                    "verdict": claim.verdict(values),
                    "claim": claim.text,
                    "paper": claim.paper,
                    "here": str(claim.interval(values)),
                    "unit": claim.unit,
                    "rule": str(claim.holds),
                    "preset": preset,
                }
            )
    return pd.DataFrame(rows)


class of:
    """A selector of one arm's rows by the columns that hold its settings.

    Called with a table that has one row per arm and seed, it returns the arm's rows, indexed by
    seed. It raises ValueError where no row fits, or the rows of more than one arm.

    Parameters
    ----------
    **settings : object
        Columns and the value that each must have. A function, such as ``max``, is called with the
        values of those rows that are left by then, and returns the one to take.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"method": "syre", "sigma_ratio": [0.1, 1.0], "seed": 0, "x": [3, 4]})
    >>> of(method="syre", sigma_ratio=max)(table).x.tolist()
    [4]
    """

    def __init__(self, **settings: object) -> None:
        self.settings = settings

    def __call__(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the arm's rows in a table, indexed by seed."""
        left = table
        for name, wanted in self.settings.items():
            column = left[name]
            if callable(wanted):
                left = left[column == wanted(column.dropna())]
            else:
                # An empty word reads back from a file as a missing one.
                left = left[(column.fillna("") if isinstance(wanted, str) else column) == wanted]
        if left.empty or left.seed.duplicated().any():
            raise ValueError(
                f"{self.settings} must fit one arm, and fits {list(dict.fromkeys(left.arm))} of "
                f"{list(dict.fromkeys(table.arm))}"
            )
        return left.set_index("seed").sort_index()


def rows_of(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return the rows of one arm in a table, found by its settings and not by its label.

    Parameters
    ----------
    table : pandas.DataFrame
        As `fit_many` returns it.
    arm : Arm
        One of the arms that were trained.

    Returns
    -------
    pandas.DataFrame
        All its rows: seeds and steps.

    Raises
    ------
    ValueError
        If the table has no such arm.
    """
    kept = table[table.arm == arm.label]
    for name, wanted in arm.settings().items():
        if wanted in (None, "") or name not in table:
            continue
        same = kept[name] == wanted
        if isinstance(wanted, float):  # a file holds nine digits
            same |= (kept[name] - wanted).abs() <= 1e-6 * abs(wanted)
        kept = kept[same]
    if kept.empty:
        raise ValueError(f"the table has no rows of {arm}; it has {list(table.arm.unique())}")
    return kept


@dataclass(frozen=True)
class value:
    """The measure of a claim about one arm.

    Parameters
    ----------
    rows : callable
        The arm, from `of`.
    column : str
        What is measured.
    """

    rows: Rows
    column: str

    def __call__(self, last: pd.DataFrame) -> pd.Series:
        """Return one number per seed from the rows of a run's last step."""
        return self.rows(last)[self.column]


@dataclass(frozen=True)
class difference:
    """The measure of a claim about one arm minus another, seed by seed.

    Parameters
    ----------
    rows, other : callable
        The arms, from `of`.
    column : str
        What is measured.
    factor : float
        What the difference is multiplied with, such as 100 for percentage points. Default 1.
    """

    rows: Rows
    other: Rows
    column: str
    factor: float = 1.0

    def __call__(self, last: pd.DataFrame) -> pd.Series:
        """Return one difference per seed from the rows of a run's last step."""
        return self.factor * (self.rows(last)[self.column] - self.other(last)[self.column])


@dataclass(frozen=True)
class ratio:
    """The measure of a claim about one arm over another, seed by seed.

    Parameters
    ----------
    rows, other : callable
        The arms, from `of`.
    column : str
        What is measured.
    other_column : str
        What is measured of the other arm. Default: the same.
    geometric : bool
        The mean over the seeds is the geometric one. Default True; False for numbers that may be 0,
        such as barriers.
    """

    rows: Rows
    other: Rows
    column: str
    other_column: str = ""
    geometric: bool = True

    def __call__(self, last: pd.DataFrame) -> pd.Series:
        """Return one ratio per seed from the rows of a run's last step."""
        return self.rows(last)[self.column] / self.other(last)[self.other_column or self.column]
