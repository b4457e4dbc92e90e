"""The style of every figure, as a context: importing this changes no setting of matplotlib's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._checks import check_positive_int
from .palette import SPARE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NEUTRAL = "#717780"
"""Colour of text and axes: its contrast is 4.51 with white, 3.95 with the dark page #14181e.

One colour on both cannot have more than 4.2 with each; WCAG 2 (AA) asks 4.5 of text. The style
sheet of the dark page may make up for the rest by ``filter: brightness(1.1)``.
"""

CSS_PIXELS = 100
"""CSS pixels per inch: a figure seven inches wide fills the book's column of 700 pixels."""

_SETTINGS = {
    "figure.facecolor": "none",
    "figure.dpi": CSS_PIXELS,
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": NEUTRAL,
    "axes.labelcolor": NEUTRAL,
    "axes.titlecolor": NEUTRAL,
    "axes.edgecolor": NEUTRAL,
    "xtick.color": NEUTRAL,
    "ytick.color": NEUTRAL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.titlesize": 11,
    "axes.labelsize": 10.5,
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.title_fontsize": 9.5,
    "lines.linewidth": 1.8,
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the book's style inside a ``with`` block, and put matplotlib's settings back after it.

    `subplots` applies it already; use this for figures made in another way.

    Examples
    --------
    >>> import matplotlib
    >>> with style():
    ...     inside = matplotlib.rcParams["axes.spines.top"]
    >>> inside, matplotlib.rcParams["axes.spines.top"]
    (False, True)
    """
    import matplotlib
    from cycler import cycler

    settings: Any = {**_SETTINGS, "axes.prop_cycle": cycler(color=SPARE)}
    with matplotlib.rc_context(settings):
        yield


def subplots(
    rows: int = 1,
    columns: int = 1,
    *,
    size: tuple[float, float] | None = None,
    **options: Any,
) -> tuple[Figure, Any]:
    """Return a figure in the book's style, and its axes.

    The figure is not pyplot's: it needs no closing, never shows itself, and `Picture` shows it.

    Parameters
    ----------
    rows, columns : int
        Of the grid of axes. Defaults 1.
    size : tuple of float, optional
        Width and height in inches of 100 CSS pixels, at most 7 wide. Default: 6.4 x 3.6 for one, 7
        wide and 3 per row for more.
    **options
        For ``Figure.subplots``, such as ``sharey=True``.

    Returns
    -------
    Figure
        With constrained layout: nothing overlaps.
    Axes or ndarray of Axes
        As ``matplotlib.pyplot.subplots`` returns them.

    Raises
    ------
    ValueError
        If a number of axes is not positive, or the size is not positive or wider than the page.

    Examples
    --------
    >>> fig, ax = subplots()
    >>> line = ax.plot([1, 2], [3, 4])
    """
    check_positive_int("rows", rows)
    check_positive_int("columns", columns)
    if size is None:
        size = (6.4, 3.6) if rows == columns == 1 else (7.0 if columns > 1 else 6.4, 3.0 * rows)
    width, height = size
    if not (0 < width <= 7 and 0 < height <= 20):
        raise ValueError(f"size={size!r} must be inches above 0, at most 7 wide and 20 high")
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=size, layout="constrained")
        return figure, figure.subplots(rows, columns, **options)
