"""How the built pages are laid out: on a screen, on a phone and on paper.

`make browse ONLY=trap/permutation` runs these too; `pytest -rP` prints the share of code.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tools.site_checks import browser
from tools.site_checks.pages import CHAPTERS, PAGES, PHONE, address

SCREEN = {"width": 1440, "height": 900}
# A sheet of A4 between margins of a centimetre.
SHEET = {"width": 718, "height": 1047}
# Screens before the first figure and the first slider, and the share of code of a page's height.
FIRST_FIGURE, FIRST_SLIDER, MOST_CODE = 2, 5, 0.25
# What is wider than its place: kind, first words, widths, and whether it says that it scrolls.
WIDER = """() => {
  const article = document.querySelector('.bd-article'), found = [];
  const {left, right} = article.getBoundingClientRect();
  const outside = (e) => {
    const box = e.getBoundingClientRect();
    return box.right > right + 1 || box.left < left - 1;
  };
  const scrolls = (box) =>
    box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== 'visible';
  const parts = 'table, pre, .syre-verdict, mjx-container[display]';
  for (const part of article.querySelectorAll(parts)) {
    if (!part.checkVisibility()) continue;
    let box = part;
    while (box !== article && !scrolls(box)) box = box.parentElement;
    if (box === article && ![part, ...part.children].some(outside)) continue;
    found.push({
      kind: part.localName, words: part.textContent.trim().slice(0, 40),
      says: getComputedStyle(box, '::after').content.includes('scroll'),
      verdicts: part.querySelector('.syre-word') !== null,
    });
  }
  return found;
}"""
SHARES = """() => {
  const article = document.querySelector('.bd-article');
  const seen = (selector) =>
    [...article.querySelectorAll(selector)].filter((e) => e.checkVisibility());
  const place = (e) => (e.getBoundingClientRect().top + scrollY) / innerHeight;
  const top = (selector) => Math.min(...seen(selector).map(place));
  const code = seen('div.highlight').filter((e) => !e.closest('.cell_output'));
  const height = code.reduce((sum, e) => sum + e.getBoundingClientRect().height, 0);
  return {
    figure: top('img.syre-figure'), slider: top('.syre-slider input'),
    code: height / article.getBoundingClientRect().height,
  };
}"""
# Marks that begin a line, though they end a formula.
LONE = """() => [...document.querySelectorAll('.bd-article span.math')].filter((formula) => {
  const text = formula.nextSibling;
  if (text?.nodeType !== Node.TEXT_NODE || !/^[.,;:!?)]/.test(text.data)) return false;
  const mark = document.createRange();
  mark.setStart(text, 0);
  mark.setEnd(text, 1);
  return mark.getBoundingClientRect().left < formula.getBoundingClientRect().right - 2;
}).map((formula) => formula.parentElement.textContent.slice(0, 60))"""
ALL = "div.cell { content-visibility: visible !important }"

Open = Callable[..., Any]
Look = Callable[[str], "Looks"]


@pytest.fixture
def show(opened: tuple[Any, str]) -> Any:
    """A function that opens a page in a window of some size."""
    chromium, site = opened
    contexts = []

    def tab(where: str, size: dict[str, int], **options: Any) -> Any:
        context = chromium.new_context(viewport=size, color_scheme="light", **options)
        contexts.append(context)
        made = context.new_page()
        browser.show(made, where if where.startswith("http") else address(site, where))
        return made

    yield tab
    for context in contexts:
        context.close()


@dataclass
class Looks:
    """What was measured of a page: on a screen, on a phone and on paper."""

    shares: dict[str, float]
    cut: dict[str, list[dict[str, Any]]]
    lone: list[str]


@pytest.fixture(scope="session")
def look(opened: tuple[Any, str]) -> Callable[[str], Looks]:
    """Return a function that measures a page, once."""
    chromium, site = opened

    @functools.cache
    def measure(page: str) -> Looks:
        context = chromium.new_context(viewport=SCREEN, color_scheme="light")
        tab = context.new_page()
        browser.show(tab, address(site, page))
        # Else what is far from the window has no size yet.
        tab.add_style_tag(content=ALL)
        tab.wait_for_timeout(300)
        found = Looks(tab.evaluate(SHARES), {"screen": tab.evaluate(WIDER)}, [])
        for medium, size in {"phone": PHONE, "paper": SHEET}.items():
            tab.set_viewport_size(size)
            tab.emulate_media(media="print" if medium == "paper" else "screen")
            tab.wait_for_timeout(300)
            found.cut[medium] = tab.evaluate(WIDER)
            if medium == "phone":
                found.lone = tab.evaluate(LONE)
        context.close()
        return found

    return measure


@pytest.mark.parametrize("page", CHAPTERS)
def test_shows_a_figure_and_a_slider_soon(page: str, look: Look) -> None:
    found = look(page).shares
    print(f"{page}: first figure {found['figure']:.1f}, slider {found['slider']:.1f} screens")
    assert found["figure"] <= FIRST_FIGURE
    # Not every chapter has one: then this is infinite.
    assert found["slider"] == math.inf or found["slider"] <= FIRST_SLIDER


@pytest.mark.parametrize("page", CHAPTERS)
def test_is_no_listing(page: str, look: Look) -> None:
    found = look(page).shares
    print(f"{page}: {found['code']:.0%} of the height is code")
    assert found["code"] <= MOST_CODE


@pytest.mark.parametrize("page", PAGES)
def test_no_table_is_cut_on_a_screen(page: str, look: Look) -> None:
    cut = look(page).cut["screen"]
    assert not [part for part in cut if part["kind"] != "pre" or not part["says"]]


@pytest.mark.parametrize("page", PAGES)
def test_what_scrolls_on_a_phone_says_so_and_verdicts_do_not(page: str, look: Look) -> None:
    cut = look(page).cut["phone"]
    assert not [part for part in cut if not part["says"] or part["verdicts"]]


@pytest.mark.parametrize("page", PAGES)
def test_no_line_begins_with_the_mark_that_ends_a_formula(page: str, look: Look) -> None:
    assert not look(page).lone


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_cut_on_paper(page: str, look: Look) -> None:
    assert not look(page).cut["paper"]


@pytest.mark.parametrize("sheet", ["A4", "Letter"])
@pytest.mark.parametrize(
    ("page", "below"),
    [("reference/cheat-sheet", ""), ("reference/decision-rule", "#by-what-you-see")],
)
def test_a_page_that_is_said_to_be_one_is_one(
    page: str, below: str, sheet: str, show: Open
) -> None:
    tab = show(page, SHEET)
    if below:  # what follows the chart begins on a page of its own
        rest = f"section{below}, section{below} ~ section {{ display: none !important }}"
        tab.add_style_tag(content=rest)
    margin = dict.fromkeys(("top", "bottom", "left", "right"), "12mm")
    printed = tab.pdf(format=sheet, margin=margin)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1


@pytest.mark.parametrize("page", CHAPTERS[:1])
def test_a_figure_enlarges_by_keyboard_and_by_finger(page: str, show: Open) -> None:
    tab = show(page, PHONE, has_touch=True, is_mobile=True)
    small = tab.locator("img.syre-figure").first
    large = tab.locator("dialog.syre-enlarged img")
    more = tab.locator("button.syre-enlarge").first
    more.focus()
    tab.keyboard.press("Enter")
    assert large.is_visible()
    assert large.get_attribute("alt") == small.get_attribute("alt")
    assert large.bounding_box()["width"] > 1.3 * small.bounding_box()["width"]
    assert tab.locator("dialog.syre-enlarged").get_attribute("aria-label")
    tab.keyboard.press("Escape")
    assert not large.is_visible()
    assert tab.evaluate("document.activeElement.className") == "syre-enlarge"
    small.tap()
    assert large.is_visible()
    tab.get_by_role("button", name="Close").tap()
    assert not large.is_visible()


def test_a_link_to_a_figure_or_an_equation_shows_it(show: Open) -> None:
    links = 'a.reference:is([href^="#figure-"], [href^="#equation-"])'
    tabs = (show(page, SCREEN) for page in CHAPTERS)
    tab = next(tab for tab in tabs if tab.query_selector(links))
    # From the keyboard, as the browser sees it: a script's focus counts after a key.
    tab.keyboard.press("Shift")
    tab.query_selector(links).focus()
    assert tab.query_selector(".syre-preview :is(img, mjx-container)").is_visible()
    tab.keyboard.press("Escape")
    assert not tab.query_selector(".syre-preview").is_visible()


@pytest.mark.parametrize("page", ["genindex", "404", "search"])
def test_other_pages_fit_on_a_phone(page: str, show: Open, opened: tuple[Any, str]) -> None:
    tab = show(f"{opened[1]}{page}.html", PHONE, is_mobile=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_without_motion_the_front_page_offers_to_play(show: Open) -> None:
    tab = show("intro", SCREEN)
    tab.emulate_media(reduced_motion="reduce", color_scheme="light")
    tab.reload()
    button = tab.locator(".syre-landing button")
    assert button.inner_text() == "Play"
    button.click()
    assert button.inner_text() == "Pause"
    source = tab.locator(".syre-landing img").evaluate("i => i.src")
    assert source.endswith("landing.webp")
