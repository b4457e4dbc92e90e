"""The slider holds all that it shows and needs no kernel; the panel never shows a traceback."""

from __future__ import annotations

import base64
import json
import os
import shutil
from html.parser import HTMLParser

import ipywidgets
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

import syre_helpers as sh
from syre_helpers import plots
from syre_helpers.interactive import FrameSlider, panel


def draw(height):
    fig, ax = plots.subplots(size=(4, 2))
    ax.axhline(height, color="#056fac", linewidth=6)
    ax.set_ylim(-1, 11)
    return fig


def words(height):
    return f'A line at the height of "{height}" & no other.'


def slider(values=(0, 5, 10), **options):
    return FrameSlider(draw, values, **{"label": "Height", "alt": words, **options})


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.open = {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        assert tag not in self.found, "one of each"
        self.found[tag] = dict(attrs)
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# ---- what the page is given -------------------------------------------------------------------


def test_html_is_balanced_labelled_and_self_contained():
    page = slider()._repr_html_()
    parsed = Tags(page)
    assert parsed.open == []
    tags = parsed.found
    assert tags["input"]["type"] == "range"
    assert (tags["input"]["min"], tags["input"]["max"], tags["input"]["value"]) == ("0", "2", "0")
    assert tags["input"]["aria-valuetext"] == "0"
    assert page.index("<label>Height <input") < page.index("</label>")
    assert tags["img"]["class"] == "syre-figure dark-light"
    assert tags["img"]["alt"] == words(0)
    assert (tags["img"]["width"], tags["img"]["height"]) == ("400", "200")
    assert tags["span"]["role"] == "status"
    assert "JavaScript" in page[page.index("<noscript>") :]
    for outside in ("http:", "https:", "//cdn", "<script", " id="):
        assert outside not in page


def test_frames_hold_every_picture_with_its_words_but_the_first_only_once():
    tags = Tags(slider(format=lambda v: f"{v} cm", start=5)._repr_html_()).found
    frames = json.loads(tags["div"]["data-frames"])
    assert [(alt, text) for _, alt, text in frames] == [
        (words(0), "0 cm"), (words(5), "5 cm"), (words(10), "10 cm"),
    ]  # fmt: skip
    addresses = [
        tags["img"]["src"] if k == 1 else address for k, (address, *_) in enumerate(frames)
    ]
    assert frames[1][0] == ""
    assert len(set(addresses)) == 3
    for address in addresses:
        assert base64.b64decode(address.partition(",")[2]).startswith(b"\x89PNG")
    assert tags["input"]["value"] == "1"


def test_same_figure_gives_the_same_page():
    assert slider()._repr_html_() == slider()._repr_html_()


def test_one_alt_text_for_all_gets_the_value_added():
    tags = Tags(slider(alt="A line that goes up.")._repr_html_()).found
    assert tags["img"]["alt"] == "A line that goes up. Height: 0."


def test_label_is_escaped():
    page = slider(label="a < b")._repr_html_()
    assert "<label>a &lt; b <input" in page
    assert repr(slider()) == "FrameSlider('Height', 3 frames)"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"values": [1]}, ValueError, "values has 1 entries.*at least 2"),
        ({"values": range(61)}, ValueError, "values has 61 entries.*at most 60"),
        ({"label": " "}, ValueError, "label is empty"),
        ({"start": 7}, ValueError, "start=7 is not among"),
        ({"alt": "short"}, None, None),
        ({"alt": lambda v: "short"}, ValueError, "alt='short'"),
    ],
)
def test_bad_input_is_named(options, error, text):
    if error is None:  # the label and the value make a sentence of it
        slider(alt="The curve is seen as it moves.")
        return
    with pytest.raises(error, match=text):
        slider(**options)


def test_draw_must_return_figures_of_one_size():
    with pytest.raises(TypeError, match="must be a matplotlib Figure, got NoneType"):
        FrameSlider(lambda v: None, [1, 2], label="x", alt=words)
    with pytest.raises(TypeError, match="got Axes"):
        FrameSlider(lambda v: draw(v).axes[0], [1, 2], label="x", alt=words)
    with pytest.raises(ValueError, match="different sizes"):
        FrameSlider(lambda v: Figure(figsize=(v, 2)), [3, 4], label="x", alt=words)


