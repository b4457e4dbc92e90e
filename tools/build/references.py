r"""A Sphinx extension: "Figure 2" and "equation (1)" in the text are links to what they name.

Notebooks are plain Markdown, so that they read well in Colab and on GitHub too. A figure has the
number that its cell gives it, an equation the one of its `\tag`. "Figure 2 of", before a link to
another chapter, leads to the figure there; before anything else, it is somebody else's figure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from docutils import nodes
from sphinx import addnodes

# No link is made inside these.
SKIPPED = (
    *(nodes.title, nodes.reference, nodes.literal, nodes.literal_block),
    *(nodes.math, nodes.math_block, nodes.raw, nodes.comment, addnodes.desc),
)
TAG = re.compile(r"\\tag\{(\d+)\}")
_MORE = r"(?:,\s+|,?\s+and\s+|\s+to\s+)"
_MENTION = re.compile(
    rf"\b(?:Figure\s+\d+|Figures\s+\d+(?:{_MORE}\d+)+"
    rf"|[Ee]quation\s+\(\d+\)|[Ee]quations\s+\(\d+\)(?:{_MORE}\(\d+\))+)"
)
_NUMBER = re.compile(r"\(?(\d+)\)?")
OF = re.compile(r"\s+of\s+")
_FIGURE = re.compile(r'id="(figure-\d+)"')


class Mention(NamedTuple):
    """A place in a text that names a figure or an equation."""

    start: int
    end: int
    place: str
    """The name of what is meant, as `figure-2`."""
    after: str
    """The text behind it, and behind the others that are named with it."""


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    app.connect("doctree-resolved", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def mentions(text: str) -> Iterator[Mention]:
    """Yield what a text names: a single one by all its words, several by their numbers."""
    for found in _MENTION.finditer(text):
        kind = "figure" if found[0].startswith("Figure") else "equation"
        numbers = list(_NUMBER.finditer(text, found.start(), found.end()))
        for number in numbers:
            start = found.start() if len(numbers) == 1 else number.start()
            yield Mention(start, number.end(), f"{kind}-{number[1]}", text[found.end() :])


def link(_app: Any, document: nodes.document, _page: str) -> None:
    """Give numbered equations their places, and link what the text names."""
    known = {
        place for raw in document.findall(nodes.raw) for place in _FIGURE.findall(raw.astext())
    }
    known.update(filter(None, map(anchor, document.findall(nodes.math_block))))
    for text in whole_texts(document):
        if is_prose(text):
            parts = linked(text, known)
            if len(parts) > 1 or isinstance(parts[0], nodes.reference):
                text.parent.replace(text, parts)


def whole_texts(document: nodes.document) -> list[nodes.Text]:
    """Return a document's texts, after those that only the end of a line parts are put together."""
    for parent in {id(text.parent): text.parent for text in document.findall(nodes.Text)}.values():
        joined: list[nodes.Node] = []
        for node in parent.children:
            if joined and isinstance(node, nodes.Text) and isinstance(joined[-1], nodes.Text):
                node = nodes.Text(joined.pop() + node)
            joined.append(node)
        parent[:] = joined
    return list(document.findall(nodes.Text))


def anchor(equation: nodes.math_block) -> str:
    """Give an equation with a number its place; return that, or "" where it has no number."""
    number = TAG.search(equation.astext())
    if not number:
        return ""
    place = f"equation-{number[1]}"
    equation["ids"].append(place)
    if not equation["nowrap"]:
        # Sphinx would put several lines into an environment that may hold no number.
        equation["nowrap"] = True
        equation[:] = [nodes.Text(rf"\[{equation.astext()}\]")]
    return place


def is_prose(text: nodes.Text) -> bool:
    """Test whether a text may hold a link: not in a heading, a link, a formula or code."""
    node = text.parent
    while node is not None and not isinstance(node, SKIPPED):
        node = node.parent
    return node is None


def linked(text: nodes.Text, known: set[str]) -> list[nodes.Node]:
    """Return a text in parts, of which those that name something are links."""
    words, start = text.astext(), 0
    parts: list[nodes.Node] = []
    for mention in mentions(words):
        page = page_after(text) if OF.fullmatch(mention.after) else ""
        if not page and (OF.match(mention.after) or mention.place not in known):
            continue
        parts.append(nodes.Text(words[start : mention.start]))
        shown = words[mention.start : mention.end]
        parts.append(nodes.reference("", shown, refuri=f"{page}#{mention.place}", internal=True))
        start = mention.end
    parts.append(nodes.Text(words[start:]))
    return [part for part in parts if part.astext()] or [text]


def page_after(text: nodes.Text) -> str:
    """Return the address of the page of the book that the link behind a text leads to, or ""."""
    siblings = text.parent.children
    # By identity: two texts may be equal.
    (place,) = (i for i, node in enumerate(siblings) if node is text)
    after = siblings[place + 1].findall(nodes.reference) if siblings[place + 1 :] else iter(())
    reference = next(after, None)
    if reference is None or not reference.get("internal"):
        return ""
    return str(reference.get("refuri", "")).partition("#")[0]
