"""Show a figure on a light or a dark page, with words for those who do not see it."""

from __future__ import annotations

import base64
import html
import io
import sys
from typing import TYPE_CHECKING, Any

from .legends import uncover_data
from .style import CSS_PIXELS, NEUTRAL, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Picture:
    """A figure as one transparent image for light and dark pages, with a text that stands for it.

    Show it as the last value of a notebook cell. What is left in matplotlib's default black (text
    and lines added after `subplots`) is drawn in the neutral colour, so that it can be read on
    both. A legend that covers a line or an area is moved below its axes.

    Parameters
    ----------
    fig : matplotlib Figure
        It is drawn at once, and closed if it belongs to pyplot.
    alt : str
        What is seen, in a sentence or more, with the numbers that matter: see `describe`.
    caption : str, optional
        A sentence or more below the figure, for everybody. Default: none.
    number : int, optional
        The figure's number, from 1: "Figure 2." opens the caption, and a link to ``#figure-2``
        leads there. Needs a caption. Default: none.

    Raises
    ------
    TypeError
        If `fig` is not a Figure.
    ValueError
        If `alt` or `caption` is shorter than a sentence, or `number` is no whole number from 1, or
        has no caption.

    Examples
    --------
    >>> from syre_helpers.plots import subplots
    >>> fig, ax = subplots()
    >>> words = "Empty axes from 0 to 1, a figure without any data."
    >>> picture = Picture(fig, alt=words, caption="Axes that wait for their data.", number=1)
    >>> "<b>Figure 1.</b> Axes that wait" in picture._repr_html_()
    True
    """

    def __init__(
        self, fig: Figure, alt: str, *, caption: str | None = None, number: int | None = None
    ) -> None:
        from matplotlib.figure import Figure

        self.alt = check_sentence("alt", alt)
        self.caption = Caption(caption, number)
        if isinstance(fig, Figure):
            with style():
                uncover_data(fig)
        self.png = png_bytes(fig)
        self.size = css_size(fig)

    def __repr__(self) -> str:
        return f"Picture({self.alt!r})"

    def _repr_html_(self) -> str:
        width, height = self.size
        return self.caption.below(
            f'<img class="syre-figure dark-light" alt="{html.escape(self.alt)}" width="{width}" '
            f'height="{height}" src="{data_address(self.png)}">'
        )


class Caption:
    """The words below a figure, with its number; see `Picture` for the arguments."""

    def __init__(self, text: str | None, number: int | None) -> None:
        self.text = None if text is None else check_sentence("caption", text)
        whole = isinstance(number, int) and not isinstance(number, bool) and number >= 1
        if number is not None and not whole:
            raise ValueError(f"number={number!r} must be a whole number from 1")
        if number is not None and text is None:
            raise ValueError(f"number={number} stands before a caption; give caption= as well")
        self.number = number

    def below(self, figure: str) -> str:
        """Return the figure's HTML with the caption below it."""
        if self.text is None:
            return figure
        words, place = html.escape(self.text), ""
        if self.number is not None:
            words = f"<b>Figure {self.number}.</b> {words}"
            place = f' id="figure-{self.number}"'
        return (
            f'<figure class="syre-captioned"{place}>{figure}<figcaption>{words}</figcaption>'
            "</figure>"
        )


def check_sentence(argument: str, text: object) -> str:
    """Return the text without outer and repeated white space; ValueError if it is no sentence."""
    words = text.split() if isinstance(text, str) else []
    if len(words) < 5 or words[-1][-1] not in ".!?)":
        raise ValueError(
            f"{argument}={text!r} must say in a sentence, ended by a full stop, what is seen in "
            "the figure; plots.describe(df, value) makes the part with the numbers"
        )
    return " ".join(words)


def data_address(png: bytes) -> str:
    """Return an image as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def css_size(fig: Figure) -> tuple[int, int]:
    """Return a figure's width and height in CSS pixels."""
    width, height = fig.get_size_inches()
    return round(width * CSS_PIXELS), round(height * CSS_PIXELS)


def png_bytes(fig: Figure, *, ratio: float = 2.0, colours: int = 128) -> bytes:
    """Draw a figure to a small transparent PNG, and close it if it belongs to pyplot.

    Parameters
    ----------
    fig : matplotlib Figure
        Its default blacks and white boxes are replaced by the neutral colour and by nothing.
    ratio : float
        Pixels of the image per CSS pixel. Default 2, sharp on fine screens.
    colours : int
        Colours of the image, at most 256. Default 128.

    Returns
    -------
    bytes
        200 pixels per inch, at most 128 colours, without a date: the same figure gives the same
        bytes.

    Raises
    ------
    TypeError
        If `fig` is not a Figure.

    Examples
    --------
    >>> from syre_helpers.plots import subplots
    >>> png_bytes(subplots()[0])[1:4]
    b'PNG'
    """
    from matplotlib.figure import Figure
    from PIL import Image

    if not isinstance(fig, Figure):
        raise TypeError(f"fig must be a matplotlib Figure, got {type(fig).__name__}: {fig!r:.60}")
    _suit_both_pages(fig)
    raw = io.BytesIO()
    fig.savefig(raw, format="png", dpi=ratio * CSS_PIXELS, transparent=True)
    if (pyplot := sys.modules.get("matplotlib.pyplot")) is not None:
        pyplot.close(fig)
    with Image.open(raw) as image:
        small = image.convert("RGBA").quantize(
            colours, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )
    packed = io.BytesIO()
    small.save(packed, format="PNG", optimize=True)
    return packed.getvalue()


def _suit_both_pages(fig: Figure) -> None:
    """Replace matplotlib's default black by the neutral colour, and take the boxes from legends."""
    from matplotlib.collections import Collection
    from matplotlib.colors import to_rgba_array
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.text import Text

    def is_black(colour: Any) -> bool:
        rgba = to_rgba_array(colour)
        return len(rgba) > 0 and not rgba[:, :3].any() and bool(rgba[:, 3].all())

    for legend in fig.findobj(Legend):
        legend.set_frame_on(False)
    for artist in fig.findobj():
        if isinstance(artist, (Text, Line2D)) and is_black(artist.get_color()):
            artist.set_color(NEUTRAL)
        elif isinstance(artist, (Patch, Collection)) and is_black(artist.get_edgecolor()):
            artist.set_edgecolor(NEUTRAL)
