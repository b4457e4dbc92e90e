"""Execute the chapters that changed.

`python -m tools.build.execute [--jobs 2] [trap/permutation ...]`

Each chapter runs in a process of its own, and the outcome goes to `_build/executed/`: the notebook
with its outputs, and a record of what it was made from, how long it took and how much memory it
needed. A chapter is executed again when its code cells, constraints.txt or a file of the package
that it had loaded has changed; a change in its prose costs nothing.

Every chapter gets one thread, here and under nbval. Sums over many numbers come out differently in
the last digit for another number of threads, and the two executions are compared to the last
digit.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import re
import resource
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date
from pathlib import Path
from typing import Any

import nbformat

from tools.build import chapters, files

THREADS = 1
# Where `python -m tools...` finds this program.
TOP = Path(__file__).resolve().parents[2]
CELL_TIMEOUT = 600  # seconds
ANSI = re.compile(r"\x1b\[[0-9;]*m")
# Asked of the kernel when the chapter is done: which files of the package does it depend on?
LOADED = """
import sys as _sys
print(*sorted({m.__file__ for n, m in _sys.modules.items()
               if n.split(".")[0] == "syre_helpers" and getattr(m, "__file__", None)}), sep="\\n")
"""

Record = dict[str, Any]
_PRINTING = threading.Lock()


def environment() -> dict[str, str]:
    """Return the environment of a kernel that executes a chapter for the book."""
    threads = str(THREADS)
    return os.environ | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        # A page shows the same numbers wherever it was built.
        "SYRE_DEVICE": "cpu",
        # Progress bars are for a reader at work, not for a page.
        "SYRE_PROGRESS": "0",
        # This environment's kernel, and nobody's personal IPython configuration.
        "JUPYTER_PREFER_ENV_PATH": "1",
        "IPYTHONDIR": str(chapters.BUILD / "ipython"),
    }


def key(notebook: nbformat.NotebookNode) -> str:
    """Return a hash of what decides a chapter's outputs, apart from the package."""
    code = [
        [cell.source, sorted(cell.metadata.get("tags", []))]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    return files.digest(
        json.dumps(code).encode(),
        (chapters.ROOT / "constraints.txt").read_bytes(),
        ".".join(platform.python_version_tuple()[:2]).encode(),
    )


def package_hashes() -> dict[str, str]:
    """Return the hash of every file of the package, by its path from the repository's root."""
    sources = sorted(chapters.PACKAGE.rglob("*.py"))
    return {str(f.relative_to(chapters.ROOT)): files.digest(f.read_bytes()) for f in sources}


def paths(name: str) -> tuple[Path, Path, Path]:
    """Return the paths of a chapter's source, executed notebook and record."""
    executed = chapters.EXECUTED / f"{name}.ipynb"
    return (chapters.BOOK / f"{name}.ipynb", executed, executed.with_suffix(".json"))


def load_record(name: str) -> Record | None:
    """Return the record of a chapter's execution, or None where there is none that still holds."""
    source, executed, record_file = paths(name)
    if not (executed.exists() and record_file.exists()):
        return None
    record: Record = json.loads(record_file.read_text())
    if record["key"] != key(nbformat.read(source, as_version=4)):
        return None
    now = package_hashes()
    same = all(now.get(file) == was for file, was in record["package"].items())
    return record if same else None


def run_notebook(notebook: nbformat.NotebookNode, folder: Path, **options: Any) -> None:
    """Execute a notebook in a kernel that works in a folder; its outputs go into the notebook."""
    from nbclient import NotebookClient

    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources=where, **options
    )
    client.execute()


def outputs(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, nbformat.NotebookNode]]:
    """Yield each output of a notebook, after the words that name its cell."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, 1):
        for output in cell.outputs:
            yield f"code cell {number}", output


def execute_here(name: str) -> None:
    """Execute one chapter in this process, which is there for it alone."""
    source, executed, record_file = paths(name)
    notebook = nbformat.read(source, as_version=4)
    record: Record = {"key": key(notebook)}
    before = package_hashes()
    executed.parent.mkdir(parents=True, exist_ok=True)
    notebook.cells.append(nbformat.v4.new_code_cell(LOADED))
    # Not the chapter's own folder: what a chapter writes must not land among the sources.
    run_notebook(notebook, executed.parent)
    question = notebook.cells.pop()
    answer = "".join(out.get("text", "") for out in question.outputs)
    loaded = {str(Path(f).resolve()) for f in answer.splitlines()}
    record["package"] = {
        file: value for file, value in before.items() if str(chapters.ROOT / file) in loaded
    }
    record["stderr"] = stderr_of(notebook)
    # The kernel is this process's only child and has ended. Linux counts KiB, macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    record["peak_mb"] = peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)
    record["date"] = date.today().isoformat()
    record["machine"] = machine()
    for cell in notebook.cells:
        # Time stamps of each cell would make two equal executions differ.
        cell.metadata.pop("execution", None)
    files.write(executed, nbformat.writes(notebook) + "\n")
    files.write(record_file, json.dumps(record, indent=1) + "\n")


def stderr_of(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the cells' output to stderr (warnings, mostly), with the number of the cell."""
    return [
        f"{cell}: {output.text.strip()}"
        for cell, output in outputs(notebook)
        if output.output_type == "stream" and output.name == "stderr"
    ]


