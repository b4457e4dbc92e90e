"""Figures to move: over precomputed frames on any page, or computed anew where a kernel runs."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .plots.picture import check_alt, css_size, data_address, png_bytes

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
root.querySelector('[role=status]').textContent = alt;
this.setAttribute('aria-valuetext', text);
"""
_UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"


class FrameSlider:
    """A figure with a slider, over frames that are drawn now: needs no kernel and no network.

    Show it as the last value of a notebook cell. It works on the built page, in JupyterLab and in
    Colab, with mouse, finger and arrow keys; without scripts, and on paper, it is the first
    picture.

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
        The value shown first. Default: the first one.

    Raises
    ------
    TypeError
        If `draw` returns something other than a Figure.
    ValueError
        If there are fewer than 2 or more than 60 values, the label is empty, `start` is not among
        the values, a frame has another size, or an alt text is shorter than a sentence.

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
    ) -> None:
        values = list(values)
        if not 2 <= len(values) <= 60:
            raise ValueError(
                f"values has {len(values)} entries; a slider needs at least 2, and a page bears "
                "at most 60"
            )
        if not label.strip():
            raise ValueError("label is empty; say in words what the slider sets")
        if start is None:
            self._start = 0
        elif start in values:
            self._start = values.index(start)
        else:
            raise ValueError(f"start={start!r} is not among the values {values!r}")
        self.label = label
        self._frames: list[tuple[str, str, str]] = []
        sizes = set()
        for value in values:
            text = format(value)
            words = check_alt(alt(value) if callable(alt) else f"{alt} {label}: {text}.")
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
        script = html.escape(" ".join(_ON_INPUT.split()))
        width, height = self.size
        return (
            f'<div class="syre-slider" data-frames="{data}">'
            f"<label>{html.escape(self.label)} "
            # autocomplete: a reloaded page must not keep a position that the picture does not have
            f'<input type="range" min="0" max="{len(frames) - 1}" step="1" value="{self._start}" '
            f'autocomplete="off" aria-valuetext="{html.escape(text)}" oninput="{script}"></label>'
            # Screen readers speak aria-valuetext, then the status; a live output would repeat that.
            f'<output aria-live="off">{html.escape(text)}</output>'
            f'<img class="syre-figure dark-light" alt="{html.escape(alt)}" width="{width}" '
            f'height="{height}" src="{address}">'
            f'<span role="status" style="{_UNSEEN}"></span>'
            "<noscript><p>The slider needs JavaScript. Without it the figure stays at "
            f"{html.escape(self.label)}: {html.escape(text)}.</p></noscript></div>"
        )


def panel(function: Callable[..., Any], **controls: Any) -> Any:
    """Return controls and a button that compute something new, where a kernel runs.

    Beside it a page needs a static twin, such as a `FrameSlider` or a `plots.Picture`, since
    nothing is computed until the reader presses the button.

    Parameters
    ----------
    function : callable
        Called with the controls' values by name; returns what to show: a `plots.Picture`, a
        `FrameSlider`, a DataFrame, or anything else, whose text is shown. When it raises an
        exception, its message is shown in place of the result.
    **controls : ipywidgets.Widget
        One for each argument, such as ``steps=ipywidgets.IntSlider(100, 0, 1000)``. One without a
        description is described by its name.

    Returns
    -------
    ipywidgets.VBox
        The controls, the button, and the place of the result.

    Raises
    ------
    TypeError
        If `function` cannot be called, or a control has no value.
    ValueError
        If there is no control.

    Examples
    --------
    >>> import ipywidgets
    >>> box = panel(lambda x: 2 * x, x=ipywidgets.IntText(21))
    >>> *_, button, result = box.children
    >>> button.click()
    >>> result.value
    '<pre>42</pre>'
    """
    import ipywidgets

    if not callable(function):
        raise TypeError(f"function={function!r} cannot be called")
    if not controls:
        raise ValueError("panel needs a control for each argument of the function, got none")
    for name, control in controls.items():
        if not isinstance(control, ipywidgets.Widget) or not hasattr(control, "value"):
            raise TypeError(f"{name}={control!r} is no ipywidgets control with a value")
        if not getattr(control, "description", ""):
            control.description = name.replace("_", " ")
    button = ipywidgets.Button(description="Compute", button_style="primary")
    result = ipywidgets.HTML(
        "<p>Press <em>Compute</em>. This needs a running kernel, as in Jupyter, Colab or "
        "Binder.</p>"
    )

    def compute(_: Any) -> None:
        button.disabled = True  # a click while it runs would only queue up
        result.value = "<p>Computing …</p>"
        try:
            result.value = _as_html(function(**{name: c.value for name, c in controls.items()}))
        except Exception as error:  # a reader at the controls wants the reason, not a traceback
            result.value = _problem(error)
        finally:
            button.disabled = False

    button.on_click(compute)
    return ipywidgets.VBox([*controls.values(), button, result])


def _as_html(shown: Any) -> str:
    if hasattr(shown, "_repr_html_"):
        return str(shown._repr_html_())
    return f"<pre>{html.escape(str(shown))}</pre>"


def _problem(error: Exception) -> str:
    reason = str(error) or type(error).__name__
    return (
        f'<div class="syre-verdict" data-ok="false">Cannot be computed: {html.escape(reason)}</div>'
    )
