"""Put together what Sphinx reads, in `_build/source/`.

That is a copy of `book/` with the executed notebooks in place of the stripped ones, a banner after
each chapter's title, and the parts of pages that are generated: timings and the list of public
names. Files that stay the same are not touched, so that Sphinx only reads what changed.
"""

from __future__ import annotations

import ast
import re
from datetime import date

import nbformat

from tools.build import api, chapters, cost_curves, execute, files, links, statements, templates

SKIPPED = {".ipynb_checkpoints", "__pycache__"}
# A page that holds this line gets its generated part there.
MARK = "<!-- generated -->"
# The front page holds this one, and gets the figure of the cell with this tag.
OPENING, OPENING_TAG = "<!-- opening figure -->", "opening-figure"
WIDGET = "application/vnd.jupyter.widget-view+json"
# pandas writes the names of an index in a row of its own, below the columns.
_TWO_HEADERS = re.compile(
    r"<thead>\s*<tr[^>]*>(.*?)</tr>\s*<tr[^>]*>(.*?)</tr>\s*</thead>", re.DOTALL
)
_CELLS = re.compile(r"<th[^>]*>(.*?)</th>", re.DOTALL)
# An empty corner, of a table of pandas or of its styler, is no heading.
_NO_HEADING = re.compile(r"<th[^>]*>(?:&nbsp;)?</th>")
_IMAGE = re.compile(r"<img [^>]*>")
NO_KERNEL = (
    '<p class="syre-note">Here Jupyter, Colab and Binder show a panel of controls that trains '
    "anew with your own settings. This page has no kernel to do so.</p>"
)


def assemble(names: list[str]) -> None:
    """Write `_build/source/`; `names` are the chapters."""
    generated = {
        "intro.md": download,
        "reference/timings.md": timings,
        "reference/api.md": api.part,
        "reference/laptop-to-cluster.md": cost_curves.part,
    }
    copied = {chapters.SOURCE / top: chapters.ROOT / top for top in ("_config.yml", "_toc.yml")}
    for file in templates.FOLDER.glob("autosummary/*"):
        copied[chapters.SOURCE / "tools" / "templates" / "autosummary" / file.name] = file
    results = chapters.ROOT / "results"
    for file in [
        *results.glob("*.[cj]s*"),
        *results.glob("cuda/*.[cj]s*"),
    ]:  # which the ledger offers
        copied[chapters.SOURCE / "results" / file.relative_to(results)] = file
    for target, file in copied.items():
        files.write(target, file.read_bytes())
    wanted = set(copied)
    for file in sorted(chapters.BOOK.rglob("*")):
        relative = file.relative_to(chapters.BOOK)
        if file.is_dir() or SKIPPED & set(relative.parts) or file.name.startswith("."):
            continue
        target = chapters.SOURCE / "book" / relative
        wanted.add(target)
        name = str(relative.with_suffix(""))
        if name in names and file.suffix == ".ipynb":
            files.write(target, chapter(name))
        elif str(relative) in generated:
            part = generated[str(relative)](names)
            text = file.read_text().replace(MARK, part)
            files.write(target, text.replace(OPENING, opening(names)))
        else:
            files.write(target, file.read_bytes())
    for old in chapters.SOURCE.rglob("*"):
        if old.is_file() and old not in wanted and not api.is_listed(old):
            old.unlink()


def chapter(name: str) -> str:
    """Return a chapter's notebook as the site shows it."""
    source, executed, _ = execute.paths(name)
    notebook = nbformat.read(source, as_version=4)
    record = execute.load_record(name)
    if record:
        merge(notebook, nbformat.read(executed, as_version=4))
    for cell in notebook.cells:
        if cell.cell_type == "code" and is_imports(cell.source):
            # A reader at the top of a page wants what it is about.
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
            cell.metadata["mystnb"] = {
                "code_prompt_show": "Show the imports",
                "code_prompt_hide": "Hide the imports",
            }
        if cell.source.startswith("# Solution"):
            cell.metadata["mystnb"] = {
                "code_prompt_show": "Show the solution",
                "code_prompt_hide": "Hide the solution",
            }
        if cell.cell_type == "markdown":
            cell.source = statements.boxed(cell.source)
    text = banner(name, notebook.metadata.get("syre", {}), record, chapters.address())
    # A fixed id, so that the file is the same each time.
    cell = nbformat.v4.new_markdown_cell(text, id="banner")
    notebook.cells.insert(1, cell)
    return nbformat.writes(notebook) + "\n"


