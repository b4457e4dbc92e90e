"""Open every built page in headless Chromium and look at what a reader would meet.

`python browse.py [trap/permutation ...]` prints a line a page and returns 1 when something is
wrong: a request to another host, an error in the console, a slider that does not change its
picture (by mouse or by keyboard), an image without words, a page wider than a phone, a page that is
too heavy or that responds too late, a formula that is not set, a word of the glossary that does not
tell its meaning, a link that leads nowhere inside the book, or, in light or dark mode, a violation
of axe-core's rules that is not in the baseline (what the theme itself does wrong).
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlparse

from tools.build import chapters
from tools.site_checks import browser

BASELINE = Path(__file__).with_name("axe_baseline.json")
# What a page may weigh beyond the files that all pages share.
HEAVIEST = 1_500_000
PHONE = {"width": 390, "height": 844}
# A page of prose and code: how soon a chapter responds is told in multiples of it.
PLAIN = "book/reference/five-minutes.html"
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


def main() -> int:
    """Read the command line, open the pages, and say what was found."""
    parser = argparse.ArgumentParser(description="Look at the built pages.")
    parser.add_argument("names", nargs="*", help="pages; all when left out")
    options = parser.parse_args()
    pages = sorted(
        str(f.relative_to(chapters.HTML)) for f in (chapters.HTML / "book").rglob("*.html")
    )
    wanted = [p for p in pages if not options.names or any(n in p for n in options.names)]
    if not wanted:
        print("No page is there: `make book` first.")
        return 1
    executed = {f"book/{name}.html" for name in chapters.chapters()}
    wrong = 0
    with browser.opened(chapters.HTML) as (chromium, site):
        for page in wanted:
            problems, facts = look(chromium, site, page)
            if page in executed:
                slow, times = pace(chromium, site, page)
                problems, facts = problems + slow, f"{facts}, {times}"
            wrong += bool(problems)
            print(f"{page}: {facts}", *problems, sep="\n    ", flush=True)
    print(f"{len(wanted) - wrong} of {len(wanted)} pages are as they should be")
    return 1 if wrong else 0


def look(chromium: Any, site: str, page: str) -> tuple[list[str], str]:
    """Return what is wrong with a page, and facts about it."""
    problems: list[str] = []
    weight = 0

    def count(response: Any) -> None:
        nonlocal weight
        shared = "/_static/" in response.url or "searchindex" in response.url
        if not shared and response.url.startswith(site):
            # First the size: other answers are counted while this one is fetched.
            size = len(response.body())
            weight += size

    for mode in ("light", "dark"):
        context = chromium.new_context(color_scheme=mode)
        tab = context.new_page()
        listen(tab, site, problems)
        if mode == "light":
            tab.on("response", count)
        browser.show(tab, site + page)
        # Only colours differ between the modes.
        rules = [] if mode == "light" else ["color-contrast"]
        problems += [f"{mode}: {p}" for p in accessible(tab, rules)]
        if mode == "light":
            sliders = tab.query_selector_all("input[type=range]")
            for number, slider in enumerate(sliders):
                problems += moved(slider, number)
            problems += [*formulas(tab), *meanings(tab), *words(tab)]
            problems += links(tab, site)
            tab.set_viewport_size(PHONE)
            wide = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
            problems += [f"{wide} px wider than a phone"] if wide > 0 else []
        context.close()
    if weight > HEAVIEST:
        problems.append(f"{weight / 1e6:.1f} MB to load")
    return problems, f"{weight / 1e3:.0f} KB, {len(sliders)} sliders"


def pace(chromium: Any, site: str, page: str) -> tuple[list[str], str]:
    """Return whether a page responds too late, and how soon it does, beside a plain page."""
    times: dict[str, list[float]] = {PLAIN: [], page: []}
    # In turns, so that whatever else the machine does slows both down; each time as a reader who
    # comes to the book with this page, and has nothing of it in the cache.
    for _ in range(VISITS):
        for target, taken in times.items():
            context = chromium.new_context()
            tab = context.new_page()
            tab.add_init_script(RESPOND)
            tab.goto(site + target, wait_until="commit")
            answer = tab.wait_for_function("window.responded", polling=20)
            taken.append(answer.json_value())
            context.close()
    plain, here = (median(taken) for taken in times.values())
    ratio = here / plain
    slow = [f"responds {ratio:.2f} times as late as a plain page"]
    facts = f"responds in {here:.0f} ms, {ratio:.2f} of a plain page"
    return slow if ratio > SLOWEST else [], facts


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
    tab.on("request", lambda r: problems.extend(elsewhere(r.url, site)))


def elsewhere(url: str, site: str) -> list[str]:
    """Return a complaint about a request that leaves the site."""
    inside = url.startswith((site, "data:", "blob:"))
    return [] if inside else [f"asks another host: {url}"]


def moved(slider: Any, number: int) -> list[str]:
    """Return what is wrong with a slider: each end and the next step must change the picture."""
    figure = slider.evaluate_handle("i => i.closest('.syre-slider')").as_element()
    image = figure.query_selector("img")
    start = slider.input_value()
    problems = []
    slider.focus()
    first = image.screenshot()
    ends = [slider.get_attribute("min"), slider.get_attribute("max")]
    slider.press("ArrowRight" if start != ends[1] else "ArrowLeft")
    if slider.input_value() == start:
        problems.append(f"slider {number}: the keyboard does not move it")
    for end in ends:
        slider.evaluate(MOVE, end)
        if end != start and image.screenshot() == first:
            problems.append(f"slider {number}: position {end} looks the same")
    slider.evaluate(MOVE, start)
    if image.screenshot() != first:
        problems.append(f"slider {number}: the start does not come back")
    return problems


def formulas(tab: Any) -> list[str]:
    """Return a complaint about formulas that are still in the letters of TeX."""
    number = tab.eval_on_selector_all(
        ".math", "l => l.filter(m => !m.querySelector('mjx-container')).length"
    )
    return [f"{number} formulas are not set"] if number else []


def meanings(tab: Any) -> list[str]:
    """Return what is wrong with the words of the glossary: each shows its meaning on focus."""
    problems = []
    for link in tab.query_selector_all("a.syre-term"):
        about = tab.query_selector(f"#{link.get_attribute('aria-describedby')}")
        # From the keyboard, as the browser sees it: a script's focus counts after a key.
        tab.keyboard.press("Shift")
        link.focus()
        if not about.is_visible():
            problems.append(f"no meaning on focus: {link.inner_text()}")
        tab.keyboard.press("Escape")
        if about.is_visible():
            problems.append(f"Escape does not hide: {link.inner_text()}")
    return problems


def words(tab: Any) -> list[str]:
    """Return complaints about images without alternative text."""
    sources = tab.eval_on_selector_all(
        "img:not([alt]), img[alt='']", "l => l.map(i => i.src.slice(0, 60))"
    )
    return [f"an image without words: {source}" for source in sources]


def links(tab: Any, site: str) -> list[str]:
    """Return the links that lead nowhere inside the site."""
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
    """Say whether a page has a place of this name."""
    return f'id="{unquote(anchor)}"' in text_of(file)


def accessible(tab: Any, rules: list[str]) -> list[str]:
    """Return axe-core's violations, of some rules or all, that are not the theme's."""
    from axe_playwright_python.sync_playwright import Axe

    known = {tuple(pair) for pair in json.loads(BASELINE.read_text())}
    options = {"runOnly": rules} if rules else {}
    found = Axe().run(tab, options=options).response["violations"]
    return [
        f"axe: {v['id']}: {node['target'][0]}"
        for v in found
        for node in v["nodes"]
        if not any(v["id"] == i and s in node["html"] for i, s in known)
        and not (v["id"] == "empty-table-header" and formula(tab, node))
    ]


def formula(tab: Any, node: dict[str, Any]) -> bool:
    """Say whether an element holds a formula, in the MathML that axe-core does not read."""
    return tab.query_selector(f"{node['target'][0]} math") is not None


if __name__ == "__main__":
    sys.exit(main())
