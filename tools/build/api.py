"""The reference of the library: a table of its public names, and a page for each, by autosummary.

`part` writes the tables into the page; Sphinx's autosummary reads them and makes a page per name
from the templates in `tools/templates/autosummary/`. As a Sphinx extension this module leaves out
what has no words of its own.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from tools.build import chapters, execute, files, templates

# Where autosummary puts its pages, beside the page that lists them.
FOLDER = "reference/api"


class Section(NamedTuple):
    """A module: its name as users write it, its first paragraph, its names and its constants.

    `tables` has, for each prefix under which names are called, their full paths.
    """

    title: str
    summary: str
    tables: dict[str, list[str]]
    constants: dict[str, str]


def part(_names: list[str]) -> str:
    """Return the tables, from the last time where the package is still the same."""
    read = [file.read_bytes() for file in (Path(__file__), templates.FOLDER / "api.md.j2")]
    key = files.digest(*read, *execute.package_hashes().values())
    # Importing the package costs seconds, most of what a build with nothing to do may take.
    return files.kept(chapters.BUILD / "api.json", key, tables)


def tables() -> str:
    """Return a table for each module of the package, with a line for each public name."""
    return templates.render("api.md.j2", sections=sections())


def is_listed(page: Path) -> bool:
    """Test whether autosummary made a page for a name that the table still has."""
    table = page.parent.with_suffix(".md")
    return table.match(f"{FOLDER}.md") and f"~{page.stem}\n" in table.read_text()


def sections() -> list[Section]:
    """Return the package's public modules, each public name under the shortest path that it has."""
    package = importlib.import_module(chapters.PACKAGE.name)
    prefix = package.__name__
    values = {name: getattr(package, name) for name in public(package)}
    modules = {name: value for name, value in values.items() if inspect.ismodule(value)}
    exported: dict[str, list[str]] = defaultdict(list)
    for name in values.keys() - modules.keys():
        exported[values[name].__module__.split(".")[1]].append(f"{prefix}.{name}")
    seen = {id(value) for value in values.values()}
    found = []
    for room in sorted(modules.keys() | exported.keys()):
        module = modules.get(room) or importlib.import_module(f"{prefix}.{room}")
        found += described(f"{prefix}.{room}", module, {f"{prefix}.": exported[room]}, seen)
    return found


def described(
    path: str, module: ModuleType, tables: dict[str, list[str]], seen: set[int]
) -> list[Section]:
    """Return a module as a section, and after it the modules that it exports itself."""
    constants: dict[str, str] = {}
    below: list[Section] = []
    own: list[str] = []
    for name in public(module):
        value = getattr(module, name)
        if id(value) in seen:
            continue
        seen.add(id(value))
        if inspect.ismodule(value):
            below += described(f"{path}.{name}", value, {}, seen)
        elif inspect.isclass(value) or inspect.isroutine(value):
            own.append(f"{path}.{name}")
        else:
            constants[f"{path}.{name}"] = textwrap.shorten(repr(value), 80)
    tables = {p: sorted(n, key=str.lower) for p, n in (tables | {f"{path}.": own}).items() if n}
    summary = (inspect.getdoc(module) or "").split("\n\n")[0]
    here = [Section(path, summary, tables, constants)] if tables or constants else []
    return here + below


def public(module: ModuleType) -> list[str]:
    """Return a module's public names: those of `__all__`, else what it defines itself."""
    listed = getattr(module, "__all__", None)
    if listed is None:
        own = [
            n for n, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__
        ]
        listed = [name for name in own if not name.startswith("_")]
    return list(listed)


def setup(app: Any) -> dict[str, bool]:
    """Register the extension."""
    app.connect("autodoc-skip-member", without_words)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def without_words(
    _app: Any, _what: str, _name: str, value: object, _skip: bool, _options: Any
) -> bool | None:
    """Leave out the fields of named tuples, which the class describes itself."""
    return True if type(value).__name__ == "_tuplegetter" else None
