"""A Sphinx extension: no line begins with the comma that ends a formula.

A browser may break a line on both sides of a formula, also before a mark that belongs to it.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes

_BEFORE = re.compile(r"[(\[“]+$")
_AFTER = re.compile(r"[^\s\w(\[“–—=+<>*/]\S*")
TOGETHER = "syre-together"


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    # After the extensions that look for words in the texts.
    app.connect("doctree-resolved", join, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def join(_app: Any, document: nodes.document, _page: str) -> None:
    """Put each formula and the marks that touch it together."""
    for formula in list(document.findall(nodes.math)):
        parent = formula.parent
        place = next(i for i, node in enumerate(parent.children) if node is formula)
        before, after = parent.children[:place], parent.children[place + 1 :]
        head = _take(before, -1, _BEFORE)
        tail = _take(after, 0, _AFTER)
        if head or tail:
            whole = nodes.inline("", "", classes=[TOGETHER])
            whole.extend([*map(nodes.Text, filter(None, [head])), formula])
            whole.extend(map(nodes.Text, filter(None, [tail])))
            parent[:] = [*before, whole, *after]


def _take(nodes_: list[nodes.Node], end: int, pattern: re.Pattern[str]) -> str:
    """Cut off, and return, the marks at one end of the text that stands at one end of a list."""
    if not nodes_ or not isinstance(nodes_[end], nodes.Text):
        return ""
    text = nodes_[end].astext()
    found = pattern.search(text) if end else pattern.match(text)
    if not found:
        return ""
    rest = text[: found.start()] if end else text[found.end() :]
    nodes_[end : end + 1 or None] = [nodes.Text(rest)] if rest else []
    return found[0]
