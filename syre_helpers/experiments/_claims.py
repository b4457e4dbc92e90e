"""What the paper, or a control, says of an experiment, as a measurement that can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["reproduced", "partly", "not"]


@dataclass(frozen=True)
class Claim:
    """One row of the comparison of the paper with this book.

    Parameters
    ----------
    text : str
        The claim in plain words.
    paper : str
        The paper's number or words; "no such control" where it has none.
    measure : callable
        Takes the rows of the last step, with the index (arm, seed), and returns one number a seed.
    unit : str
        What the number is.
    holds : callable
        Takes the numbers: True where they bear the claim out, None where they do so in part, False
        where they do not.
    comment : str
        One honest sentence.
    presets : tuple of str, optional
        The presets that the claim is about. Default: all whose names do not begin with "quick-".
    """

    text: str
    paper: str
    measure: Callable[[pd.DataFrame], pd.Series]
    unit: str
    holds: Callable[[pd.Series], bool | None]
    comment: str
    presets: tuple[str, ...] | None = None

    def is_about(self, preset: str) -> bool:
        """Return whether the claim says something about runs of a preset."""
        if self.presets is None:
            return not preset.startswith("quick-")
        return preset in self.presets

    def values(self, table: pd.DataFrame) -> pd.Series:
        """Return the claim's number for each seed of a run's table.

        Raises
        ------
        ValueError
            If a number is missing or not finite: such a run shows nothing.
        """
        last = table[table.step == table.step.max()].set_index(["arm", "seed"]).sort_index()
        values = self.measure(last).astype(float)
        if values.empty or not values.map(lambda v: abs(v) < float("inf")).all():
            raise ValueError(f"the claim {self.text!r} measures {values.tolist()}")
        return values

    def verdict(self, values: pd.Series) -> Verdict:
        """Return what the numbers say."""
        held = self.holds(values)
        return "partly" if held is None else "reproduced" if held else "not"
