"""Charts show mean, spread and every seed, say so, and refuse what they cannot draw."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from syre_helpers import plots


def square(u, w):
    return u**2 + w**2


def title(ax):
    return ax.get_legend().get_title().get_text()


@pytest.mark.parametrize(
    ("log", "words"), [(False, "mean ± sd, 8 seeds"), (True, "mean, lowest to highest, 8 seeds")]
)
def test_lines_show_mean_and_spread_and_say_so(runs, log, words):
    df = runs("plain decay", "syre")
    ax = plots.lines(df, "step", "test_loss", log=log)
    assert title(ax) == words
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "test loss")
    assert ax.get_yscale() == ("log" if log else "linear")
    for line, band, (arm, look) in zip(
        ax.get_lines(), ax.collections, plots.arm_styles(df).items(), strict=True
    ):
        values = df[df["arm"] == arm].groupby("step")["test_loss"]
        mean, sd = values.mean(), values.std()
        low, high = (values.min(), values.max()) if log else (mean - sd, mean + sd)
        np.testing.assert_allclose(line.get_ydata(), mean)
        assert (line.get_label(), line.get_color()) == (arm, look.colour)
        assert line.get_marker() == look.marker
        heights = band.get_paths()[0].vertices[:, 1]
        assert (heights.min(), heights.max()) == pytest.approx((low.min(), high.max()))


def test_lines_draw_on_given_axes_and_count_unequal_seeds(runs):
    df = runs("plain decay", "syre")
    df = df[~((df["arm"] == "syre") & (df["seed"] > 4))]
    _, (left, right) = plots.subplots(1, 2)
    assert plots.lines(df, "step", "test_loss", ax=right) is right
    assert not left.get_lines()
    assert "5 to 8 seeds" in title(right)
    assert "1 seed" in title(plots.lines(df[df["seed"] == 0], "step", "test_loss"))


def test_the_mean_of_a_logarithmic_axis_is_none_of_logarithms(runs):
    df = runs("syre")
    _, (left, right) = plots.subplots(1, 2)
    left.set_yscale("log")
    right.set_xscale("log")
    plots.lines(df, "step", "test_loss", ax=left)
    plots.strip(df, "test_loss", ax=right)
    assert left.get_lines()[0].get_ydata()[-1] == pytest.approx(4.5)
    assert right.get_lines()[0].get_xdata() == pytest.approx([4.5])
    assert (left.get_yscale(), right.get_xscale()) == ("log", "log")


@pytest.mark.parametrize(
    ("spread", "words"), [("sd", "mean ± sd"), ("range", "mean, lowest to highest")]
)
def test_strip_shows_each_seed_at_the_last_step(runs, spread, words):
    df = runs("vanilla", "syre").query("arm == 'syre' or seed != 3")
    ax = plots.strip(df, "test_loss", spread=spread)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["vanilla", "syre"]
    assert ax.get_xlabel() == f"test loss\ndots: one per seed; bar: {words}, 7 to 8 seeds"
    x, y = np.concatenate([dots.get_offsets() for dots in ax.collections]).T
    assert sorted(x[y < 0.5]) == [1, 2, 3, 5, 6, 7, 8]
    assert sorted(x[y > 0.5]) == [2, 4, 6, 8, 10, 12, 14, 16]
    # A seed is at one height in each row.
    np.testing.assert_allclose(np.delete(y[y > 0.5], 3) - 1, y[y < 0.5])
    *_, mean, bar = ax.get_lines()
    assert mean.get_xdata() == pytest.approx([9])
    half = np.std([2, 4, 6, 8, 10, 12, 14, 16], ddof=1)
    assert bar.get_xdata() == pytest.approx((9 - half, 9 + half) if spread == "sd" else (2, 16))
    assert to_hex(bar.get_color()) == plots.arm_palette(df)["syre"]


def test_charts_leave_numpys_random_state_alone(runs):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    plots.strip(runs("syre", "vanilla"), "test_loss", log=True)
    plots.lines(runs("syre", "vanilla"), "step", "test_loss")
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_landscape_draws_paths_from_start_to_end():
    paths = {"plain decay": [[0, 1], [1, 1]], "syre": np.full((3, 5, 2), 0.5)}
    ax = plots.landscape(square, (-2, 2), (-1, 1), paths=paths, log=True, points=31)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-2, 2), (-1, 1))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["plain decay", "syre"]
    assert len(ax.get_lines()) == 3 * (1 + 3)
    assert len(plots.png_bytes(ax.figure)) < 40_000


@pytest.mark.parametrize("levels", [3, 12, [0.0, 0.5, 1.0, 9.0]])
def test_landscape_levels(levels):
    plots.png_bytes(plots.landscape(square, (-1, 1), (-1, 1), levels=levels, points=21).figure)


LOG = {"log": True}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda df: plots.lines(df, "epoch", "test_loss"), "no column 'epoch'; it has 'arm'"),
        (lambda df: plots.lines(df[:0], "step", "test_loss"), "empty"),
        (lambda df: plots.lines(df.assign(y=np.nan), "step", "y"), "24 values"),
        (lambda df: plots.lines(df.assign(y=-1.0), "step", "y", **LOG), "log=False"),
        (lambda df: plots.lines(df, "step", "test_loss", spread="se"), "spread='se'"),
        (lambda df: plots.lines(df.assign(arm="a"), "step", "test_loss"), "several rows"),
        (lambda df: plots.strip(df.drop(columns="seed"), "test_loss"), "no column 'seed'"),
        (lambda df: plots.strip(df.drop(columns="step"), "test_loss"), "rows for arm='syre'"),
        (lambda df: plots.strip(df.assign(y=0.0), "y", **LOG), "not positive"),
        (lambda df: plots.describe(df.assign(y=np.inf), "y"), "infinite"),
        (lambda _: plots.landscape(square, (1, 0), (0, 1)), "xlim"),
        (lambda _: plots.landscape(lambda u, w: u[0], (0, 1), (0, 1)), "shape"),
        (lambda _: plots.landscape(lambda u, w: u * np.nan, (0, 1), (0, 1)), "14641 that are NaN"),
        (
            lambda _: plots.landscape(square, (0, 1), (0, 1), paths={"syre": [1, 2]}),
            r"paths\['syre'\]",
        ),
    ],
)
def test_bad_input_is_named(call, words, runs):
    with pytest.raises(ValueError, match=words):
        call(runs("syre", "vanilla", seeds=2))
