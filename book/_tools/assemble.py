"""Put together what Sphinx reads, in `_build/source/`.

That is a copy of `book/` with the executed notebooks in place of the stripped ones, a banner after
each chapter's title, and the parts of pages that are generated: timings and the list of public
names. Files that stay the same are not touched, so that Sphinx only reads what changed.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections import defaultdict
from datetime import date
from types import ModuleType

import nbformat

import chapters
import cost_curves
import execute
import links

SKIPPED = {"_tools", ".ipynb_checkpoints", "__pycache__"}
# A page that holds this line gets its generated part there.
MARK = "<!-- generated -->"
WIDGET = "application/vnd.jupyter.widget-view+json"
NO_KERNEL = (
    '<p class="syre-note">Here Jupyter, Colab and Binder show a panel of controls that trains '
    "anew with your own settings. This page has no kernel to do so.</p>"
)


def assemble(names: list[str]) -> None:
    """Write `_build/source/`; `names` are the chapters."""
    generated = {
        "intro.md": download,
        "reference/timings.md": timings,
        "reference/api.md": api,
        "reference/laptop-to-cluster.md": cost_curves.part,
    }
    wanted = {chapters.SOURCE / top for top in ("_config.yml", "_toc.yml")}
    for target in wanted:
        chapters.write(target, (chapters.ROOT / target.name).read_bytes())
    for file in sorted(chapters.BOOK.rglob("*")):
        relative = file.relative_to(chapters.BOOK)
        if (
            file.is_dir()
            or SKIPPED & set(relative.parts)
            or file.name.startswith(".")
        ):
            continue
        target = chapters.SOURCE / "book" / relative
        wanted.add(target)
        name = str(relative.with_suffix(""))
        if name in names and file.suffix == ".ipynb":
            chapters.write(target, chapter(name))
        elif str(relative) in generated:
            part = generated[str(relative)](names)
            chapters.write(target, file.read_text().replace(MARK, part))
        else:
            chapters.write(target, file.read_bytes())
    for old in chapters.SOURCE.rglob("*"):
        if old.is_file() and old not in wanted:
            old.unlink()


def chapter(name: str) -> str:
    """Return a chapter's notebook as the site shows it."""
    source, executed, _ = execute.paths(name)
    notebook = nbformat.read(source, as_version=4)
    record = execute.load_record(name)
    if record:
        merge(notebook, nbformat.read(executed, as_version=4))
    text = banner(
        name, notebook.metadata.get("syre", {}), record, chapters.address()
    )
    # A fixed id, so that the file is the same each time.
    cell = nbformat.v4.new_markdown_cell(text, id="banner")
    notebook.cells.insert(1, cell)
    return nbformat.writes(notebook) + "\n"


def merge(
    notebook: nbformat.NotebookNode, executed: nbformat.NotebookNode
) -> None:
    """Put the outputs of an execution into a notebook whose code cells are the same, in order."""
    ours = [cell for cell in notebook.cells if cell.cell_type == "code"]
    theirs = [cell for cell in executed.cells if cell.cell_type == "code"]
    for cell, done in zip(ours, theirs, strict=True):
        cell.outputs = [readable(output) for output in done.outputs]
        cell.execution_count = done.execution_count


