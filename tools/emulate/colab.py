"""Run chapters as Colab does: `python -m tools.emulate.colab [trap/permutation ...]`.

Colab has torch, numpy and the like, but not this package, and it opens a notebook in an empty
folder. So each chapter gets an environment with everything that this one has except the package,
an empty folder, and a setup cell that installs the package from a git address: that of a clone of
this repository's last commit. The setup may take a minute, and must leave torch and numpy as they
were.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

import nbformat

from tools.build import chapters, execute, links

SETUP_LIMIT = 60  # seconds
KEPT = ("torch", "numpy")
# Runs in the emulated environment; the notebook's path is the only argument.
RUN = """
import json, sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
print(json.dumps("".join(o.get("text", "") for o in notebook.cells[-1].outputs)))
"""
ASK = """
import importlib.metadata as _m, syre_helpers as _s
print(*[_m.version(n) for n in {kept!r}], _s.__file__, _seconds, sep="\\n")
"""


def main() -> int:
    """Read the command line and run the chapters."""
    options = chapters.parser("Run chapters as Colab does.", jobs=False).parse_args()
    failed = 0
    for name in chapters.select(chapters.chapters(), options.names):
        start = time.perf_counter()
        problem = emulate(name)
        seconds = time.perf_counter() - start
        print(f"{name}: {problem or 'runs'}, {seconds:.0f} s", flush=True)
        failed += bool(problem)
    return 1 if failed else 0


def emulate(name: str) -> str:
    """Run one chapter; return what went wrong, or an empty string."""
    with tempfile.TemporaryDirectory(dir=chapters.BUILD) as folder:
        place = Path(folder)
        repository = place / "repository"
        subprocess.run(["git", "clone", "-q", str(chapters.ROOT), str(repository)], check=True)
        python = environment_without_the_package(place / "colab")
        content = place / "content"
        content.mkdir()
        notebook = as_opened(repository, name)
        nbformat.write(notebook, place / "chapter.ipynb")
        # The package must come from the setup cell, and from nowhere else.
        own = {k: v for k, v in execute.environment().items() if k != "PYTHONPATH"}
        done = subprocess.run(
            [str(python), "-c", RUN, str(place / "chapter.ipynb")],
            cwd=content,
            env=own | {"IPYTHONDIR": str(place / "ipython")},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            return f"FAILED\n{done.stderr.strip()[-3000:]}"
        return judged(json.loads(done.stdout.splitlines()[-1]), place)


def environment_without_the_package(folder: Path) -> Path:
    """Make a copy of this environment's packages, as links; return its Python."""
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    here = Path(sysconfig.get_paths()["purelib"])
    (there,) = folder.glob("lib/python3*/site-packages")
    for item in here.iterdir():
        ours = item.name.startswith(("syre_helpers", "__editable__", "pip"))
        if ours or (there / item.name).exists():
            continue
        if item.is_dir():
            shutil.copytree(item, there / item.name, copy_function=link)
        else:
            link(str(item), str(there / item.name))
    return python


def link(source: str, target: str) -> str:
    """Link a file, or copy it where that cannot be done."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def as_opened(repository: Path, name: str) -> nbformat.NotebookNode:
    """Return a chapter whose setup cell installs from the clone, and that says what it did."""
    notebook = nbformat.read(repository / "book" / f"{name}.ipynb", as_version=4)
    setup = next(c for c in notebook.cells if c.cell_type == "code")
    assert links.SETUP_TAG in setup.metadata["tags"]
    # pip wants a host, even where it is this machine.
    address = f"file://localhost{repository.as_posix()}"
    cell = links.setup_cell(address, notebook.metadata.get("syre", {}).get("extras", ""))
    setup.source = (
        f"import time as _time\n_start = _time.time()\n{cell}\n_seconds = _time.time() - _start"
    )
    assert address in setup.source
    question = nbformat.v4.new_code_cell(ASK.format(kept=KEPT))
    notebook.cells.append(question)
    return notebook


def judged(answer: str, place: Path) -> str:
    """Return the faults in the versions, the package's place, or the time of the setup."""
    *versions, file, seconds = answer.split()
    before = [execute.machine()[name] for name in KEPT]
    if versions != before:
        return f"FAILED: {KEPT} were {before}, the setup made them {versions}"
    if not Path(file).is_relative_to(place / "colab"):
        return f"FAILED: the package came from {file}"
    if float(seconds) > SETUP_LIMIT:
        return f"FAILED: the setup took {float(seconds):.0f} s"
    return ""


if __name__ == "__main__":
    sys.exit(main())
