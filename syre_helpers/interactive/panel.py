"""Controls that compute something new, where a kernel runs: with progress, and with a stop."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..training import Moment, listening

_READY = (
    "<p>Press <em>Compute</em>. This needs a running kernel, as in Jupyter, Colab or Binder.</p>"
)


class Stopped(Exception):
    """The reader pressed *Stop*."""


def panel(function: Callable[..., Any], **controls: Any) -> Any:
    """Return controls and two buttons that compute something new, where a kernel runs.

    The function runs in a thread of its own, so that the buttons stay alive. All training in it
    (`fit`, `fit_many`) moves the bar, and ends at the next step after *Stop*. Beside it a page
    needs a static twin, such as a `FrameSlider` or a `plots.Picture`, since nothing is computed
    until the reader presses the button.

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
        The controls, a row with the two buttons and the bar, and the place of the result. Its
        method ``wait()`` returns when nothing is being computed any more.

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
    >>> *_, row, result = box.children
    >>> compute, stop, bar = row.children
    >>> compute.click()
    >>> box.wait()
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
        # Else JupyterLab cuts a name off after a dozen letters.
        control.style.description_width = "initial"
    compute = ipywidgets.Button(description="Compute", button_style="primary")
    stop = ipywidgets.Button(description="Stop", disabled=True)
    bar = ipywidgets.FloatProgress(0.0, min=0.0, max=1.0)
    result = ipywidgets.HTML(_READY)
    box = ipywidgets.VBox([*controls.values(), ipywidgets.HBox([compute, stop, bar]), result])
    work = _Work(function, controls, compute, stop, bar, result)
    compute.on_click(lambda _: work.start())
    stop.on_click(lambda _: work.stopping.set())
    box.wait = work.wait
    return box


@dataclass
class _Work:
    """What happens between *Compute* and the result."""

    function: Callable[..., Any]
    controls: dict[str, Any]
    compute: Any
    stop: Any
    bar: Any
    result: Any
    stopping: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def start(self) -> None:
        # Set here, not in the thread: a second click must not start a second computation.
        self.compute.disabled, self.stop.disabled = True, False
        self.bar.value, self.result.value = 0.0, "<p>Computing …</p>"
        self.stopping.clear()
        values = {name: control.value for name, control in self.controls.items()}
        self.thread = threading.Thread(target=self._run, args=(values,), daemon=True)
        self.thread.start()

    def wait(self) -> None:
        if self.thread is not None:
            self.thread.join()

    def _run(self, values: dict[str, Any]) -> None:
        try:
            with listening(self._report):
                shown = _as_html(self.function(**values))
        except Stopped:
            shown = "<p>Stopped. Press <em>Compute</em> to start again.</p>"
        except Exception as error:  # a reader at the controls wants the reason, not a traceback
            shown = _problem(error)
        self.result.value = shown
        self.bar.value = 0.0 if self.stopping.is_set() else 1.0
        self.compute.disabled, self.stop.disabled = False, True

    def _report(self, moment: Moment) -> None:
        if self.stopping.is_set():
            raise Stopped
        done = moment.step / moment.steps
        # A message for every step would cost more than the step.
        if done - self.bar.value >= 0.02 or done == 0:
            self.bar.value = done


def _as_html(shown: Any) -> str:
    if hasattr(shown, "_repr_html_"):
        return str(shown._repr_html_())
    return f"<pre>{html.escape(str(shown))}</pre>"


def _problem(error: Exception) -> str:
    reason = str(error) or type(error).__name__
    return (
        f'<div class="syre-verdict" data-ok="false">Cannot be computed: {html.escape(reason)}</div>'
    )