def readable(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return an output as a page without a kernel, and a screen reader, can use it.

    A panel of widgets would be dead there, so a note says where it lives. An empty corner of a
    table of pandas is no heading.
    """
    data = output.get("data", {})
    if WIDGET in data:
        return nbformat.v4.new_output("display_data", {"text/html": NO_KERNEL})
    if "text/html" in data:
        data["text/html"] = data["text/html"].replace("<th></th>", "<td></td>")
    return output


def banner(
    name: str, facts: dict, record: execute.Record | None, url: str
) -> str:
    """Return the line under a chapter's title: time, memory, data, and where to open it."""
    if record:
        parts = [
            f"**{record['seconds']:.0f} s** and **{record['peak_mb']:.0f} MB** on two CPU cores"
        ]
        parts += [f"on a GPU: {facts['gpu']}"] if "gpu" in facts else []
    else:
        parts = ["not executed in this build"]
    size = facts.get("download_mb", 0)
    fetched = f"{size} MB to download" if size else "nothing to download"
    parts.append(f"data: {facts.get('data', 'generated')}, {fetched}")
    if chapters.is_published(url):
        path = f"book/{name}.ipynb"
        parts.append(f"[Colab]({links.colab(url, path)})")
        parts.append(f"[Binder]({links.binder(url, path)})")
    return ":::{div} syre-banner\n" + " · ".join(parts) + "\n:::"


def title(name: str) -> str:
    """Return a chapter's title: the first heading of its first cell."""
    first = nbformat.read(execute.paths(name)[0], as_version=4).cells[0].source
    return first.splitlines()[0].lstrip("# ").strip()


def timings(names: list[str]) -> str:
    """Return the table of what each chapter took, and on what machine."""
    records = {name: execute.load_record(name) for name in names}
    done = {name: record for name, record in records.items() if record}
    if not done:
        return "No chapter has been executed in this build."
    lines = [
        "| Chapter | Seconds | Peak memory, MB | Measured |",
        "| --- | ---: | ---: | --- |",
    ]
    for name, record in done.items():
        numbers = f"{record['seconds']:.1f} | {record['peak_mb']:.0f} | {record['date']}"
        lines.append(f"| [{title(name)}](../{name}.ipynb) | {numbers} |")
    total = sum(record["seconds"] for record in done.values())
    lines.append(f"| All {len(done)} | {total:.1f} | | |")
    machines = {tuple(record["machine"].items()) for record in done.values()}
    described = [
        "{cpu}, {cores} cores, {system}; Python {python}, PyTorch {torch}, NumPy {numpy}".format(
            **dict(machine)
        )
        for machine in sorted(machines)
    ]
    return "\n".join([*lines, "", "Machine: " + "; ".join(described) + "."])


def download(_names: list[str]) -> str:
    """Return the link to the book as a PDF, where it was printed."""
    if not chapters.PDF.exists():
        return ""
    facts = chapters.PDF.stat()
    printed = f"{date.fromtimestamp(facts.st_mtime):%d %B %Y}".lstrip("0")
    return (
        f'<p class="syre-pdf"><a href="../{chapters.PDF.name}">The whole book as a PDF</a> '
        f"({facts.st_size / 1e6:.0f} MB, printed from this site on {printed})</p>"
    )


def api(_names: list[str]) -> str:
    """Return what `public_names` does, from the last time where the package is still the same."""
    now = execute.digest(json.dumps(execute.package_hashes()).encode())
    kept = chapters.BUILD / "api.json"
    if kept.exists():
        was, text = json.loads(kept.read_text())
        if was == now:
            return str(text)
    # Importing the package costs seconds, most of what a build with nothing to do may take.
    text = public_names()
    chapters.write(kept, json.dumps([now, text]))
    return text


def public_names() -> str:
    """Return a section for each module of the package, with an entry for each public name."""
    package = importlib.import_module(chapters.PACKAGE.name)
    values = {name: getattr(package, name) for name in package.__all__}
    modules = {
        name: value for name, value in values.items() if inspect.ismodule(value)
    }
    entries: dict[str, list[str]] = defaultdict(list)
    for name, value in values.items():
        if name not in modules:
            entries[value.__module__.split(".")[1]].append(entry(package, name))
    for name, module in modules.items():
        own = [n for n in getattr(module, "__all__", []) if n not in values]
        # Constants have no docstring of their own that Sphinx could show.
        entries[name].extend(
            entry(module, n) for n in own if callable(getattr(module, n))
        )
    sections = []
    for name in sorted(name for name in entries if entries[name]):
        module = modules.get(name) or importlib.import_module(
            f"{package.__name__}.{name}"
        )
        summary = (inspect.getdoc(module) or "").split("\n\n")[0]
        directives = "\n".join(entries[name])
        sections.append(
            f"## {name}\n\n```{{eval-rst}}\n{summary}\n```\n\n```{{eval-rst}}\n{directives}```\n"
        )
    return "\n".join(sections)


def entry(owner: ModuleType, name: str) -> str:
    """Return the directive that documents one public name."""
    value = getattr(owner, name)
    path = f"{owner.__name__}.{name}"
    if inspect.isclass(value):
        return f".. autoclass:: {path}\n   :members:\n"
    return f".. autofunction:: {path}\n"
