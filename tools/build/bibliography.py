"""A Sphinx extension: the bibliography is listed as the text cites, by author and year."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from string import ascii_lowercase
from typing import Any

from pybtex.database import Entry
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.labels import BaseLabelStyle

NAME = "author-year"


class AuthorYear(BaseLabelStyle):
    """Labels such as "Ziyin et al., 2025", with a letter where two would be the same."""

    def format_labels(self, sorted_entries: Sequence[Entry]) -> Iterator[str]:
        """Yield the label of each entry."""
        plain = [
            f"{authors(entry)}, {entry.fields.get('year', 'n.d.')}" for entry in sorted_entries
        ]
        often, seen = Counter(plain), Counter[str]()
        for label in plain:
            letter = ascii_lowercase[seen[label]] if often[label] > 1 else ""
            seen[label] += 1
            yield label + letter


class AuthorYearStyle(Style):
    """Entries in the order of authors and years."""

    default_sorting_style = "author_year_title"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.format_labels = AuthorYear().format_labels


def authors(entry: Entry) -> str:
    """Return the last names of one or two authors, or of the first of more with "et al."."""
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [" ".join(n.render_as("text") for n in person.rich_last_names) for person in people]
    return f"{names[0]} et al." if len(names) > 2 else " and ".join(names) or entry.key


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    register_plugin("pybtex.style.formatting", NAME, AuthorYearStyle, force=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
