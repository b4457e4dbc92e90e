"""The charts that most chapters need; all draw on axes that they are given, or make their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .palette import arm_looks
from .style import NEUTRAL, style, subplots
from .tables import check_columns, last_of_each_run, seeds_in_words

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes

Spread = Literal["sd", "range"]


def lines(
    df: pd.DataFrame,
    x: str,
    y: str,
    arm: str = "arm",
    *,
    ax: Axes | None = None,
    seed: str = "seed",
    log: bool = False,
    spread: Spread | None = None,
) -> Axes:
    """Draw each arm's mean over the seeds as a line, and the spread as a band around it.

    Parameters
    ----------
    df : DataFrame
        Tidy: one row an arm, seed and value of `x`.
    x, y : str
        Columns of numbers.
    arm, seed : str
        Columns of the arms and the seeds. Defaults "arm" and "seed".
    ax : Axes, optional
        Where to draw. Default: new ones; ``ax.figure`` is their figure.
    log : bool
        Whether the vertical axis is logarithmic. Default False.
    spread : {"sd", "range"}, optional
        The band is the mean ± the sample's standard deviation, or reaches from the lowest to the
        highest seed. Default: "sd", or "range" where the axis is logarithmic, since mean - sd may
        be negative.

    Returns
    -------
    Axes
        With labelled axes, and a legend whose title names the spread and the number of seeds.

    Raises
    ------
    ValueError
        If a column is missing, the table is empty, a value is NaN, infinite, or not positive on a
        logarithmic axis, an arm has several rows for one seed and `x`, or the spread is not known.

    Examples
    --------
    >>> import pandas as pd
    >>> df = pd.DataFrame(
    ...     {
    ...         "arm": "syre",
    ...         "seed": [0, 0, 1, 1],
    ...         "step": [0, 1, 0, 1],
    ...         "loss": [1.0, 0.4, 1.2, 0.6],
    ...     }
    ... )
    >>> lines(df, "step", "loss").get_legend().get_title().get_text()
    'mean ± sd, 2 seeds'
    """
    spread = _spread(spread, log)
    check_columns(df, [x, y, arm, seed], [x, y])
    _check_positive(df, y, log)
    if df.duplicated([arm, seed, x]).any():
        raise ValueError(
            f"df has several rows for one {arm}, {seed} and {x}; make the setting that differs "
            "part of the arm's name"
        )
    ax = _axes(ax)
    looks = arm_looks(df[arm])
    for number, (name, look) in enumerate(looks.items()):
        values = df[df[arm] == name].groupby(x)[y]
        mean, (low, high) = values.mean(), _limits(values, spread)
        with style():
            ax.fill_between(mean.index, low, high, color=look.colour, alpha=0.15, linewidth=0)
            ax.plot(
                mean.index,
                mean,
                color=look.colour,
                linestyle=look.dash,
                marker=look.marker,
                markersize=5,
                # about six markers a line, not at the same places on all lines
                markevery=_every(len(mean), number, len(looks)),
                label=name,
            )
    if log:
        ax.set_yscale("log")
    ax.set(xlabel=_label(x), ylabel=_label(y))
    with style():
        title = f"{_SPREAD_WORDS[spread]}, {seeds_in_words(df, arm, seed)}"
        ax.legend(title=title, alignment="left")
    return ax


def strip(
    df: pd.DataFrame,
    value: str,
    arm: str = "arm",
    *,
    ax: Axes | None = None,
    seed: str = "seed",
    log: bool = False,
    spread: Spread | None = None,
) -> Axes:
    """Draw one dot a seed in a row for each arm, with the mean and the spread.

    Parameters
    ----------
    df : DataFrame
        Tidy: one row an arm and seed. With a column ``step``, the last step of each run counts.
    value : str
        Column of numbers: the horizontal axis.
    arm, seed : str
        Columns of the arms and the seeds. Defaults "arm" and "seed".
    ax : Axes, optional
        Where to draw. Default: new ones, as high as the arms need.
    log : bool
        Whether the horizontal axis is logarithmic. Default False.
    spread : {"sd", "range"}, optional
        What the bar is, as in `lines`.

    Returns
    -------
    Axes
        The horizontal label names value, spread and number of seeds.

    Raises
    ------
    ValueError
        As `describe`, and if a value is not positive on a logarithmic axis or the spread not known.

    Examples
    --------
    >>> import pandas as pd
    >>> df = pd.DataFrame(
    ...     {"arm": ["syre", "syre", "vanilla"], "seed": [0, 1, 0], "rank": [8, 9, 3]}
    ... )
    >>> print(strip(df, "rank").get_xlabel())
    rank
    dots: one a seed; bar: mean ± sd, 1 to 2 seeds
    """
    import numpy as np

    spread = _spread(spread, log)
    rows = last_of_each_run(df, value, arm, seed)
    _check_positive(rows, value, log)
    looks = arm_looks(rows[arm])
    if ax is None:
        _, ax = subplots(size=(6.4, 1.1 + 0.42 * len(looks)))
    for place, (name, look) in enumerate(looks.items()):
        values = rows[rows[arm] == name].sort_values(seed)[value].astype(float)
        mean = values.mean()
        (low,), (high,) = _limits(values.groupby(lambda _: 0), spread)
        # by order of the seeds: the same picture every time, and a seed at one height in each arm
        heights = place + (np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else np.zeros(1))
        ax.plot(
            values, heights, look.marker, color=look.colour, markersize=5, fillstyle="none",
            markeredgewidth=1.2, linestyle="none",
        )  # fmt: skip
        ax.plot(
            [low, high], [place, place], color=look.colour, linewidth=2.5, solid_capstyle="butt"
        )
        ax.plot([mean], [place], "|", color=look.colour, markersize=17, markeredgewidth=2.5)
    if log:
        ax.set_xscale("log")
    ax.set_yticks(range(len(looks)), list(looks))
    ax.set_ylim(len(looks) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    note = f"dots: one a seed; bar: {_SPREAD_WORDS[spread]}, {seeds_in_words(rows, arm, seed)}"
    ax.set_xlabel(f"{_label(value)}\n{note}")
    return ax


def landscape(
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray],
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    *,
    paths: Mapping[str, Any] | None = None,
    ax: Axes | None = None,
    levels: int | Sequence[float] = 12,
    points: int = 121,
    log: bool = False,
) -> Axes:
    """Draw a loss of two numbers, the greyer the higher, and paths of training on it.

    Parameters
    ----------
    loss : callable
        Takes two arrays of shape (points, points) and returns the losses, element by element.
    xlim, ylim : tuple of float
        Ranges of the two numbers.
    paths : mapping of str to array, optional
        For each arm positions in order, shape (steps, 2), or (paths, steps, 2) for several. A dot
        is the start, a cross the end.
    ax : Axes, optional
        Where to draw. Default: new ones.
    levels : int or sequence of float
        Number of levels, or the levels themselves. Default 12.
    points : int
        Of the grid along each axis. Default 121.
    log : bool
        Whether a number of levels is spaced evenly in the logarithm of the loss. Default False.

    Returns
    -------
    Axes
        Without labels; with a legend if there are paths.

    Raises
    ------
    ValueError
        If a range is not increasing, the loss has another shape or is not finite, or a path is not
        of positions in two dimensions.

    Examples
    --------
    >>> ax = landscape(
    ...     lambda u, w: (u * w - 1) ** 2, (-2, 2), (-2, 2), paths={"syre": [[0, 1], [1, 1]]}
    ... )
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['syre']
    """
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    for argument, (low, high) in {"xlim": xlim, "ylim": ylim}.items():
        if not low < high:
            raise ValueError(f"{argument}={(low, high)!r} must be a lower and a higher number")
    x, y = np.meshgrid(np.linspace(*xlim, points), np.linspace(*ylim, points))
    values = np.asarray(loss(x, y), dtype=float)
    if values.shape != x.shape or not np.isfinite(values).all():
        raise ValueError(
            f"loss must return finite numbers of shape {x.shape}, got shape {values.shape} with "
            f"{int((~np.isfinite(values)).sum())} that are NaN or infinite"
        )
    if isinstance(levels, int):
        low, high = values.min(), values.max()
        if log:
            low = max(low, high * 1e-4)
            inner = np.geomspace(low, high, levels)[1:-1]
        else:
            inner = np.linspace(low, high, levels)[1:-1]
        levels = [values.min() - 1e-12, *inner, high + 1e-12]
    # From nothing to the neutral colour: on a white page higher is darker, on a dark one brighter.
    grey = to_rgba(NEUTRAL)
    shades = LinearSegmentedColormap.from_list("height", [(*grey[:3], 0.0), (*grey[:3], 0.45)])
    ax = _axes(ax)
    ranks = np.arange(len(levels) - 1) / max(len(levels) - 2, 1)
    ax.contourf(x, y, values, levels=levels, colors=[shades(rank) for rank in ranks])
    looks = arm_looks(paths or {})
    for name, look in looks.items():
        path = np.asarray(paths[name] if paths else (), dtype=float)
        if path.ndim not in (2, 3) or path.shape[-1] != 2 or not path.size:
            raise ValueError(
                f"paths[{name!r}] has shape {path.shape}; positions must be (steps, 2) or (paths, "
                "steps, 2)"
            )
        for number, steps in enumerate(path.reshape(-1, *path.shape[-2:])):
            label = name if number == 0 else None
            ax.plot(*steps.T, color=look.colour, linestyle=look.dash, label=label)
            ax.plot(*steps[0], "o", color=look.colour, markersize=6)
            ax.plot(*steps[-1], "X", color=look.colour, markersize=8)
    ax.set(xlim=xlim, ylim=ylim)
    if looks:
        with style():  # above the axes: grey words on grey heights would be hard to read
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(looks), borderaxespad=0.2)
    return ax


_SPREAD_WORDS: dict[Spread, str] = {"sd": "mean ± sd", "range": "mean, lowest to highest"}


def _spread(spread: Spread | None, log: bool) -> Spread:
    if spread is None:
        return "range" if log else "sd"
    if spread not in _SPREAD_WORDS:
        raise ValueError(f"spread={spread!r} is not known; use 'sd' or 'range'")
    return spread


def _limits(values: Any, spread: Spread) -> tuple[Any, Any]:
    """Return the lower and upper limits of grouped values; a single seed has no spread."""
    if spread == "range":
        return values.min(), values.max()
    mean, sd = values.mean(), values.std().fillna(0.0)
    return mean - sd, mean + sd


def _check_positive(df: pd.DataFrame, column: str, log: bool) -> None:
    if log and not (df[column] > 0).all():
        raise ValueError(
            f"df[{column!r}] has values that are not positive, which a logarithmic axis cannot "
            "show; use log=False, or add what makes them positive and say so"
        )


def _axes(ax: Axes | None) -> Axes:
    return subplots()[1] if ax is None else ax


def _every(count: int, number: int, of: int) -> tuple[int, int]:
    step = max(1, count // 6)
    return (step * number // max(of, 1), step)


def _label(column: str) -> str:
    return column.replace("_", " ")
