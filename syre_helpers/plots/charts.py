"""The charts that most chapters need; all draw on axes that they are given, or make their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .palette import arm_styles
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
    """Draw the mean of each arm over the seeds as a line, and the spread as a band around it.

    Parameters
    ----------
    df : DataFrame
        Tidy: one row per arm, seed and value of `x`. The style of an arm follows from the columns
        that `arm_styles` reads.
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
        `Picture` moves a legend that covers data below its axes.

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
    words, errorbar = _spread(spread, log)
    check_columns(df, [x, y, arm, seed], [x, y])
    _check_positive(df, y, log)
    if df.duplicated([arm, seed, x]).any():
        raise ValueError(
            f"df has several rows for one {arm}, {seed} and {x}; select the rows to draw, or tell "
            'the arms apart by their labels, with variant="..."'
        )
    import seaborn as sns

    styles = arm_styles(df, arm)
    with style():
        ax = ax or subplots()[1]
        scale = "log" if log else ax.get_yscale()
        ax.set_yscale("linear")  # on a logarithmic axis seaborn would average logarithms
        for number, (label, look) in enumerate(styles.items()):
            rows = df[df[arm] == label]
            sns.lineplot(
                rows,
                x=x,
                y=y,
                ax=ax,
                label=label,
                color=look.colour,
                linestyle=look.dash,
                marker=look.marker,
                markersize=5,
                markeredgewidth=0,
                markevery=_every(rows[x].nunique(), number, len(styles)),
                errorbar=errorbar,
                err_kws={"alpha": 0.15, "linewidth": 0},
                legend=False,
            )
        ax.legend(title=f"{words}, {seeds_in_words(df, arm, seed)}", alignment="left")
    ax.set(xlabel=_label(x), ylabel=_label(y), yscale=scale)
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
    """Draw one dot per seed in a row for each arm, with the mean and the spread.

    Parameters
    ----------
    df : DataFrame
        Tidy: one row per arm and seed. With a column ``step``, the last step of each run counts.
        The style of an arm follows from the columns that `arm_styles` reads.
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

    Notes
    -----
    The errors are those of `describe`, and a ValueError if a value is not positive on a logarithmic
    axis or the spread is not known.

    Examples
    --------
    >>> import pandas as pd
    >>> df = pd.DataFrame(
    ...     {"arm": ["syre", "syre", "vanilla"], "seed": [0, 1, 0], "rank": [8, 9, 3]}
    ... )
    >>> print(strip(df, "rank").get_xlabel())
    rank
    dots: one per seed; bar: mean ± sd, 1 to 2 seeds
    """
    import numpy as np
    import seaborn as sns

    words, errorbar = _spread(spread, log)
    rows = last_of_each_run(df, value, arm, seed)
    _check_positive(rows, value, log)
    styles = arm_styles(rows, arm)
    ax = ax or subplots(size=(6.4, 1.1 + 0.42 * len(styles)))[1]
    scale = "log" if log else ax.get_xscale()
    ax.set_xscale("linear")  # as in `lines`
    where: Any = {"x": value, "y": arm, "order": list(styles), "ax": ax, "legend": False}
    others = len(ax.collections)
    # Dodged by seed, a seed is at one height in each arm, and no random number is drawn.
    sns.stripplot(rows, hue=seed, dodge=True, jitter=False, linewidth=1.2, **where)
    dots: Any = ax.collections[others:]
    by_arm = np.reshape(dots, (len(styles), -1))
    for of_arm, (label, look) in zip(by_arm, styles.items(), strict=True):
        for dot in of_arm:
            dot.set(facecolor="none", edgecolor=look.colour)
        sns.pointplot(
            rows[rows[arm] == label],
            color=look.colour,
            marker="|",
            markersize=17,
            markeredgewidth=2.5,
            errorbar=errorbar,
            err_kws={"linewidth": 2.5, "solid_capstyle": "butt"},
            **where,
        )
    ax.tick_params(axis="y", length=0)
    note = f"dots: one per seed; bar: {words}, {seeds_in_words(rows, arm, seed)}"
    ax.set(xlabel=f"{_label(value)}\n{note}", ylabel="", xscale=scale)
    return ax


def landscape(
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray],
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    *,
    paths: Mapping[Any, Any] | None = None,
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
    paths : mapping of Arm or str to array, optional
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
    from matplotlib.colors import to_rgb

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
        spaced = np.geomspace if log else np.linspace
        inner = spaced(max(low, high * 1e-4) if log else low, high, levels)
        levels = [low - 1e-12, *inner[1:-1], high + 1e-12]
    # From nothing to the neutral colour: on a white page higher is darker, on a dark one brighter.
    ax = ax or subplots()[1]
    shades = [(*to_rgb(NEUTRAL), 0.45 * rank) for rank in np.linspace(0, 1, len(levels) - 1)]
    ax.contourf(x, y, values, levels=levels, colors=shades)
    styles = arm_styles(paths or {})
    for (name, look), positions in zip(styles.items(), (paths or {}).values(), strict=True):
        path = np.asarray(positions, dtype=float)
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
    if styles:
        with style():  # above the axes: grey words on grey heights would be hard to read
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(styles), borderaxespad=0.2)
    return ax


_SPREADS: dict[str, tuple[str, Any]] = {
    "sd": ("mean ± sd", "sd"),
    "range": ("mean, lowest to highest", ("pi", 100)),
}


def _spread(spread: Spread | None, log: bool) -> tuple[str, Any]:
    """Return the words for a spread, and seaborn's name of it."""
    if spread is None:
        spread = "range" if log else "sd"
    if spread not in _SPREADS:
        raise ValueError(f"spread={spread!r} is not known; use 'sd' or 'range'")
    return _SPREADS[spread]


def _check_positive(df: pd.DataFrame, column: str, log: bool) -> None:
    if log and not (df[column] > 0).all():
        raise ValueError(
            f"df[{column!r}] has values that are not positive, which a logarithmic axis cannot "
            "show; use log=False, or add what makes them positive and say so"
        )


def _every(count: int, number: int, of: int) -> tuple[int, int]:
    """Return first and step of some six markers per line, not at the same places on all lines."""
    step = max(1, count // 6)
    return (step * number // max(of, 1), step)


def _label(column: str) -> str:
    return column.replace("_", " ")
