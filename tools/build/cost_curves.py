"""The part of "From laptop to cluster" that says how cost grows, from `results/growth.csv`.

`assemble.py` puts it into the page: a figure with its alt text, one sentence per curve, and all
numbers in a table that is folded away. What is extrapolated is marked as such in each of them.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tools.build import chapters, execute, files, templates

if TYPE_CHECKING:
    import pandas as pd

RESULTS = chapters.ROOT / "results" / "growth.csv"


class Curve(NamedTuple):
    """How a curve is drawn, and how many models one of its steps to the right makes."""

    what: str
    colour: str
    marker: str
    label: str | None = None
    models: int = 1


CURVES = {
    "parameters": Curve("parameters of a model that trains alone", "#56b4e9", "o"),
    "models": Curve(
        "models (64-32-10, as many arms as seeds)", "#56b4e9", "o", "as many arms as seeds"
    ),
    "seeds": Curve("seeds (64-32-10, 2 arms)", "#e69f00", "s", "2 arms, more seeds", 2),
    "arms": Curve("arms (64-32-10, 8 seeds)", "#009e73", "^", "8 seeds, more arms", 8),
}


def part(_names: list[str]) -> str:
    """Return the result of `text`, the last one where nothing that it depends on has changed."""
    template = templates.FOLDER / "growth.md.j2"
    sources = [RESULTS, RESULTS.with_suffix(".json"), Path(__file__), template]
    key = files.digest(*(file.read_bytes() for file in sources), *execute.package_hashes().values())
    # matplotlib costs seconds, most of what a build with nothing to do may take.
    return files.kept(chapters.BUILD / "growth.json", key, lambda: text(*load()))


def load() -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the recorded curves and where they come from."""
    import pandas as pd

    facts = json.loads(RESULTS.with_suffix(".json").read_text())
    return pd.read_csv(RESULTS), facts


def text(rows: pd.DataFrame, facts: dict[str, Any]) -> str:
    """Return figure, sentences, where the numbers come from, and the folded table."""
    from syre_helpers.plots import Picture

    return templates.render(
        "growth.md.j2",
        picture=Picture(figure(rows), alt=alt(rows))._repr_html_(),
        sentences=[sentence(rows, curve) for curve in rows.curve.unique()],
        rows=list(rows.itertuples(index=False)),
        number=number,
        **facts,
    )


def figure(rows: pd.DataFrame) -> Any:
    """Draw time and memory over parameters and over models; hollow marks are extrapolated."""
    from syre_helpers.plots import subplots

    fig, axes = subplots(2, 2, size=(7.0, 5.4), sharey="row")
    for curve in rows.curve.unique():
        column = 0 if curve == "parameters" else 1
        own = rows[rows.curve == curve]
        for ax, value in zip(axes[:, column], ("step_ms", "memory_mb"), strict=True):
            draw(ax, own, value)
    for ax in axes.flat:
        ax.set(xscale="log", yscale="log")
    axes[0, 0].set_ylabel("milliseconds per step")
    axes[1, 0].set_ylabel("memory, MB")
    axes[1, 0].set_xlabel("parameters of one model")
    axes[1, 1].set_xlabel("models that train together")
    axes[0, 1].legend(title="64-32-10", loc="upper left")
    return fig


def draw(ax: Any, own: pd.DataFrame, value: str) -> None:
    """Draw one curve: measured points filled and joined, the extrapolation hollow and dotted."""
    curve = CURVES[own.curve.iloc[0]]
    style = {"color": curve.colour, "marker": curve.marker}
    shown = own[own[value] >= 1] if value == "memory_mb" else own
    measured = shown[shown.kind == "measured"]
    beyond = shown[shown.kind == "extrapolated"]
    ax.plot(curve.models * measured["size"], measured[value], label=curve.label, **style)
    if len(measured) and len(beyond):
        ends = [measured.iloc[-1], *(row for _, row in beyond.iterrows())]
        ax.plot(
            [curve.models * row["size"] for row in ends],
            [row[value] for row in ends],
            linestyle=":",
            markerfacecolor="none",
            markevery=range(1, len(ends)),
            **style,
        )


def alt(rows: pd.DataFrame) -> str:
    """Return the alt text: the curves in words."""
    return (
        "Four panels with logarithmic axes: milliseconds per step and memory, over the parameters "
        "of one model and over the number of models that train together. All curves are flat at "
        "first and then rise as nearly straight lines; dotted ends with hollow marks are "
        f"extrapolated. {' '.join(sentence(rows, curve) for curve in rows.curve.unique())}"
    )


def sentence(rows: pd.DataFrame, curve: str) -> str:
    """Return a curve's ends, and the power of its last part, in words."""
    own = rows[(rows.curve == curve)]
    measured = own[own.kind == "measured"]
    first, last = measured.iloc[0], measured.iloc[-1]
    return (
        f"From {first['size']:,} to {last['size']:,} {CURVES[curve].what} a step goes from "
        f"{number(first.step_ms)} to {number(last.step_ms)} ms, and memory to "
        f"{number(last.memory_mb)} MB; at the end time grows as the power "
        f"{power(own, 'step_ms'):.2f}, memory as {power(own, 'memory_mb'):.2f}."
    )


def power(own: pd.DataFrame, value: str) -> float:
    """Return the exponent that the extrapolation of a curve used."""
    last = own[own.kind == "measured"].iloc[-1]
    far = own[own.kind == "extrapolated"].iloc[-1]
    return math.log(far[value] / last[value]) / math.log(far["size"] / last["size"])


def number(value: float) -> str:
    """Return a number with three digits, and without an exponent."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"
