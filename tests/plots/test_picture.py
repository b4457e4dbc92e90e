"""Figures as one image for light and dark pages, with words beside them."""

import base64
import io

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from syre_helpers import plots

ALT = "Nothing is seen here but empty axes."


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGBA")).astype(float)


def test_picture_is_one_transparent_image_with_its_words():
    fig, ax = plots.subplots()
    ax.plot([0, 1], [0, 1])
    picture = plots.Picture(fig, alt='A line rises; it says "1 < 2 & 3",\n  that is all.')
    (attributes,) = BeautifulSoup(picture._repr_html_(), "html.parser").find_all()
    assert attributes.name == "img"
    assert attributes["class"] == ["syre-figure", "dark-light"]
    assert attributes["alt"] == 'A line rises; it says "1 < 2 & 3", that is all.'
    assert (attributes["width"], attributes["height"]) == ("640", "360")
    kind, _, content = attributes["src"].partition(",")
    assert kind == "data:image/png;base64"
    image = pixels(base64.b64decode(content))
    assert image.shape == (720, 1280, 4)
    assert (image[..., 3] == 0).mean() > 0.8


def test_caption_stands_below_with_its_number():
    fig, _ = plots.subplots()
    picture = plots.Picture(fig, ALT, caption="What 1 < 2 means,\n in one line.", number=3)
    figure = BeautifulSoup(picture._repr_html_(), "html.parser").figure
    assert figure["id"] == "figure-3"
    assert [child.name for child in figure.children] == ["img", "figcaption"]
    assert figure.figcaption.get_text() == "Figure 3. What 1 < 2 means, in one line."
    assert figure.img["alt"] == ALT
    unnumbered = plots.Picture(fig, ALT, caption="What one sees, in one line.")._repr_html_()
    assert "<b>" not in unnumbered
    assert "id=" not in unnumbered


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"caption": "short"}, "caption='short'"),
        ({"caption": ""}, "caption=''"),
        ({"number": 1}, "give caption="),
        ({"caption": ALT, "number": 0}, "number=0"),
        ({"caption": ALT, "number": True}, "number=True"),
        ({"caption": ALT, "number": 1.0}, "number=1.0"),
    ],
)
def test_caption_that_says_nothing_is_refused(wrong, said):
    fig, _ = plots.subplots()
    with pytest.raises(ValueError, match=said):
        plots.Picture(fig, ALT, **wrong)


def test_same_figure_gives_the_same_small_bytes(runs):
    df = runs("vanilla", "plain decay", "W-fix", "syre", "syre + D")
    first, second = (
        plots.Picture(plots.lines(df, "step", "test_loss").figure, ALT).png for _ in range(2)
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
