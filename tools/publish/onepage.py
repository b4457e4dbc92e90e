"""Put the pages of the built site together as one document, to be printed.

Each page keeps its text, its figures and its formulas; what belongs to a screen is left out. Links
between pages become links inside the document. The code that draws is left out, as it is folded
away on the site; hints are opened where they stand; solutions come after the last page.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urldefrag, urlparse

import yaml
from bs4 import BeautifulSoup, Tag

from tools.build import templates

SCREEN = (
    ".headerlink, .syre-meaning, .syre-slider input, .syre-slider [role=status], "
    ".syre-pdf, noscript, script, button"
)
# Attributes that name a place on the page.
PLACES = ("id", "for", "aria-describedby", "aria-labelledby")
SOLUTIONS = "solutions"


class Part(NamedTuple):
    """A part of the book: its title, empty for the first, and its pages, as `book/intro`."""

    title: str
    pages: list[str]


def parts(toc: Path) -> list[Part]:
    """Return the parts that a table of contents lists."""
    listed = yaml.safe_load(toc.read_text())
    return [
        Part("", [listed["root"]]),
        *(
            Part(part["caption"], [page["file"] for page in part["chapters"]])
            for part in listed["parts"]
        ),
    ]


def document(listed: list[Part], load: Callable[[str], str], cover: str, style: str) -> str:
    """Return one document of all pages, as HTML.

    Parameters
    ----------
    listed : list of Part
        The parts, in reading order.
    load : callable
        ``load(page)`` returns the HTML of a page.
    cover, style : str
        HTML for the first page; a style sheet that comes after the site's own.

    Returns
    -------
    str
        The document: cover, contents, the pages by their parts, and the solutions last.
    """
    known = [page for part in listed for page in part.pages]
    solutions: list[str] = []

    def printed(page: str) -> dict[str, object]:
        article = one(BeautifulSoup(load(page), "html.parser"), "article")
        title = one(article, "h1").get_text().rstrip("#")
        simplify(article)
        relocate(article, page, known)
        solutions.extend(take_solutions(article, title))
        lower(article)
        article.name = "div"
        article.attrs = {"class": "print-page", "id": key_of(page)}
        return {"key": key_of(page), "title": title, "body": article}

    shown = [
        {"key": key_of(part.title), "title": part.title, "pages": [*map(printed, part.pages)]}
        for part in listed
    ]
    head = sheets(load, known[0]) + mathjax(load, known)
    return templates.render(
        "print.html.j2",
        head=head,
        style=style,
        cover=cover,
        parts=shown,
        solutions="".join(solutions),
    )


def sheets(load: Callable[[str], str], page: str) -> str:
    """Return the title and the style sheets of a page."""
    soup = BeautifulSoup(load(page), "html.parser")
    links = soup.select('link[rel="stylesheet"]')
    for link in links:
        link["href"] = moved(str(link["href"]), page)
    return "".join(map(str, [one(soup, "title"), *links]))


def mathjax(load: Callable[[str], str], pages: list[str]) -> str:
    """Return the scripts that set formulas, as the first page with formulas has them."""
    for page in pages:
        soup = BeautifulSoup(load(page), "html.parser")
        # On paper all formulas are set at once: nobody waits for the page to answer.
        scripts = [
            script
            for script in soup.select("script")
            if "mathjax" in str(script).lower() and "pageReady" not in str(script)
        ]
        for script in scripts:
            if script.get("src"):
                script["src"] = moved(str(script["src"]), page)
        if scripts:
            return "".join(map(str, scripts))
    return ""


def one(within: Tag, selector: str) -> Tag:
    """Return the first element that fits; there must be one."""
    found = within.select_one(selector)
    if found is None:
        raise ValueError(f"no {selector} in {str(within)[:200]!r}")
    return found


def key_of(name: str) -> str:
    """Return the name of a page's, or a part's, place in the document."""
    return re.sub(r"\W+", "-", name.removeprefix("book/").lower()).strip("-")


def simplify(article: Tag) -> None:
    """Leave out what belongs to a screen, and unfold what a reader of paper wants to see."""
    for element in article.select(SCREEN):
        element.decompose()
    for element in article.select("[data-frames]"):
        del element["data-frames"]
    for folded in article.select(".tag_hide-input details.hide"):
        folded.decompose()
    for hint in article.select("details:not([class])"):
        hint["open"] = ""


def relocate(article: Tag, page: str, known: list[str]) -> None:
    """Make a page's places and links those of the one document that it becomes a part of."""
    for name in PLACES:
        for element in article.select(f"[{name}]"):
            element[name] = f"{key_of(page)}--{element[name]}"
    for link in article.select("a[href]"):
        target = destination(str(link["href"]), page, known)
        if target:
            link["href"] = target
        else:
            # A file to download is not on paper.
            link.unwrap()
    for name in ("src", "srcset"):
        for picture in article.select(f"[{name}]"):
            if not str(picture[name]).startswith("data:"):
                picture[name] = moved(str(picture[name]), page)


def destination(target: str, page: str, known: list[str]) -> str:
    """Return the target of a link in the document: a place in it, another host, or none."""
    if urlparse(target).scheme:
        return target
    path, place = urldefrag(target)
    to = moved(path, page).removesuffix(".html") if path else page
    if to not in known:
        return ""
    return f"#{key_of(to)}" + (f"--{place}" if place else "")


def moved(path: str, page: str) -> str:
    """Return a path that a page names, as seen from the top of the site."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), path))


def take_solutions(article: Tag, title: str) -> list[str]:
    """Move the folded solutions out of a page; return them as HTML, under its title."""
    found: dict[str, str] = {}
    for cell in article.select(".tag_hide-cell"):
        section, code = cell.find_parent("section"), one(cell, ".cell_input")
        if section is None:
            raise ValueError(f"{title}: a folded cell stands in no section")
        place = str(section["id"])
        here = f"{SOLUTIONS}--{place}"
        name = one(section, "h2, h3, h4").get_text()
        found.setdefault(place, f'<h4 id="{here}"><a href="#{place}">{html.escape(name)}</a></h4>')
        found[place] += str(code)
        note = (
            f'<p class="print-note">The <a href="#{here}">solution</a> is at '
            "the end of the book.</p>"
        )
        # What the check says while nobody has answered yet.
        for answer in cell.find_previous_siblings(class_="cell", limit=1):
            for said in answer.select(".cell_output"):
                said.decompose()
        cell.replace_with(BeautifulSoup(note, "html.parser"))
    heading = f"<h3>{html.escape(title)}</h3>"
    return [heading, *found.values()] if found else []


def lower(article: Tag) -> None:
    """Put each heading one level lower: the highest belongs to the parts of the book."""
    for element in article.select("h1, h2, h3, h4, h5"):
        element.name = f"h{int(element.name[1]) + 1}"
