"""A Sphinx extension: what a page says of itself to search engines and to whoever shares it."""

from __future__ import annotations

from html import escape
from typing import Any

from docutils import nodes

LONGEST = 200
"""Characters of a description at most."""


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def describe(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Add a description and the tags of the Open Graph to the head of a page that has text."""
    text = first_sentences(doctree) if doctree else ""
    if not text:
        return
    tags = {
        "og:type": "website" if page == app.config.root_doc else "article",
        "og:site_name": app.config.html_title or app.config.project,
        "og:title": context.get("pagetitle") or context.get("title", ""),
        "og:description": text,
    }
    # Other extensions may have written tags of their own.
    context["metatags"] = context.get("metatags", "") + "".join(
        f'\n<meta {kind}="{name}" content="{escape(words)}">'
        for kind, name, words in [
            ("name", "description", text),
            *(("property", name, words) for name, words in tags.items()),
        ]
    )


def first_sentences(doctree: nodes.document) -> str:
    """Return the first paragraph of a page, cut after a whole sentence or word."""
    paragraphs = (p.astext() for p in doctree.findall(nodes.paragraph) if plain(p))
    text = next((" ".join(words.split()) for words in paragraphs), "")
    if len(text) <= LONGEST:
        return text
    start = text[:LONGEST]
    end = start.rfind(". ")
    return start[: end + 1] if end > LONGEST // 3 else start.rsplit(" ", 1)[0] + " …"


def plain(paragraph: nodes.paragraph) -> bool:
    """Test whether a paragraph is prose: in the text itself, and without formulas."""
    inside = isinstance(paragraph.parent, (nodes.section, nodes.document))
    return inside and not list(paragraph.findall(nodes.math))
