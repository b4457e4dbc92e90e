"""The panel computes where a kernel runs, stops when asked to, and never shows a traceback."""

from __future__ import annotations

import ipywidgets
import pandas as pd
import pytest
import torch

import syre_helpers as sh
from syre_helpers import plots
from syre_helpers.interactive import panel


def shown_panel(function, **controls):
    """Return its buttons, bar and result, and a function that computes to the end."""
    box = panel(function, **controls)
    *_, row, result = box.children
    compute, stop, bar = row.children

    def run(meanwhile=lambda: None):
        compute.click()
        meanwhile()
        box.wait()
        return result.value

    return compute, stop, bar, result, run


def pressed(function, **controls):
    compute, stop, bar, result, run = shown_panel(function, **controls)
    assert "Compute" in result.value
    run()
    assert (compute.disabled, stop.disabled, bar.value) == (False, True, 1.0)
    return result.value


def figure(height):
    fig, ax = plots.subplots(size=(4, 2))
    ax.axhline(height)
    return fig


def test_panel_shows_what_the_function_returns():
    steps = ipywidgets.IntSlider(3, 0, 10)
    assert pressed(lambda steps: steps * 2, steps=steps) == "<pre>6</pre>"
    assert steps.description == "steps"
    assert "<img" in pressed(
        lambda steps: plots.Picture(figure(steps), "A line that is level."), steps=steps
    )
    assert "<table" in pressed(lambda steps: pd.DataFrame({"a": [steps]}), steps=steps)
    assert pressed(lambda steps: "<b>", steps=steps) == "<pre>&lt;b&gt;</pre>"


def test_panel_follows_its_controls():
    number = ipywidgets.FloatText(1.0, description="A number")
    *_, run = shown_panel(lambda number: number, number=number)
    for value in (2.0, 3.0):
        number.value = value
        assert run() == f"<pre>{value}</pre>"
    assert number.description == "A number"


def test_panel_turns_an_exception_into_a_sentence():
    def fail(x):
        raise ValueError(f"x={x} must be <positive>; raise it")

    shown = pressed(fail, x=ipywidgets.IntText(-1))
    assert 'data-ok="false"' in shown
    assert "x=-1 must be &lt;positive&gt;; raise it" in shown
    assert "Traceback" not in shown

    def silent(x):
        raise KeyError

    assert "KeyError" in pressed(silent, x=ipywidgets.IntText(1))


def test_panel_is_busy_while_it_computes():
    seen = []
    compute, stop, _, result, run = shown_panel(
        lambda x: seen.append((compute.disabled, stop.disabled, result.value)),
        x=ipywidgets.IntText(1),
    )
    run()
    assert seen == [(True, False, "<p>Computing …</p>")]


def train(steps):
    x = torch.linspace(-1, 1, 16).reshape(-1, 1)
    table = sh.fit(
        torch.nn.Linear(1, 1), (x, 3 * x), steps=steps, loss=torch.nn.functional.mse_loss,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.5),
    )  # fmt: skip
    return table.step.max()


def test_panel_shows_how_far_training_has_come(capsys):
    _, _, bar, _, run = shown_panel(train, steps=ipywidgets.IntText(100))
    seen = []
    bar.observe(lambda change: seen.append(change["new"]), "value")
    assert run() == "<pre>100</pre>"
    assert len(seen) >= 20
    assert seen == sorted(seen)
    assert capsys.readouterr().err == "", "no bar of its own"


def test_panel_stops_in_mid_run_and_starts_again():
    steps = ipywidgets.IntText(10_000_000)
    compute, stop, bar, _, run = shown_panel(train, steps=steps)
    shown = run(stop.click)
    assert "Stopped" in shown
    assert "Traceback" not in shown
    assert (compute.disabled, stop.disabled, bar.value) == (False, True, 0.0)
    steps.value = 5
    assert run() == "<pre>5</pre>"


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: panel(3, x=ipywidgets.IntText(1)), TypeError, "function=3 cannot be called"),
        (lambda: panel(print), ValueError, "a control for each argument"),
        (lambda: panel(print, x=3), TypeError, "x=3 is no ipywidgets control"),
        (lambda: panel(print, x=ipywidgets.Layout()), TypeError, "no ipywidgets control"),
    ],
)
def test_panel_names_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
