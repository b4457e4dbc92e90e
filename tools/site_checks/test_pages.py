"""Every built page, opened in headless Chromium and looked at as a reader would meet it.

`make browse` runs these tests, for some pages with `ONLY=trap/permutation`. Nothing else collects
them: they need a built site, a Chromium, and the extra `browser`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest

from tools.build import chapters
from tools.site_checks import browser
from tools.site_checks.pages import CHAPTERS, PAGES, PHONE, address

# What the theme itself does wrong: pairs of a rule of axe-core and a part of the element.
BASELINE = json.loads(Path(__file__).with_name("axe_baseline.json").read_text())
# What a page may weigh beyond the files that all pages share.
HEAVIEST = 1_500_000
# A page of prose and code: how soon a chapter responds is told in multiples of it.
PLAIN = "reference/five-minutes"
SLOWEST = 1.5
VISITS = 5
MOVE = """(input, value) => {
  input.value = value; input.dispatchEvent(new Event('input', {bubbles: true}));
}"""
# Runs in each page before its own scripts: when, after the start of the navigation, is the answer
# to a move of the first slider painted? On a page without one: when is anything painted that
# comes after the page's scripts?
RESPOND = """addEventListener('DOMContentLoaded', async () => {
  const slider = document.querySelector('.syre-slider input');
  if (slider) {
    slider.value = slider.value === slider.max ? slider.min : slider.max;
    slider.dispatchEvent(new Event('input', {bubbles: true}));
    await slider.closest('.syre-slider').querySelector('img').decode();
  }
  requestAnimationFrame(() => setTimeout(() => { window.responded = performance.now(); }));
})"""


@dataclass
class Visit:
    """A page that is open, and what happened while it was opened."""

    tab: Any
    site: str
    problems: list[str] = field(default_factory=list)
    weight: int = 0

    def count(self, response: Any) -> None:
        """Add an answer to the page's weight, if it is not a file that all pages share."""
        shared = "/_static/" in response.url or "searchindex" in response.url
        if not shared and response.url.startswith(self.site):
            # First the size: other answers are counted while this one is fetched.
            size = len(response.body())
            self.weight += size


@pytest.fixture(scope="module", params=PAGES)
def visit(request: pytest.FixtureRequest, opened: tuple[Any, str]) -> Iterator[Visit]:
    """A page in light mode, which the tests of one page share."""
    chromium, site = opened
    context = chromium.new_context(color_scheme="light")
    made = Visit(context.new_page(), site)
    listen(made.tab, site, made.problems)
    made.tab.on("response", made.count)
    browser.show(made.tab, address(site, request.param))
    yield made
    context.close()


def test_the_site_is_built() -> None:
    assert PAGES, "No page is there: `make book` first."


def test_asks_no_other_host_and_meets_no_error(visit: Visit) -> None:
    assert not visit.problems


def test_is_light_enough(visit: Visit) -> None:
    assert visit.weight <= HEAVIEST


def test_formulas_are_set(visit: Visit) -> None:
    script = "l => l.filter(m => !m.querySelector('mjx-container')).length"
    assert visit.tab.eval_on_selector_all(".math", script) == 0


def test_every_image_has_words(visit: Visit) -> None:
    script = "l => l.map(i => i.src.slice(0, 60))"
    assert not visit.tab.eval_on_selector_all("img:not([alt]), img[alt='']", script)


def test_links_lead_somewhere(visit: Visit) -> None:
    assert not broken_links(visit)


def test_words_of_the_glossary_tell_their_meaning(visit: Visit) -> None:
    tab = visit.tab
    for link in tab.query_selector_all("a.syre-term"):
        about = tab.query_selector(f"#{link.get_attribute('aria-describedby')}")
        # From the keyboard, as the browser sees it: a script's focus counts after a key.
        tab.keyboard.press("Shift")
        link.focus()
        assert about.is_visible(), f"no meaning on focus: {link.inner_text()}"
        tab.keyboard.press("Escape")
        assert not about.is_visible(), f"Escape does not hide: {link.inner_text()}"


def test_each_slider_changes_its_picture(visit: Visit) -> None:
    """By the keyboard, and at both ends; and the start comes back."""
    for slider in visit.tab.query_selector_all("input[type=range]"):
        figure = slider.evaluate_handle("i => i.closest('.syre-slider')").as_element()
        image = figure.query_selector("img")
        start = slider.input_value()
        slider.focus()
        first = image.screenshot()
        ends = [slider.get_attribute("min"), slider.get_attribute("max")]
        slider.press("ArrowRight" if start != ends[1] else "ArrowLeft")
        assert slider.input_value() != start, "the keyboard does not move it"
        for end in ends:
            slider.evaluate(MOVE, end)
            assert end == start or image.screenshot() != first, f"position {end} looks the same"
        slider.evaluate(MOVE, start)
        assert image.screenshot() == first, "the start does not come back"


