"""Generated pages and parts of pages, from the Jinja templates in `tools/templates/`."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parents[1] / "templates"
# Markdown, not HTML: nothing is escaped. A name that a template lacks is an error.
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def render(name: str, **values: object) -> str:
    """Return the text of a template, filled with values."""
    return _ENVIRONMENT.get_template(name).render(values)
