"""The notebooks and pages of the book, for the tests that read or run them."""

import re

import nbformat
import pytest

from tools.build.chapters import BOOK

NOTEBOOKS = sorted(f for f in BOOK.rglob("*.ipynb") if ".ipynb_checkpoints" not in f.parts)
each_notebook = pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda f: str(f.relative_to(BOOK)))


def code_cells(file):
    """Return a notebook's cells of code, without the one that installs the package."""
    cells = nbformat.read(file, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and "%pip" not in cell.source]


def run_blocks(page, namespace):
    """Run all blocks of Python of a page, in order; return how many there are."""
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number}", "exec"), namespace)
    return len(blocks)
