"""A small book for the tests of the tools: its notebooks, and what an execution leaves behind.

The tools work in folders named by `tools.build.chapters`; the fixture `book` points those at a
folder of the test's own.
"""

import json
import os
import subprocess
import sys

import nbformat

from tools.build import chapters, execute, files

KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
PLACEHOLDER = "https://github.com/OWNER/syre-book"
REAL = "https://github.com/someone/their-book"


def notebook(*cells):
    """Return a notebook: strings are Markdown, pairs are code with its tags."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": KERNELSPEC, "syre": {}})
    for number, cell in enumerate(cells):
        if isinstance(cell, str):
            made.cells.append(nbformat.v4.new_markdown_cell(cell, id=f"cell-{number}"))
        else:
            source, *tags = cell
            node = nbformat.v4.new_code_cell(source, id=f"cell-{number}")
            node.metadata["tags"] = tags
            made.cells.append(node)
    return made


def save(name, made):
    nbformat.write(made, chapters.BOOK / f"{name}.ipynb")


def executed(name, text="42\n", **extra):
    """Write what an execution of a chapter would have left behind."""
    source, target, record_file = execute.paths(name)
    done = nbformat.read(source, as_version=4)
    for cell in done.cells:
        if cell.cell_type == "code":
            cell.execution_count = 1
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    record = {
        "key": execute.key(done),
        "package": {k: v for k, v in execute.package_hashes().items() if k.endswith("__init__.py")},
        "seconds": 12.34,
        "peak_mb": 456.7,
        "stderr": [],
        "date": "2026-01-02",
        "machine": execute.machine(),
    } | extra
    files.write(target, nbformat.writes(done))
    files.write(record_file, json.dumps(record))


def execute_really(name):
    """Execute a chapter with the test's folders, in another process, as the tool does."""
    program = (
        "import sys, pathlib\nfrom tools.build import chapters, execute\n"
        f"root = pathlib.Path({str(chapters.ROOT)!r})\n"
        "chapters.ROOT, chapters.BOOK, chapters.PACKAGE = root, root/'book', root/'syre_helpers'\n"
        "chapters.BUILD, chapters.EXECUTED = root/'_build', root/'_build'/'executed'\n"
        f"sys.exit(execute.run_here({name!r}))\n"
    )
    path = os.pathsep.join([str(chapters.ROOT), str(execute.TOP)])
    return subprocess.run(
        [sys.executable, "-c", program],
        env=execute.environment() | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
