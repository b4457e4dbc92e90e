"""The slider holds all that it shows, and needs no kernel."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from syre_helpers import plots
from syre_helpers.interactive import FrameSlider


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
    assert (tags["input"]["min"], tags["input"]["max"], tags["input"]["value"]) == ("0", "2", "1")
    assert tags["input"]["aria-valuetext"] == "5", "the middle one comes first"
    assert page.index('<label data-low="0" data-high="10">Height <input') < page.index("</label>")
    assert tags["img"]["class"] == "syre-figure dark-light"
    assert tags["img"]["alt"] == words(5)
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


def test_caption_stands_below_the_slider_with_its_number():
    page = slider(caption="The line follows the slider.", number=2)._repr_html_()
    figure = Tags(page).found["figure"]
    assert figure["id"] == "figure-2"
    assert page.endswith(
        "</div><figcaption><b>Figure 2.</b> The line follows the slider.</figcaption></figure>"
    )


def test_one_alt_text_for_all_gets_the_value_added():
    tags = Tags(slider(alt="A line that goes up.")._repr_html_()).found
    assert tags["img"]["alt"] == "A line that goes up. Height: 5."


def test_label_is_escaped():
    page = slider(label="a < b")._repr_html_()
    assert ">a &lt; b <input" in page
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


SEEN = """
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
const out = [];
%s
document.body.textContent = 'RESULT' + JSON.stringify(out) + 'END';
"""


@pytest.fixture
def in_browser(tmp_path):
    """What a script notes in `out` on a page with the same slider twice."""
    if BROWSER is None:
        pytest.skip("no Chromium to move the slider in")

    def run(script, **options):
        page = slider(**options)._repr_html_()
        file = tmp_path / "page.html"
        scripted = f"<body>{page}{page}<script>{SEEN % script}</script>"
        file.write_text(f"<!doctype html><meta charset=utf-8>{scripted}", "utf-8")
        done = subprocess.run(
            [
                BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
                f"--user-data-dir={tmp_path / 'profile'}", file.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
        text = done.stdout.partition("RESULT")[2].partition("END")[0]
        return json.loads(text.replace("&amp;", "&"))

    return run


def test_slider_moves_in_a_browser_also_when_shown_twice(in_browser):
    start, moved, other, back = in_browser(
        """
        out.push(seen(first));
        move(first, 2); out.push(seen(first), seen(second));
        move(first, 1); out.push(seen(first));
        """,
        start=5,
    )
    assert start[:2] == [words(5), "5"]
    assert moved[:2] == [words(10), "10"]
    assert moved[3:] == ["10", words(10)]
    assert moved[2] != start[2]
    assert other == start  # the second one stays
    assert back[:3] == start[:3]


def test_the_button_plays_from_here_to_the_end_and_again_from_the_first(in_browser):
    played = in_browser(
        """
        let tick, stopped = 0;
        window.setInterval = (step) => { tick = step; return 7; };
        window.clearInterval = (timer) => { stopped += timer === 7; };
        const button = first.querySelector('button');
        const note = () => out.push([...seen(first), button.textContent, stopped]);
        button.click(); note();
        tick(); note();
        tick(); note();
        button.click(); note();
        button.click(); note();
        """
    )
    texts, spoken, buttons, stopped = ([one[k] for one in played] for k in (1, 4, 5, 6))
    assert texts == ["5", "10", "10", "0", "0"]
    assert buttons == ["Pause", "Pause", "Play", "Pause", "Play"]
    assert stopped == [0, 0, 1, 1, 2]
    assert spoken == ["", "", words(10), words(10), words(0)], "not at every frame"