# ---- in a browser ------------------------------------------------------------------------------

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to move the slider in")
def test_slider_moves_in_a_browser_also_when_shown_twice(tmp_path):
    import subprocess

    page = slider(start=5)._repr_html_()
    moves = """
    const [first, second] = document.querySelectorAll('.syre-slider');
    const seen = root => [
      root.querySelector('img').alt, root.querySelector('output').value,
      root.querySelector('img').src,
      root.querySelector('input').getAttribute('aria-valuetext'),
      root.querySelector('[role=status]').textContent];
    const move = (root, place) => {
      const input = root.querySelector('input');
      input.value = place;
      input.dispatchEvent(new Event('input', {bubbles: true}));
    };
    const out = [seen(first)];
    move(first, 2); out.push(seen(first), seen(second));
    move(first, 1); out.push(seen(first));
    document.body.textContent = 'RESULT' + JSON.stringify(out) + 'END';
    """
    file = tmp_path / "page.html"
    file.write_text(
        f"<!doctype html><meta charset=utf-8><body>{page}{page}<script>{moves}</script>", "utf-8"
    )
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
            f"--user-data-dir={tmp_path / 'profile'}", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    text = done.stdout.partition("RESULT")[2].partition("END")[0].replace("&amp;", "&")
    start, moved, other, back = json.loads(text)
    assert start[:2] == [words(5), "5"]
    assert moved[:2] == [words(10), "10"]
    assert moved[3:] == ["10", words(10)]
    assert moved[2] != start[2]
    assert other == start  # the second one stays
    assert back[:3] == start[:3]


# ---- with a kernel -----------------------------------------------------------------------------


def pressed(function, **controls):
    box = panel(function, **controls)
    *_, row, result = box.children
    compute, stop, bar = row.children
    assert "Compute" in result.value
    compute.click()
    box.wait()
    assert (compute.disabled, stop.disabled, bar.value) == (False, True, 1.0)
    return result.value


def test_panel_shows_what_the_function_returns():
    steps = ipywidgets.IntSlider(3, 0, 10)
    assert pressed(lambda steps: steps * 2, steps=steps) == "<pre>6</pre>"
    assert steps.description == "steps"
    assert "<img" in pressed(lambda steps: plots.Picture(draw(steps), words(steps)), steps=steps)
    assert "<table" in pressed(lambda steps: pd.DataFrame({"a": [steps]}), steps=steps)
    assert pressed(lambda steps: "<b>", steps=steps) == "<pre>&lt;b&gt;</pre>"


def test_panel_follows_its_controls():
    number = ipywidgets.FloatText(1.0, description="A number")
    box = panel(lambda number: number, number=number)
    *_, row, result = box.children
    for value in (2.0, 3.0):
        number.value = value
        row.children[0].click()
        box.wait()
        assert result.value == f"<pre>{value}</pre>"
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
    box = panel(
        lambda x: seen.append((compute.disabled, stop.disabled, result.value)),
        x=ipywidgets.IntText(1),
    )
    *_, row, result = box.children
    compute, stop, _ = row.children
    compute.click()
    box.wait()
    assert seen == [(True, False, "<p>Computing …</p>")]


def train(steps):
    x = torch.linspace(-1, 1, 16).reshape(-1, 1)
    table = sh.fit(
        torch.nn.Linear(1, 1), (x, 3 * x), steps=steps, loss=torch.nn.functional.mse_loss,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.5),
    )  # fmt: skip
    return table.step.max()


def test_panel_shows_how_far_training_has_come(capsys):
    box = panel(train, steps=ipywidgets.IntText(100))
    *_, row, result = box.children
    seen = []
    row.children[2].observe(lambda change: seen.append(change["new"]), "value")
    row.children[0].click()
    box.wait()
    assert result.value == "<pre>100</pre>"
    assert len(seen) >= 20
    assert seen == sorted(seen)
    assert capsys.readouterr().err == "", "no bar of its own"


def test_panel_stops_in_mid_run_and_starts_again():
    steps = ipywidgets.IntText(10_000_000)
    box = panel(train, steps=steps)
    *_, row, result = box.children
    compute, stop, bar = row.children
    compute.click()
    stop.click()
    box.wait()
    assert "Stopped" in result.value
    assert "Traceback" not in result.value
    assert (compute.disabled, stop.disabled, bar.value) == (False, True, 0.0)
    steps.value = 5
    compute.click()
    box.wait()
    assert result.value == "<pre>5</pre>"


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
