"""Move legends away from data: ``loc="best"`` knows no bands, and may find no free place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend


def uncover_data(fig: Figure) -> None:
    """Move each legend that covers a line or a filled area of its axes below them."""
    legends = {ax: legend for ax in fig.axes if (legend := ax.get_legend()) is not None}
    if legends:
        fig.draw_without_rendering()  # sizes and places are known only now
    for ax, legend in legends.items():
        if _covers_data(ax, legend):
            _put_below(ax, legend)


def _covers_data(ax: Axes, legend: Legend) -> bool:
    """Test whether a part of a line or of a filled area lies under a legend."""
    from matplotlib.transforms import Bbox

    box = Bbox.intersection(legend.get_window_extent(), ax.bbox)
    if box is None:
        return False
    drawn = [line for line in ax.lines if line.get_linestyle() != "None"]
    shapes = [(line.get_transform().transform_path(line.get_path()), False) for line in drawn]
    for areas in ax.collections:
        paths = map(areas.get_transform().transform_path, areas.get_paths())
        shapes += [(path, True) for path in paths]
    return any(path.intersects_bbox(box, filled) for path, filled in shapes)


def _put_below(ax: Axes, legend: Legend) -> None:
    """Replace a legend by one below the axes, in as many columns as fit."""
    from matplotlib.transforms import ScaledTranslation

    fig: Any = ax.figure
    tight: Any = ax.get_tightbbox()
    handles: Any = legend.legend_handles
    down = ScaledTranslation(0, (tight.y0 - ax.bbox.y0) / fig.dpi, fig.dpi_scale_trans)
    ax.legend(
        handles,
        [text.get_text() for text in legend.get_texts()],
        title=legend.get_title().get_text(),
        alignment="left",
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + down,
        ncols=max(1, int(ax.bbox.width / legend.get_window_extent().width)),
    )
