"""What the other tools share: where things lie, and which chapters there are."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
PACKAGE = ROOT / "syre_helpers"
BUILD = ROOT / "_build"
EXECUTED = BUILD / "executed"
SOURCE = BUILD / "source"
HTML = BUILD / "html"
# Where `make pdf` has been run.
PDF = HTML / "leaving-the-mirror.pdf"


def address() -> str:
    """Return the repository's public address; pyproject.toml is the only place that holds it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["urls"]["Repository"])


def is_published(url: str) -> bool:
    """Test whether an address is a real one, so that links to it may be shown."""
    return "/OWNER/" not in url


def pages(toc: Path) -> list[str]:
    """Return the pages that a table of contents lists, in reading order, without file endings."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.extend(node[key] for key in ("root", "file") if key in node)
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(yaml.safe_load(toc.read_text()))
    return found


def chapters() -> list[str]:
    """Return the chapters that are notebooks, as `trap/permutation`, in reading order."""
    listed = [page.removeprefix("book/") for page in pages(ROOT / "_toc.yml")]
    return [name for name in listed if (BOOK / f"{name}.ipynb").exists()]


def select(names: list[str], wanted: list[str]) -> list[str]:
    """Return the chapters that were asked for, all of them when nothing was."""
    cleaned = [w.removeprefix("book/").removesuffix(".ipynb") for w in wanted]
    unknown = [w for w in cleaned if w not in names]
    if unknown:
        raise SystemExit(
            f"No chapter {', '.join(unknown)} in _toc.yml. There are: {', '.join(names) or 'none'}."
        )
    return [name for name in names if name in cleaned] if cleaned else names


def parser(description: str, *, jobs: bool = True) -> argparse.ArgumentParser:
    """Return the parser of the command line of a tool that takes chapters, some at a time."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("names", nargs="*", help="chapters as trap/permutation; all when left out")
    if jobs:
        made.add_argument("--jobs", type=int, default=2, help="how many at a time")
    return made
