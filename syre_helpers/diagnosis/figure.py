"""The picture of a report."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from ..plots import Picture, subplots
from ..plots.palette import SPARE
from ..plots.style import NEUTRAL
from .planes import NEAR, Planes
from .verdict import DEAD_SHARE, Findings

_MOST = 40  # classes; with more, those with an alarm come first


def draw(findings: Sequence[Findings], alarmed: Collection[str]) -> Picture:
    """Return the picture of a report.

    Parameters
    ----------
    findings : sequence of Findings
        At least one.
    alarmed : collection of str
        Names of those with an alarm.

    Returns
    -------
    Picture
        Shares of dead and twin units on the left, nearest pairs and their null on the right.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not findings:
        raise ValueError("the report has no class of units, so there is nothing to draw")
    ordered = sorted(findings, key=lambda one: one.name not in alarmed)
    shown = [one for one in findings if one in ordered[:_MOST]]
    names = [one.name if len(one.name) <= 28 else "…" + one.name[-27:] for one in shown]
    places = list(range(len(shown)))
    figure, (left, right) = subplots(1, 2, size=(7.0, 1.4 + 0.26 * len(shown)), sharey=True)
    dead = [len(one.dead.units) / one.width for one in shown]
    twins = [one.twins / one.width for one in shown]
    left.barh(places, dead, color=SPARE[0], label="dead")
    left.barh(places, twins, left=dead, color=SPARE[1], label="exact twins")
    left.axvline(DEAD_SHARE, color=NEUTRAL, linestyle=":", linewidth=1)
    left.set(xlabel="share of the units", xlim=(0, 1), yticks=places, yticklabels=names)
    left.invert_yaxis()
    planes = [one.planes for one in shown]
    right.plot(
        [one.null for one in planes], places, "o", mfc="none", color=NEUTRAL, label="shuffled"
    )
    right.plot([_nearest(one) for one in planes], places, "D", color=SPARE[2], label="nearest pair")
    right.axvline(NEAR, color=NEUTRAL, linestyle=":", linewidth=1)
    right.set(xlabel="distance (orthogonal units: 1)", xlim=(0, 1.3))
    # One for both: long names leave the axes little width.
    entries = [
        a + b
        for a, b in zip(*(ax.get_legend_handles_labels() for ax in (left, right)), strict=True)
    ]
    figure.legend(*entries, loc="outside upper center", ncols=4)
    return Picture(figure, alt=_alt(findings))


def _alt(findings: Sequence[Findings]) -> str:
    parts = []
    for one in findings[:6]:
        near = _nearest(one.planes)
        words = "" if math.isnan(near) else f", nearest pair at {near:.2g}"
        parts.append(
            f"{one.name}: {len(one.dead.units)} of {one.width} units dead, {one.twins} exact "
            f"twins{words}"
        )
    more = len(findings) - 6
    rest = f"; and {more} more classes" if more > 0 else ""
    return f"Bars and dots for each class of units. {'; '.join(parts)}{rest}."


def _nearest(planes: Planes) -> float:
    return math.nan if planes.nearest is None else planes.nearest.distance
