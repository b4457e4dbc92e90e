"""A Sphinx extension: the first use of a word of the glossary, on each page, shows its meaning.

Notebooks are plain Markdown, so that they read well in Colab and on GitHub too; the words are found
here. Each becomes a link to the glossary, and the page gets its meaning, which `_static/terms.js`
shows on hover and on keyboard focus. A word that its author marked, by the role `term`, counts as
the first use when it comes first. Nothing is fetched, so this also works from a folder.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from docutils import nodes
from sphinx import addnodes
from sphinx.util.nodes import make_refnode

# No link is made inside these.
SKIPPED = (
    *(nodes.title, nodes.reference, nodes.literal, nodes.literal_block),
    *(nodes.math, nodes.math_block, nodes.caption, nodes.raw, nodes.comment),
    *(nodes.table, nodes.citation, addnodes.desc, addnodes.glossary),
)
BANNER = "syre-banner"
MARKED = "std-term"
# On the document: the meanings that its page needs.
MEANINGS = "syre_meanings"


class Word(NamedTuple):
    """A word of the glossary: its page, the place there, and what it says."""

    page: str
    place: str
    meaning: str
    has_formula: bool


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    glossary: dict[str, Word] = {}

    def mark_page(app: Any, document: nodes.document, page: str) -> None:
        if not glossary:
            glossary.update(read(app))
        mark(app, document, page, glossary)

    app.connect("env-get-outdated", outdated)
    app.connect("doctree-resolved", mark_page)
    app.connect("html-page-context", add_meanings)
    app.add_js_file("terms.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def outdated(
    _app: Any, env: Any, _added: set[str], changed: set[str], _removed: set[str]
) -> Iterable[str]:
    """Return the pages to make again: all, when a page that explains words has changed."""
    explaining = {page for page, _ in places(env).values()}
    return env.found_docs if explaining & changed else []


def places(env: Any) -> dict[str, tuple[str, str]]:
    """Return the page and the place of each word of the glossary."""
    known = env.get_domain("std").objects
    return {name: place for (kind, name), place in known.items() if kind == "term"}


def read(app: Any) -> dict[str, Word]:
    """Return the words of the glossary."""
    found = {}
    documents: dict[str, nodes.document] = {}
    for name, (page, place) in places(app.env).items():
        if page not in documents:
            documents[page] = app.env.get_doctree(page)
        term = documents[page].ids[place]
        position = term.parent.first_child_matching_class(nodes.definition)
        definition = term.parent[position].deepcopy()
        has_formula = bool(list(definition.findall(nodes.math)))
        text = app.builder.render_partial(plain(definition))["fragment"]
        found[name] = Word(page, place, inner(text), has_formula)
    return found


def plain(definition: nodes.Element) -> nodes.Element:
    """Return a definition without links: nobody could follow one in something that floats."""
    for link in list(definition.findall(addnodes.pending_xref)):
        # A citation's text is its key, which tells a reader nothing.
        kept = [] if link.get("refdomain") == "cite" else link.children
        link.parent.replace(link, [node.deepcopy() for node in kept])
    return definition


def inner(fragment: str) -> str:
    """Return the content of the outermost element, without the tags of its paragraphs."""
    body = re.sub(r"^\s*<dd>|</dd>\s*$", "", fragment)
    body = re.sub(r"</p>\s*<p>", "<br>", body.strip())
    body = re.sub(r"</?p>", "", body)
    return re.sub(r"\s+([.,;:])", r"\1", body)


def pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Return an expression that finds any of the words, in singular and plural, longest first."""
    forms = sorted({f for n in names for f in (n, *inflected(n))}, key=len)
    either = "|".join(re.escape(form).replace(r"\ ", r"\s+") for form in reversed(forms))
    return re.compile(rf"(?<![\w-])(?:{either})(?![\w-])", re.IGNORECASE)