def is_imports(source: str) -> bool:
    """Test whether a cell of code only imports."""
    try:
        lines = ast.parse(source).body
    except SyntaxError:  # a line that is IPython's own
        return False
    return bool(lines) and all(isinstance(line, ast.Import | ast.ImportFrom) for line in lines)


def merge(notebook: nbformat.NotebookNode, executed: nbformat.NotebookNode) -> None:
    """Put the outputs of an execution into a notebook whose code cells are the same, in order."""
    ours = [cell for cell in notebook.cells if cell.cell_type == "code"]
    theirs = [cell for cell in executed.cells if cell.cell_type == "code"]
    for cell, done in zip(ours, theirs, strict=True):
        cell.outputs = [readable(output) for output in done.outputs]
        cell.execution_count = done.execution_count


def readable(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return an output as a page without a kernel, and a screen reader, can use it."""
    data = output.get("data", {})
    # A panel of widgets would be dead, so a note says where it lives.
    if WIDGET in data:
        return nbformat.v4.new_output("display_data", {"text/html": NO_KERNEL})
    if "text/html" in data:
        html = _TWO_HEADERS.sub(one_header, data["text/html"])
        data["text/html"] = _NO_HEADING.sub("<td></td>", html)
    return output


def one_header(found: re.Match[str]) -> str:
    """Return the head of a table of pandas with the index's names in the row of the columns."""
    columns, names = (
        ["" if cell == "&nbsp;" else cell for cell in _CELLS.findall(row)] for row in found.groups()
    )
    depth = sum(1 for name in names if name)
    if len(columns) != len(names) or any(names[depth:]) or any(columns[: depth - 1]) or not depth:
        return found[0]  # columns of several levels
    corner = " \\ ".join(word for word in (names[depth - 1], columns[depth - 1]) if word)
    cells = [*names[: depth - 1], corner, *columns[depth:]]
    return "<thead><tr>" + "".join(f"<th>{cell}</th>" for cell in cells) + "</tr></thead>"


def banner(name: str, facts: dict, record: execute.Record | None, url: str) -> str:
    """Return the line under a chapter's title: time, memory, data, and where to open it."""
    path = f"book/{name}.ipynb"
    addresses = {"Colab": links.colab(url, path), "Binder": links.binder(url, path)}
    shown = addresses if chapters.is_published(url) else {}
    return templates.render("banner.md.j2", facts=facts, record=record, links=shown)


def title(name: str) -> str:
    """Return a chapter's title: the first heading of its first cell."""
    first = nbformat.read(execute.paths(name)[0], as_version=4).cells[0].source
    return first.splitlines()[0].lstrip("# ").strip()


def timings(names: list[str]) -> str:
    """Return the table of what each chapter took, and on what machine."""
    records = {name: execute.load_record(name) for name in names}
    rows = [(name, title(name), record) for name, record in records.items() if record]
    machines = {tuple(record["machine"].items()) for *_, record in rows}
    return templates.render(
        "timings.md.j2", rows=rows, machines=[dict(m) for m in sorted(machines)]
    )


def opening(names: list[str]) -> str:
    """Return the figure that the book opens with, from the chapter that draws it, if executed."""
    for name in filter(execute.load_record, names):
        notebook = nbformat.read(execute.paths(name)[1], as_version=4)
        for cell in notebook.cells:
            if OPENING_TAG in cell.metadata.get("tags", []):
                # Without its caption: the front page has words of its own.
                return _IMAGE.findall(cell.outputs[-1].data["text/html"])[0]
    return ""


def download(_names: list[str]) -> str:
    """Return the link to the book as a PDF, where it was printed."""
    if not chapters.PDF.exists():
        return ""
    facts = chapters.PDF.stat()
    return templates.render(
        "pdf_link.md.j2",
        file=chapters.PDF.name,
        megabytes=facts.st_size / 1e6,
        printed=f"{date.fromtimestamp(facts.st_mtime):%d %B %Y}".lstrip("0"),
    )
