"""A figure with a slider over precomputed frames, which moves on any page."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..plots.picture import Caption, check_sentence, css_size, data_address, png_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A page holds all frames of its figures, so they are a little less fine than a picture of its own.
_RATIO, _COLOURS = 1.5, 64

# Runs in the page, with `this` the range input. It looks only inside its own figure, so that one
# that is shown twice works twice. The picture shown first is not repeated in the data.
_ON_INPUT = """
const root = this.closest('.syre-slider'), image = root.querySelector('img');
if (!root.frames) {
  root.frames = JSON.parse(root.dataset.frames);
  root.frames[this.defaultValue][0] = image.src;
}
const [address, alt, text] = root.frames[this.value];
image.src = address;
image.alt = alt;
root.querySelector('output').value = text;
this.setAttribute('aria-valuetext', text);
if (event.isTrusted && root.timer) root.querySelector('button').click();
if (!root.timer) root.querySelector('[role=status]').textContent = alt;
"""
# With `this` the button: from frame to frame up to the last one, or until it is pressed again. What
# is seen is spoken when it stops, not at every frame.
_ON_PLAY = """
const root = this.closest('.syre-slider'), input = root.querySelector('input');
const move = (place) => {
  input.value = place;
  input.dispatchEvent(new Event('input', {bubbles: true}));
};
const stop = () => {
  clearInterval(root.timer);
  root.timer = 0;
  this.textContent = 'Play';
  move(input.value);
};
if (root.timer) return stop();
this.textContent = 'Pause';
root.timer = setInterval(() => {
  if (input.value === input.max) return stop();
  move(+input.value + 1);
}, 700);
if (input.value === input.max) move(input.min);
"""
_UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"


class FrameSlider:
    """A figure with a slider, over frames that are drawn now: needs no kernel and no network.

    Show it as the last value of a notebook cell. It works on the built page, in JupyterLab and in
    Colab, with mouse, finger and arrow keys, and a button plays it; without scripts, and on paper,
    it is the picture of `start`.

    Parameters
    ----------
    draw : callable
        ``draw(value)`` returns a matplotlib Figure; all must have the same size. Fix the limits of
        the axes, or they will jump.
    values : sequence
        What `draw` is called with, 2 to 60 values in the order of the slider.
    label : str
        What the slider sets, in words.
    alt : callable or str
        ``alt(value)`` returns what is seen in that frame, in a sentence. A str is used for all,
        with the slider's value added.
    format : callable
        ``format(value)`` returns the value in words, shown beside the slider. Default ``str``.
    start : object, optional
        The value shown first. Default: the one in the middle.
    caption : str, optional
        A sentence or more below the figure, for all frames. Default: none.
    number : int, optional
        The figure's number, from 1, as for `plots.Picture`. Default: none.

    Raises
    ------
    TypeError
        If `draw` returns something other than a Figure.
    ValueError
        If there are fewer than 2 or more than 60 values, the label is empty, `start` is not among
        the values, a frame has another size, an alt text or the caption is shorter than a
        sentence, or `number` is no whole number from 1, or has no caption.

    Examples
    --------
    >>> from syre_helpers.plots import subplots
    >>> def draw(power):
    ...     fig, ax = subplots(size=(4, 3))
    ...     ax.plot([0, 1, 2], [x**power for x in (0, 1, 2)])
    ...     ax.set_ylim(0, 8)
    ...     return fig
    >>> FrameSlider(draw, [1, 2, 3], label="Power", alt=lambda p: f"The curve x to the power {p}.")
    FrameSlider('Power', 3 frames)
    """

    def __init__(
        self,
        draw: Callable[[Any], Figure],
        values: Sequence[Any],
        *,
        label: str,
        alt: Callable[[Any], str] | str,
        format: Callable[[Any], str] = str,
        start: Any = None,
        caption: str | None = None,
        number: int | None = None,
    ) -> None:
        values = list(values)
        if not 2 <= len(values) <= 60:
            raise ValueError(
                f"values has {len(values)} entries; a slider needs at least 2, and a page bears "
                "at most 60"
            )
        if not label.strip():
            raise ValueError("label is empty; say in words what the slider sets")
        if start is not None and start not in values:
            raise ValueError(f"start={start!r} is not among the values {values!r}")
        self._start = len(values) // 2 if start is None else values.index(start)
        self.label = label
        self.caption = Caption(caption, number)
        self._frames: list[tuple[str, str, str]] = []
        sizes = set()
        for value in values:
            text = format(value)
            words = check_sentence(
                "alt", alt(value) if callable(alt) else f"{alt} {label}: {text}."
            )
            figure = draw(value)
            png = png_bytes(figure, ratio=_RATIO, colours=_COLOURS)
            sizes.add(css_size(figure))
            self._frames.append((data_address(png), words, text))
        if len(sizes) > 1:
            raise ValueError(
                f"draw returned figures of different sizes {sorted(sizes)} (pixels); give all the "
                "same, or the page jumps"
            )
        (self.size,) = sizes

    def __repr__(self) -> str:
        return f"FrameSlider({self.label!r}, {len(self._frames)} frames)"

    def _repr_html_(self) -> str:
        address, alt, text = self._frames[self._start]
        frames = [
            (address if number != self._start else "", *rest)
            for number, (address, *rest) in enumerate(self._frames)
        ]
        data = html.escape(json.dumps(frames, ensure_ascii=False, separators=(",", ":")))
        on_input, on_play = (html.escape(" ".join(s.split())) for s in (_ON_INPUT, _ON_PLAY))
        low, high = (html.escape(self._frames[end][2]) for end in (0, -1))
        width, height = self.size
        return self.caption.below(
            f'<div class="syre-slider" data-frames="{data}">'
            f'<label data-low="{low}" data-high="{high}">{html.escape(self.label)} '
            # autocomplete: a reloaded page must not keep a position that the picture does not have
            f'<input type="range" min="0" max="{len(frames) - 1}" step="1" value="{self._start}" '
            f'autocomplete="off" aria-valuetext="{html.escape(text)}" oninput="{on_input}"></label>'
            f'<button type="button" onclick="{on_play}">Play</button>'
            # Screen readers speak aria-valuetext, then the status; a live output would repeat that.
            f'<output aria-live="off">{html.escape(text)}</output>'
            f'<img class="syre-figure dark-light" alt="{html.escape(alt)}" width="{width}" '
            f'height="{height}" src="{address}">'
            f'<span role="status" style="{_UNSEEN}"></span>'
            "<noscript><p>The slider needs JavaScript. Without it the figure stays at "
            f"{html.escape(self.label)}: {html.escape(text)}.</p></noscript></div>"
        )