def inflected(name: str) -> list[str]:
    """Return a word's other number: saddles for saddle, and duplicate unit for duplicate units."""
    if name.endswith("ss") or not name.endswith("s"):
        return [name[:-1] + "ies" if name.endswith("y") else name + "s"]
    return [name[:-1]]


def mark(app: Any, document: nodes.document, page: str, glossary: dict[str, Word]) -> None:
    """Link the first use of each word, and note the meanings that the page needs."""
    if not glossary or page in {word.page for word in glossary.values()}:
        return
    by_form = {form: name for name in glossary for form in (name, *inflected(name))}
    by_form = {form.lower(): name for form, name in by_form.items()}
    by_place = {word.place: name for name, word in glossary.items()}
    finder = pattern(glossary)
    used: dict[str, Word] = {}
    folds = 0  # that are open here: a reader may leave them closed, so no first use is in them
    for text in list(document.findall(nodes.Text)):
        if isinstance(text.parent, nodes.raw):
            folds += text.count("<details") - text.count("</details")
        marked = by_authors(text)
        if marked is not None:
            place = marked.get("refuri", "").rpartition("#")[2]
            if place in by_place:
                used[by_place[place]] = glossary[by_place[place]]
        elif not folds and is_prose(text):
            parts = list(split(text.astext(), finder, by_form, used, glossary))
            if any(name for _, name in parts):
                linked = [
                    reference(app, page, part, glossary[name]) if name else nodes.Text(part)
                    for part, name in parts
                ]
                text.parent.replace(text, linked)
    if any(word.has_formula for word in used.values()):
        # Else a page without formulas of its own would come without MathJax.
        app.env.get_domain("math").data["has_equations"][page] = True
    document[MEANINGS] = "".join(meaning(name, word) for name, word in sorted(used.items()))


def by_authors(text: nodes.Text) -> nodes.reference | None:
    """Return the link that the role `term` made around a text, if there is one."""
    box = text.parent
    link = box.parent if box is not None else None
    named = isinstance(box, nodes.inline) and MARKED in box["classes"]
    return link if named and isinstance(link, nodes.reference) else None


def is_prose(text: nodes.Text) -> bool:
    """Test whether a text may hold a link: in a paragraph, not in a heading, a link or code."""
    node = text.parent
    in_paragraph = False
    while node is not None:
        if isinstance(node, SKIPPED) or BANNER in node.get("classes", []):
            return False
        in_paragraph = in_paragraph or isinstance(node, nodes.paragraph)
        node = node.parent
    return in_paragraph


def split(
    text: str,
    finder: re.Pattern[str],
    by_form: dict[str, str],
    used: dict[str, Word],
    glossary: dict[str, Word],
) -> Iterator[tuple[str, str]]:
    """Cut a text at the words that were not used before; yield each part with its word, or ""."""
    start = 0
    for found in finder.finditer(text):
        name = by_form[" ".join(found[0].lower().split())]
        if name in used:
            continue
        used[name] = glossary[name]
        if found.start() > start:
            yield text[start : found.start()], ""
        yield found[0], name
        start = found.end()
    if start < len(text):
        yield text[start:], ""


def reference(app: Any, page: str, text: str, word: Word) -> nodes.reference:
    """Return a link to the glossary that looks as the role `term` makes it."""
    shown = nodes.inline("", text, classes=["xref", "std", MARKED])
    return make_refnode(app.builder, page, word.page, word.place, shown)


def meaning(name: str, word: Word) -> str:
    """Return the note that floats beside the word."""
    return (
        f'<div class="syre-meaning" role="tooltip" id="about-{word.place}" hidden>'
        f"<strong>{html.escape(name)}</strong> {word.meaning}</div>\n"
    )


def add_meanings(
    _app: Any, _page: str, _template: str, context: dict[str, Any], document: Any
) -> None:
    """Put the meanings at the end of a page."""
    if document is not None and "body" in context:
        context["body"] += document.get(MEANINGS, "")
