"""The style of figures touches nothing else: no setting of matplotlib, no figure of pyplot."""

import subprocess
import sys

import matplotlib
import pytest

from syre_helpers import plots

ALT = "Nothing is seen here but empty axes."


def test_no_setting_of_matplotlib_is_changed(runs):
    before = dict(matplotlib.rcParams)
    fig, _ = plots.subplots()
    plots.lines(runs("syre", "vanilla"), "step", "test_loss")
    plots.Picture(fig, ALT)
    with pytest.raises(RuntimeError), plots.style():
        raise RuntimeError
    assert dict(matplotlib.rcParams) == before


def test_figures_do_not_belong_to_pyplot(runs):
    from matplotlib import pyplot

    plots.subplots(2, 2, sharex=True)
    plots.strip(runs("syre"), "test_loss")
    assert pyplot.get_fignums() == []


def test_sizes():
    assert tuple(plots.subplots()[0].get_size_inches()) == (6.4, 3.6)
    fig, axes = plots.subplots(2, 3)
    assert tuple(fig.get_size_inches()) == (7, 6)
    assert axes.shape == (2, 3)
    for size in [(8, 3), (0, 3), (3, -1), (float("nan"), 3)]:
        with pytest.raises(ValueError, match="size"):
            plots.subplots(size=size)
    with pytest.raises(ValueError, match="columns"):
        plots.subplots(1, 0)


def test_import_is_light():
    code = (
        "import sys, syre_helpers.plots, syre_helpers.interactive, syre_helpers.exercises, "
        "syre_helpers.data\n"
        "print([m for m in ('matplotlib', 'pandas', 'seaborn', 'sklearn', 'pooch', 'ipywidgets') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