def machine() -> dict[str, str]:
    """Describe this machine and the versions that matter to a timing."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = re.findall(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "numpy": importlib.metadata.version("numpy"),
    }


def run_module(module: str, name: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a tool over one chapter in a process of its own; return what it said."""
    command = [sys.executable, "-m", module, "--here", name]
    return subprocess.run(
        command, cwd=TOP, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def execute_apart(name: str) -> tuple[float, str]:
    """Execute one chapter in a process of its own; return its seconds, and what went wrong."""
    start = time.perf_counter()
    done = run_module("tools.build.execute", name, environment())
    seconds = time.perf_counter() - start
    if done.returncode:
        return (seconds, done.stdout.strip() or done.stderr.strip() or f"exit {done.returncode}")
    record_file = paths(name)[2]
    record = json.loads(record_file.read_text()) | {"seconds": seconds}
    files.write(record_file, json.dumps(record, indent=1) + "\n")
    return seconds, ""


def execute(names: list[str], jobs: int, strict: bool = False) -> bool:
    """Execute the chapters that need it, `jobs` at a time; return True where all went well."""
    stale = [name for name in names if load_record(name) is None]
    if len(stale) < len(names):
        print(f"{len(names) - len(stale)} of {len(names)} chapters are up to date.", flush=True)
    failed = []
    # Not more at a time than there are cores: the times would mean nothing.
    with ThreadPoolExecutor(max(1, min(jobs, os.cpu_count() or 1))) as pool:
        tasks = {pool.submit(announce, name, k, len(stale)): name for k, name in enumerate(stale)}
        for task in as_completed(tasks):
            if not task.result():
                failed.append(tasks[task])
    noisy = [name for name in names if name not in failed and report_stderr(name, strict)]
    if failed:
        print(f"These chapters failed: {', '.join(failed)}. See above for the cells.", flush=True)
    return not failed and not (strict and noisy)


def say(line: str) -> None:
    """Print a line whole: two chapters may have something to say at once."""
    with _PRINTING:
        print(line, flush=True)


def announce(name: str, k: int, total: int) -> bool:
    """Execute one chapter and print a line before and after; return True where it ran through."""
    counter = f"[{k + 1}/{total}] {name}"
    say(f"{counter}: executing")
    seconds, error = execute_apart(name)
    if error:
        text = error if sys.stdout.isatty() else ANSI.sub("", error)
        say(f"{counter}: FAILED after {seconds:.1f} s\n{text}\n")
        return False
    peak = json.loads(paths(name)[2].read_text())["peak_mb"]
    say(f"{counter}: done in {seconds:.1f} s, {peak:.0f} MB")
    return True


def report_stderr(name: str, strict: bool) -> bool:
    """Print what a chapter's cells wrote to stderr; return True where there was anything."""
    record = load_record(name)
    lines = record["stderr"] if record else []
    for line in lines:
        print(f"{'ERROR' if strict else 'note'}: {name} wrote to stderr in {line}", flush=True)
    return bool(lines)


def main() -> int:
    """Read the command line and execute."""
    parser = chapters.parser("Execute the chapters that changed.")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return run_here(options.names[0])
    names = chapters.select(chapters.chapters(), options.names)
    if not names:
        print("No chapters yet.")
    return 0 if execute(names, options.jobs) else 1


def run_here(name: str) -> int:
    """Execute one chapter; where a cell fails, print that cell and its traceback only."""
    from nbclient.exceptions import CellExecutionError

    try:
        execute_here(name)
    except CellExecutionError as error:
        print(f"In book/{name}.ipynb:\n{error}")
        return 1
    except Exception:
        print(f"In book/{name}.ipynb:\n{traceback.format_exc()}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
