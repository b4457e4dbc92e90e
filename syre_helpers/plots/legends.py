"""Move legends away from the data that they cover, which ``loc="best"`` cannot promise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.transforms import Bbox

Place = Literal[
    "upper right",
    "upper left",
    "lower left",
    "lower right",
    "center right",
    "center left",
    "upper center",
    "lower center",
]
_PLACES: tuple[Place, ...] = get_args(Place)


def uncover_data(fig: Figure) -> None:
    """Move each legend that covers data to the first free place in its axes, else below them."""
    with_legend = [(ax, legend) for ax in fig.axes if (legend := ax.get_legend()) is not None]
    if with_legend:
        fig.draw_without_rendering()  # sizes and places are known only now
    for ax, legend in with_legend:
        if _covers_data(ax, legend) and not any(_is_free(ax, legend, p) for p in _PLACES):
            _put_below(ax, legend)


def _is_free(ax: Axes, legend: Legend, place: Place) -> bool:
    """Move a legend, and test whether it covers no data there."""
    legend.set_loc(place)
    legend.set_bbox_to_anchor(None)
    return not _covers_data(ax, legend)


def _covers_data(ax: Axes, legend: Legend) -> bool:
    from matplotlib.transforms import Bbox

    box = Bbox.intersection(legend.get_window_extent(), ax.bbox)
    return box is not None and any(_overlaps(ax, box))


def _overlaps(ax: Axes, box: Bbox) -> Iterator[bool]:
    """Yield for each line, area and set of points whether a part of it lies in a box of pixels."""
    from matplotlib.collections import PathCollection

    for line in ax.lines:
        path = line.get_transform().transform_path(line.get_path())
        if line.get_linestyle() == "None":
            yield bool(box.count_contains(path.vertices))
        else:
            yield path.intersects_bbox(box, filled=False)
    for patch in ax.patches:
        yield patch.get_transform().transform_path(patch.get_path()).intersects_bbox(box)
    for collection in ax.collections:
        if isinstance(collection, PathCollection):  # points of a scatter plot
            points = collection.get_offset_transform().transform(collection.get_offsets())
            yield bool(box.count_contains(points))
            continue
        filled = len(collection.get_facecolor()) > 0
        for path in collection.get_paths():
            yield collection.get_transform().transform_path(path).intersects_bbox(box, filled)


def _put_below(ax: Axes, legend: Legend) -> None:
    """Replace a legend by one below the axes, in as many columns as fit."""
    from matplotlib.transforms import ScaledTranslation

    from .style import style

    fig = ax.get_figure(root=True)
    tight = ax.get_tightbbox()
    if fig is None or tight is None:
        return
    down = ScaledTranslation(0, (tight.y0 - ax.bbox.y0) / fig.dpi, fig.dpi_scale_trans)
    handles: Any = legend.legend_handles
    with style():
        ax.legend(
            handles,
            [text.get_text() for text in legend.get_texts()],
            title=legend.get_title().get_text() or None,
            alignment="left",
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
            bbox_transform=ax.transAxes + down,
            borderaxespad=0.2,
            ncols=max(1, int(ax.bbox.width / legend.get_window_extent().width)),
        )
