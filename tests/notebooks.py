"""The notebooks of the book, for the tests that read or run them."""

import nbformat
import pytest

from tools.build.chapters import BOOK
from tools.build.links import SETUP_TAG

NOTEBOOKS = sorted(f for f in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in f.parts)
each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda f: str(f.relative_to(BOOK)))


def code_cells(file):
    """Return a notebook's cells of code, without the one that installs the package."""
    cells = nbformat.read(file, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    return [cell for cell in code if SETUP_TAG not in cell.metadata.get("tags", [])]


def prose(file):
    """Return the Markdown of a notebook as one text."""
    cells = nbformat.read(file, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
