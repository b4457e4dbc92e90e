"""The report: a table, a picture, a verdict and advice, in a notebook and as plain text."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .advice import advise
from .figure import draw
from .planes import NEAR, Decay, Pair
from .verdict import ENOUGH_SAMPLES, Findings, alarms

if TYPE_CHECKING:
    import pandas as pd

    from ..plots import Picture

# The columns of the short table, and how to read them.
_SHORT = {
    "units": "units of the class, which may change places",
    "dead": "units that no gradient brings back by itself",
    "twins": "exact copies of another unit",
    "near_twins": "units with another nearer than 0.1",
    "nearest": "distance of the two units that are most alike (0: twins; 1: unrelated)",
    "null": "the same after the weights were shuffled among the units",
    "attracting": "share of the 20 nearest pairs that training draws together",
    "weight_rank": "independent directions in the incoming weights of the units that live",
    "feature_rank_exact": "independent directions in what these units compute on the batch",
    "effective_rank": "the same, with weak directions counted in part",
}
_MOST_LINES, _MOST_ROWS = 12, 40  # of alarms and of the table; the rest is in report.table


@dataclass(frozen=True)
class Report:
    """What `diagnose` found: `table`, `plot()`, `verdict`, `alarms`, `advice`, and ``str(report)``.

    Parameters
    ----------
    findings : sequence of Findings
        One per class of interchangeable units.
    outputs : int, optional
        Number of the model's outputs; None if not known.
    classifies : bool
        Whether these are classes.
    decay : Decay, optional
        What pulls on the parameters; None if not known.
    left_out : sequence of tuple of str
        What could not be done, and why.
    what : str
        What was looked at, for the headline.
    """

    findings: Sequence[Findings]
    outputs: int | None = None
    classifies: bool = False
    decay: Decay | None = None
    left_out: Sequence[tuple[str, str]] = ()
    what: str = "model"
    _cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def alarms(self) -> dict[str, list[str]]:
        """Alarms by class; empty if there is none."""
        said = {one.name: alarms(one, self._least_rank(one)) for one in self.findings}
        return {name: lines for name, lines in said.items() if lines}

    def _least_rank(self, found: Findings) -> float:
        """Return the rank that is enough for a class: a well-trained network may have no more."""
        if self.outputs is None:
            return math.inf
        if self.classifies:
            return self.outputs - 1  # neural collapse
        return self.outputs if found.last else math.inf

    @property
    def verdict(self) -> str:
        """The verdict in words, with numbers."""
        units = sum(found.width for found in self.findings)
        count = f"{len(self.findings)} class{'es' if len(self.findings) > 1 else ''}"
        if not self.findings:
            return "Nothing could be judged: no class of interchangeable units was found."
        if not self.alarms:
            return f"No sign of collapse in {units} units of {count}." + self._caution()
        return " ".join([f"Collapse in {len(self.alarms)} of {count}.", *self._alarm_lines()])

    def _alarm_lines(self) -> list[str]:
        lines = [f"{name}: {'; '.join(said)}." for name, said in self.alarms.items()]
        more = len(lines) - _MOST_LINES
        if more <= 1:
            return lines
        return [*lines[:_MOST_LINES], f"And {more} more: see report.alarms."]

    def _caution(self) -> str:
        """Return a sentence on the limits of a verdict without alarm."""
        few = [one for one in self.findings if 0 < one.samples < ENOUGH_SAMPLES]
        said = ""
        if few:
            said += (
                f" With fewer than {ENOUGH_SAMPLES} samples, units that were shut on all of them "
                "do not count as dead."
            )
        near = [one for one in self.findings if one.planes.near]
        if near and all(math.isnan(one.planes.attracting) for one in near):
            said += (
                f" In {', '.join(one.name for one in near)} two units are nearer than {NEAR:g}; "
                "whether they attract takes a gradient of the loss."
            )
        alike = [one.name for one in near if one.planes.null < NEAR]
        if alike:
            said += (
                f" In {', '.join(alike)} shuffled weights are nearer than {NEAR:g}, too: most of "
                "what the units are is common to all, as after growing by copies, and no pair "
                "stands out."
            )
        return said

    @property
    def advice(self) -> str:
        """What to do, one paragraph per step."""
        return "\n".join(advise(self.findings, list(self.alarms), self.decay))

    @cached_property
    def table(self) -> pd.DataFrame:
        """All measures, one row per class, indexed by its name."""
        import pandas as pd

        rows = [_row(found, self.alarms.get(found.name, [])) for found in self.findings]
        names = [found.name for found in self.findings]
        return pd.DataFrame(rows, index=pd.Index(names, name="class"))

    def plot(self) -> Picture:
        """Return a picture: the share of dead and twin units, and the nearest pair, of each class.

        Returns
        -------
        Picture
            With an alt text made of the numbers.

        Raises
        ------
        ValueError
            If there is no class to draw.
        """
        return draw(self.findings, self.alarms)

    def _short(self) -> tuple[pd.DataFrame, str]:
        """Return the columns that say something, rows with an alarm first, and what is cut off."""
        table = self.table[list(_SHORT)].dropna(axis="columns", how="all")
        if len(table) <= _MOST_ROWS:
            return table, ""
        first = table.index.isin(self.alarms)
        ordered = list(table.index[first]) + list(table.index[~first])
        said = f"{len(table) - _MOST_ROWS} more rows are in report.table."
        return table.loc[ordered[:_MOST_ROWS]], said

    def _gaps(self) -> list[str]:
        """Return the list of what was left out, one line per reason."""
        reasons: dict[str, list[str]] = {}
        for what, why in self.left_out:
            reasons.setdefault(why, []).append(what)
        lines = []
        for why, places in reasons.items():
            more = f" and {len(places) - 4} more" if len(places) > 5 else ""
            lines.append(f"{', '.join(places[:4] if more else places)}{more}: {why}")
        return lines

    def __str__(self) -> str:
        listed = textwrap.TextWrapper(96, initial_indent="- ", subsequent_indent="  ")
        verdict = self.verdict.partition(" ".join(self._alarm_lines()))[0] if self.alarms else ""
        lines = [f"Diagnosis of the {self.what}", ""]
        lines += textwrap.wrap(verdict or self.verdict, 96)
        for alarm in self._alarm_lines():
            lines += listed.wrap(alarm)
        if self.findings:
            table, more = self._short()
            lines += ["", table.to_string(float_format="{:.3g}".format, na_rep="-")]
            lines += ([more] if more else []) + ["", "Columns (report.table has more)"]
            for name in table:
                lines += listed.wrap(f"{name}: {_SHORT[name]}")
        lines += ["", "What to do"]
        for paragraph in self.advice.splitlines():
            lines += listed.wrap(paragraph)
        if self.left_out:
            lines += ["", "Left out"]
            for gap in self._gaps():
                lines += listed.wrap(gap)
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        said = [f"<p><strong>{html.escape(self.verdict)}</strong></p>"]
        if self.findings:
            table, more = self._short()
            shown = table.to_html(float_format="{:.3g}".format, border=0, na_rep="–")
            said.append(f'<div style="overflow-x: auto">{shown}</div>')
            columns = _items([f"{name}: {_SHORT[name]}" for name in table])
            said.append(
                f"<p>{more}</p><details><summary>What the columns are</summary>{columns}</details>"
            )
            said.append(self.plot()._repr_html_())
        said.append(f"<p>What to do</p>{_items(self.advice.splitlines())}")
        if self.left_out:
            said.append(f"<p>Left out</p>{_items(self._gaps())}")
        return "\n".join(said)


def _items(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"


def _row(found: Findings, said: list[str]) -> dict[str, Any]:
    dead, planes = found.dead, found.planes
    nearest = planes.nearest or Pair((0, 0), math.nan)
    roads = ", ".join(f"{count} {road}" for road, count in dead.on_each_road.items())
    return {
        "kinds": ", ".join(found.kinds),
        "units": found.width,
        "dead": len(dead.units),
        "dead_by_weights": len(dead.by_weights),
        "dead_by_function": math.nan if dead.by_function is None else len(dead.by_function),
        "roads": roads,
        "twins": found.twins,
        "opposite_twins": planes.opposite,
        "near_twins": planes.near,
        "nearest": nearest.distance,
        "null": planes.null,
        "rate": nearest.rate,
        "rate_of_loss": nearest.rate_of_loss,
        "attracting": planes.attracting,
        "escape_force": nearest.force,
        "weight_rank": found.weights.exact,
        "weight_rank_most": found.weights.most,
        "weight_effective_rank": found.weights.effective,
        "weight_stable_rank": found.weights.stable,
        "samples": found.samples,
        "feature_rank_exact": found.features.exact,
        "feature_rank_most": found.features.most,
        "effective_rank": found.features.effective,
        "stable_rank": found.features.stable,
        **(found.features.others or dict.fromkeys(_OTHERS, math.nan)),
        "alarm": "; ".join(said),
    }


_OTHERS = ("srank", "feature_rank", "participation_ratio", "alpha_req", "dormant_ratio")
