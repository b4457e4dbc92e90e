"""A picture's legend covers no line and no band."""

import numpy as np
import pytest

from syre_helpers import plots

X = np.linspace(0, 1, 201)


@pytest.mark.parametrize(
    ("place", "curve", "band", "moved"),
    [
        ("best", X, 0.1, False),
        ("upper left", X, 0.1, False),
        ("upper right", X, 0, True),
        ((0.3, 0.6), X, 0.2, True),
        ("best", np.sin(100 * X), 0, True),
    ],
)
def test_a_legend_that_covers_data_moves_below_the_axes(place, curve, band, moved):
    fig, ax = plots.subplots()
    ax.plot(X, curve, label="a curve")
    if band:
        ax.fill_between(X, curve - band, curve + band)
    legend = ax.legend(title="a title", loc=place)
    plots.Picture(fig, "Nothing is seen here but a line.")
    assert (ax.get_legend() is not legend) == moved
    legend = ax.get_legend()
    assert (legend.get_window_extent().y1 < ax.get_window_extent().y0) == moved
    assert legend.get_title().get_text() == "a title"
    assert [text.get_text() for text in legend.get_texts()] == ["a curve"]
