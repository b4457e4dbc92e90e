"""Figures can be read on light and dark pages, name their spread, and have words beside them."""

from __future__ import annotations

import base64
import io
import re
import sys
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from syre_helpers import plots
from syre_helpers.plots.palette import _LOOKS, _SPARE

WHITE, DARK = "#ffffff", "#14181e"
OFTEN = ["vanilla", "plain decay", "W-fix", "syre", "syre + D", "D only"]
ALT = "Nothing is seen here but empty axes."


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    """Contrast ratio of two colours, as WCAG 2 defines it."""
    high, low = sorted((linear(c) @ [0.2126, 0.7152, 0.0722] for c in (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def oklab(rgb):
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    axes = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return axes @ np.cbrt(cones @ np.clip(rgb, 0, 1))


# Machado, Oliveira and Fernandes (2009), severity 1
DEUTERANOPIA = np.array(
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)


def smallest_distance(colours, seen=None):
    seen = np.eye(3) if seen is None else seen
    points = [oklab(seen @ linear(c)) for c in colours]
    return min(np.linalg.norm(a - b) for k, a in enumerate(points) for b in points[:k])


def runs(arms, seeds=8, steps=5, values=None):
    """A table in which arm k, seed s ends at (k + 1) * (s + 1)."""
    rows = [
        (arm, seed, step, (k + 1) * (seed + 1) * (steps - step + 1.0))
        for k, arm in enumerate(arms)
        for seed in range(seeds)
        for step in range(steps + 1)
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "test_loss"])


# ---- colours ---------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [WHITE, DARK])
def test_text_and_arms_have_contrast_with_both_pages(page):
    assert contrast(plots.NEUTRAL, page) >= 4
    for name, colour in plots.arm_palette([*_LOOKS, "one", "two", "three"]).items():
        assert contrast(colour, page) >= 3, name


@pytest.mark.parametrize("count", range(1, 7))
@pytest.mark.parametrize("arm", _LOOKS)
def test_shades_have_contrast_and_differ(arm, count):
    names = [f"{arm} {k}" for k in range(count)]
    palette = plots.arm_palette(names)
    assert len(set(palette.values())) == count
    for colour in palette.values():
        assert contrast(colour, WHITE) >= 3
        assert contrast(colour, DARK) >= 3
    looks = plots.arm_looks(names)
    assert len({look.marker for look in looks.values()}) == count


def test_arms_are_apart_also_for_the_colour_blind():
    palette = plots.arm_palette(_LOOKS)
    assert smallest_distance(palette.values()) > 0.1
    assert smallest_distance([palette[arm] for arm in OFTEN], DEUTERANOPIA) > 0.08
    # no two arms have both the same colour (nearly, for the colour-blind) and the same marker
    looks = [*_LOOKS.values(), *_SPARE]
    assert len({(look.dash, look.marker) for look in looks}) == len(looks)


def test_names_fall_back_on_the_longest_known_beginning():
    palette = plots.arm_palette(["syre", "syre + D", "W-fix"])
    for variant, arm in {
        "syre 0.1": "syre",
        "syre + D 0.3": "syre + D",
        "W-fix 30%": "W-fix",
    }.items():
        assert plots.arm_palette([variant])[variant] == palette[arm]
    both = plots.arm_palette(["syre 0.1", "syre", "syre 0.3"])
    assert both["syre"] == palette["syre"]
    assert len(set(both.values())) == 3
    assert list(both) == ["syre 0.1", "syre", "syre 0.3"]
    # "syrexyz" is another name, not a variant
    assert plots.arm_palette(["syrexyz"])["syrexyz"] != palette["syre"]


def test_palette_takes_a_generator_once():
    assert plots.arm_palette(name for name in ("a", "b")) == plots.arm_palette(["a", "b"])


@pytest.mark.parametrize("name", ["", None, 3])
def test_wrong_names(name):
    with pytest.raises(ValueError, match="names"):
        plots.arm_palette(["syre", name])


# ---- style -----------------------------------------------------------------------------------


def test_no_setting_of_matplotlib_is_changed():
    before = dict(matplotlib.rcParams)
    fig, _ = plots.subplots()
    plots.lines(runs(["syre", "vanilla"]), "step", "test_loss")
    plots.Picture(fig, ALT)
    with pytest.raises(RuntimeError), plots.style():
        raise RuntimeError
    assert dict(matplotlib.rcParams) == before


def test_figures_do_not_belong_to_pyplot():
    from matplotlib import pyplot

    plots.subplots(2, 2, sharex=True)
    plots.strip(runs(["syre"]), "test_loss")
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


# ---- pictures --------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGBA")).astype(float)


def test_picture_is_one_transparent_image_with_its_words():
    fig, ax = plots.subplots()
    ax.plot([0, 1], [0, 1])
    picture = plots.Picture(fig, alt='A line rises; it says "1 < 2 & 3",\n  that is all.')
    ((tag, attributes),) = Tags(picture._repr_html_()).found
    assert tag == "img"
    assert attributes["class"] == "syre-figure dark-light"
    assert attributes["alt"] == 'A line rises; it says "1 < 2 & 3", that is all.'
    assert (attributes["width"], attributes["height"]) == ("640", "360")
    kind, _, content = attributes["src"].partition(",")
    assert kind == "data:image/png;base64"
    image = pixels(base64.b64decode(content))
    assert image.shape == (720, 1280, 4)
    assert (image[..., 3] == 0).mean() > 0.8


def test_same_figure_gives_the_same_small_bytes():
    first, second = (
        plots.Picture(plots.lines(runs(OFTEN), "step", "test_loss").figure, ALT).png
        for _ in range(2)
    )
    assert first == second
    assert len(first) < 40_000


def test_figure_of_pyplot_is_closed():
    from matplotlib import pyplot

    fig, _ = pyplot.subplots()
    plots.Picture(fig, ALT)
    assert pyplot.get_fignums() == []


def test_default_black_and_white_do_not_remain():
    fig, ax = plots.subplots()
    ax.text(0.1, 0.5, "words", fontsize=30)
    ax.axhline(0.2, color="k", linewidth=8)
    ax.axvspan(0.6, 0.7, facecolor="none", edgecolor="black", linewidth=8)
    ax.scatter([0.9], [0.9], s=900, edgecolor="black", facecolor="none", linewidth=8)
    ax.plot([0, 1], [1, 0], label="line")
    ax.legend(frameon=True, facecolor="white")
    fig.suptitle("title")
    image = pixels(plots.png_bytes(fig))
    seen = image[image[..., 3] > 200][:, :3]
    assert len(seen) > 1000
    assert seen.max(axis=1).min() > 80  # nothing black
    assert seen.min(axis=1).max() < 200  # nothing white


def test_chosen_colours_remain():
    fig, ax = plots.subplots()
    ax.axhline(0.5, color="#056fac", linewidth=20)
    image = pixels(plots.png_bytes(fig))
    assert (np.abs(image[..., :3] - [5, 111, 172]).max(-1) < 12).sum() > 10_000


@pytest.mark.parametrize("alt", ["", "  ", "a figure", "Loss against steps for five arms", None, 3])
def test_picture_needs_a_sentence(alt):
    fig, _ = plots.subplots()
    with pytest.raises(ValueError, match=r"alt=.*sentence"):
        plots.Picture(fig, alt)


def test_picture_needs_a_figure():
    _, ax = plots.subplots()
    with pytest.raises(TypeError, match="Figure, got Axes"):
        plots.Picture(ax, ALT)


# ---- charts ----------------------------------------------------------------------------------


def test_lines_show_mean_and_sd_and_say_so():
    df = runs(["plain decay", "syre"])
    ax = plots.lines(df, "step", "test_loss")
    assert ax.get_legend().get_title().get_text() == "mean ± sd, 8 seeds"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "test loss")
    palette = plots.arm_palette(df["arm"])
    for line, band, arm in zip(
        ax.get_lines(), ax.collections, ["plain decay", "syre"], strict=True
    ):
        group = df[df["arm"] == arm].groupby("step")["test_loss"]
        np.testing.assert_allclose(line.get_ydata(), group.mean())
        assert line.get_color() == palette[arm]
        box = band.get_paths()[0].vertices[:, 1]
        assert box.max() == pytest.approx((group.mean() + group.std()).max())
        assert box.min() == pytest.approx((group.mean() - group.std()).min())


def test_lines_on_a_logarithmic_axis_show_the_range():
    df = runs(["syre"])
    ax = plots.lines(df, "step", "test_loss", log=True)
    assert ax.get_yscale() == "log"
    assert ax.get_legend().get_title().get_text() == "mean, lowest to highest, 8 seeds"
    box = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (box.min(), box.max()) == (df["test_loss"].min(), df["test_loss"].max())


def test_lines_draw_on_given_axes_and_count_unequal_seeds():
    df = runs(["plain decay", "syre"])
    df = df[~((df["arm"] == "syre") & (df["seed"] > 4))]
    _, (left, right) = plots.subplots(1, 2)
    assert plots.lines(df, "step", "test_loss", ax=right) is right
    assert not left.get_lines()
    assert "5 to 8 seeds" in right.get_legend().get_title().get_text()
    single = plots.lines(df[df["seed"] == 0], "step", "test_loss")
    assert "1 seed" in single.get_legend().get_title().get_text()


def test_strip_shows_each_seed_at_the_last_step():
    df = runs(["vanilla", "syre"])
    ax = plots.strip(df, "test_loss")
    dots = [line for line in ax.get_lines() if len(line.get_xdata()) == 8]
    assert [sorted(line.get_xdata()) for line in dots] == [
        [1, 2, 3, 4, 5, 6, 7, 8],
        [2, 4, 6, 8, 10, 12, 14, 16],
    ]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["vanilla", "syre"]
    assert "mean ± sd, 8 seeds" in ax.get_xlabel()


def test_charts_leave_numpys_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    plots.strip(runs(OFTEN), "test_loss", log=True)
    plots.lines(runs(OFTEN), "step", "test_loss")
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_landscape_draws_paths_from_start_to_end():
    paths = {"plain decay": [[0, 1], [1, 1]], "syre": np.full((3, 5, 2), 0.5)}
    ax = plots.landscape(
        lambda u, w: (u * w - 1) ** 2, (-2, 2), (-1, 1), paths=paths, log=True, points=31
    )
    assert (ax.get_xlim(), ax.get_ylim()) == ((-2, 2), (-1, 1))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["plain decay", "syre"]
    assert len(ax.get_lines()) == 3 * (1 + 3)
    assert len(plots.png_bytes(ax.figure)) < 40_000


@pytest.mark.parametrize("levels", [3, 12, [0.0, 0.5, 1.0, 9.0]])
def test_landscape_levels(levels):
    plots.png_bytes(
        plots.landscape(lambda u, w: u**2 + w**2, (-1, 1), (-1, 1), levels=levels, points=21).figure
    )


# ---- words -----------------------------------------------------------------------------------


def test_describe_names_every_arm_its_spread_and_the_seeds():
    words = plots.describe(runs(["vanilla", "syre 0.1"]), "test_loss")
    assert words == "vanilla 4.5 ± 2.4, syre 0.1 9.0 ± 4.9 (mean ± sd, 8 seeds)"


@given(mean=st.floats(-1e6, 1e6), sd=st.one_of(st.just(0.0), st.floats(1e-9, 1e6)))
@settings(max_examples=200)
def test_plus_minus_reads_back_to_within_the_spread(mean, sd):
    left, right = plots.plus_minus(mean, sd).split(" ± ")
    assert float(right) == pytest.approx(sd, rel=0.06, abs=1e-6 if abs(mean) > 1e-3 else 0)
    assert float(left) == pytest.approx(mean, rel=6e-3, abs=max(0.06 * sd, 1e-6))
    assert len(left) < 16


# ---- bad input -------------------------------------------------------------------------------

GOOD = runs(["syre", "vanilla"], seeds=2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: plots.lines(GOOD, "epoch", "test_loss"), "no column 'epoch'; it has 'arm'"),
        (lambda: plots.lines(GOOD[:0], "step", "test_loss"), "empty"),
        (lambda: plots.lines(GOOD.assign(test_loss=np.nan), "step", "test_loss"), "24 values"),
        (
            lambda: plots.lines(GOOD.assign(test_loss=-1.0), "step", "test_loss", log=True),
            "log=False",
        ),
        (lambda: plots.lines(GOOD, "step", "test_loss", spread="se"), "spread='se'"),
        (lambda: plots.lines(GOOD.assign(arm="syre"), "step", "test_loss"), "several rows"),
        (lambda: plots.strip(GOOD.drop(columns="seed"), "test_loss"), "no column 'seed'"),
        (
            lambda: plots.strip(GOOD.drop(columns="step"), "test_loss"),
            "several rows for arm='syre'",
        ),
        (lambda: plots.strip(GOOD.assign(test_loss=0.0), "test_loss", log=True), "not positive"),
        (lambda: plots.describe(GOOD.assign(test_loss=np.inf), "test_loss"), "infinite"),
        (lambda: plots.landscape(lambda u, w: u, (1, 0), (0, 1)), "xlim"),
        (lambda: plots.landscape(lambda u, w: u[0], (0, 1), (0, 1)), "shape"),
        (lambda: plots.landscape(lambda u, w: u * np.nan, (0, 1), (0, 1)), "14641 that are NaN"),
        (
            lambda: plots.landscape(lambda u, w: u, (0, 1), (0, 1), paths={"syre": [1, 2]}),
            r"paths\['syre'\]",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_import_is_light():
    code = (
        "import sys, syre_helpers.plots, syre_helpers.interactive, syre_helpers.exercises, "
        "syre_helpers.data\n"
        "print([m for m in ('matplotlib', 'pandas', 'seaborn', 'sklearn', 'pooch', 'ipywidgets') "
        "if m in sys.modules])"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert re.sub(r"\s", "", done.stdout) == "[]"


def test_figure_type_is_what_readers_expect():
    assert isinstance(plots.subplots()[0], Figure)
