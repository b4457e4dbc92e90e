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

_SHORT = [
    "units", "dead", "roads", "twins", "near_twins", "nearest", "null", "attracting", "weight_rank",
    "feature_rank_exact", "effective_rank",
]  # fmt: skip


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
        lines = [f"{name}: {'; '.join(said)}." for name, said in self.alarms.items()]
        return f"Collapse in {len(lines)} of {count}. " + " ".join(lines)

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
                "whether they attract takes a gradient: pass loss=..."
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

    def __str__(self) -> str:
        lines = [f"Diagnosis of the {self.what}", "", *textwrap.wrap(self.verdict, 96), ""]
        if self.findings:
            lines += [self.table[_SHORT].to_string(float_format="{:.3g}".format), ""]
        lines.append("What to do")
        for paragraph in self.advice.splitlines():
            lines += textwrap.wrap(paragraph, 96, initial_indent="- ", subsequent_indent="  ")
        if self.left_out:
            lines += ["", "Left out"]
            for what, why in self.left_out:
                lines += textwrap.wrap(
                    f"{what}: {why}", 96, initial_indent="- ", subsequent_indent="  "
                )
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        said = [f"<p><strong>{html.escape(self.verdict)}</strong></p>"]
        if self.findings:
            short = self.table[_SHORT]
            said.append(short.to_html(float_format="{:.3g}".format, border=0))
            said.append(self.plot()._repr_html_())
        steps = "".join(f"<li>{html.escape(line)}</li>" for line in self.advice.splitlines())
        said.append(f"<p>What to do</p><ul>{steps}</ul>")
        if self.left_out:
            items = "".join(
                f"<li>{html.escape(what)}: {html.escape(why)}</li>" for what, why in self.left_out
            )
            said.append(f"<p>Left out</p><ul>{items}</ul>")
        return "\n".join(said)


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