def test_has_no_fault_of_accessibility(visit: Visit) -> None:
    assert not violations(visit.tab, [])


def test_has_contrast_in_dark_mode_too(visit: Visit, opened: tuple[Any, str]) -> None:
    """Only colours differ between the modes."""
    context = opened[0].new_context(color_scheme="dark")
    tab = context.new_page()
    problems: list[str] = []
    listen(tab, visit.site, problems)
    browser.show(tab, visit.tab.url)
    found = violations(tab, ["color-contrast"])
    context.close()
    assert not found + problems


def test_fits_on_a_phone(visit: Visit) -> None:
    before = visit.tab.viewport_size
    visit.tab.set_viewport_size(PHONE)
    wider = visit.tab.evaluate("document.documentElement.scrollWidth - innerWidth")
    visit.tab.set_viewport_size(before)
    assert wider <= 0


@pytest.mark.parametrize("page", CHAPTERS)
def test_responds_soon(page: str, opened: tuple[Any, str]) -> None:
    """A chapter answers to its first slider little later than a plain page is painted."""
    chromium, site = opened
    times: dict[str, list[float]] = {PLAIN: [], page: []}
    # In turns, so that whatever else the machine does slows both down; each time as a reader who
    # comes to the book with this page, and has nothing of it in the cache.
    for _ in range(VISITS):
        for target, taken in times.items():
            context = chromium.new_context()
            tab = context.new_page()
            tab.add_init_script(RESPOND)
            tab.goto(address(site, target), wait_until="commit")
            answer = tab.wait_for_function("window.responded", polling=20)
            taken.append(answer.json_value())
            context.close()
    plain, here = (median(taken) for taken in times.values())
    assert here / plain <= SLOWEST, f"{here:.0f} ms, a plain page {plain:.0f} ms"


def listen(tab: Any, site: str, problems: list[str]) -> None:
    """Note errors of scripts, files that are not there, and requests to other hosts."""

    def answered(response: Any) -> None:
        missing = response.status >= 400
        # The theme's style sheet asks for one of these; browsers for the other.
        if missing and not response.url.endswith(("basic.css", "favicon.ico")):
            problems.append(f"not there: {response.url}")

    def spoken(message: Any) -> None:
        # A missing file is named by `answered`.
        if message.type == "error" and "404" not in message.text:
            problems.append(f"console: {message.text}")

    tab.on("console", spoken)
    tab.on("response", answered)
    tab.on("pageerror", lambda e: problems.append(f"script: {e}"))
    tab.on("request", lambda r: problems.extend(leaves(r.url, site)))


def leaves(url: str, site: str) -> list[str]:
    """Return a complaint about a request that leaves the site."""
    inside = url.startswith((site, "data:", "blob:"))
    return [] if inside else [f"asks another host: {url}"]


def broken_links(visit: Visit) -> list[str]:
    """Return the links of a page that lead nowhere inside the site."""
    tab, site = visit.tab, visit.site
    targets = tab.eval_on_selector_all("a[href]", "l => l.map(a => a.getAttribute('href'))")
    problems = []
    for target in sorted(set(targets)):
        address, anchor = urldefrag(urljoin(tab.url, target))
        if not address.startswith(site):
            continue
        file = chapters.HTML / unquote(urlparse(address).path).lstrip("/")
        file = file / "index.html" if file.is_dir() else file
        if not file.exists():
            problems.append(f"a link leads nowhere: {target}")
        elif anchor and file.suffix == ".html" and not has(file, anchor):
            problems.append(f"a link's place is not on its page: {target}")
    return problems


@functools.cache
def text_of(file: Path) -> str:
    """Return a page as it is stored."""
    return file.read_text()


def has(file: Path, anchor: str) -> bool:
    """Test whether a page has a place of this name."""
    return f'id="{unquote(anchor)}"' in text_of(file)


def violations(tab: Any, rules: list[str]) -> list[str]:
    """Return axe-core's violations, of some rules or all, that are not the theme's."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"runOnly": rules} if rules else {}
    found = Axe().run(tab, options=options).response["violations"]
    return [
        f"axe: {v['id']}: {node['target'][0]}"
        for v in found
        for node in v["nodes"]
        if not any(v["id"] == i and s in node["html"] for i, s in BASELINE)
        and not (v["id"] == "empty-table-header" and formula(tab, node))
    ]


def formula(tab: Any, node: dict[str, Any]) -> bool:
    """Test whether an element holds a formula, in the MathML that axe-core does not read."""
    return tab.query_selector(f"{node['target'][0]} math") is not None
