"""How long the book takes: from nothing, again, and after a change.

    python benchmarks/book_build.py            five minutes; writes results/book_build.csv and .json
    python benchmarks/book_build.py --quick    one chapter alone is executed; prints only, unless
                                               --out names a folder

The book is built in a copy of the repository, with the environment that this program runs in, and
with an empty cache of the compiler: what `make book` does once that environment is there. The
chapters run side by side, one thread each, so these are times as they are waited for, and other
work on the machine counts.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import step_cost

ROOT = Path(__file__).parents[1]
# Goals of the whole book and of a chapter, in seconds, on two cores.
WHOLE, CHAPTER = 360, 45


@dataclass(frozen=True)
class Settings:
    """What was run; no chapters named are all."""

    chapters: tuple[str, ...] = ()
    jobs: int = 2
    threads: int = 1  # of each chapter
    device: str = "cpu"


QUICK = Settings(chapters=("trap/reflections",))


@dataclass(frozen=True)
class Row:
    """One line of the table: a build, or a chapter of the first one, with its peak of memory."""

    what: str
    name: str
    seconds: float
    memory_mb: float | None


def copied(place: Path) -> Path:
    """Copy all files that git knows or would add, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    return place


def changed(notebook: Path, kind: str) -> None:
    """Change the last cell of a kind in a chapter."""
    content = json.loads(notebook.read_text())
    cell = [c for c in content["cells"] if c["cell_type"] == kind][-1]
    # A bare number is a line of code, and a line of prose.
    cell["source"] = [*cell["source"][:-1], cell["source"][-1].rstrip("\n") + "\n", "\n", "1"]
    notebook.write_text(json.dumps(content))


def build(place: Path, settings: Settings) -> float:
    """Build the book there; return the seconds."""
    command = [sys.executable, "book/_tools/build.py", "--jobs", str(settings.jobs)]
    own = {"PYTHONPATH": str(place), "TORCHINDUCTOR_CACHE_DIR": str(place / "compiler")}
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, *settings.chapters],
        cwd=place,
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"the book was not built:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return time.perf_counter() - begin


def measure(settings: Settings) -> list[Row]:
    """Build the book four times."""
    with tempfile.TemporaryDirectory() as folder:
        place = copied(Path(folder))
        some = place / "book" / f"{(settings.chapters or ('trap/reflections',))[0]}.ipynb"
        builds: dict[str, Callable[[], None]] = {
            "from nothing": lambda: None,
            "again, nothing changed": lambda: None,
            "after a change of prose": lambda: changed(some, "markdown"),
            "after a change of code": lambda: changed(some, "code"),
        }
        rows, chapters = [], []
        for name, change in builds.items():
            change()
            print(f"building: {name} …", file=sys.stderr, flush=True)
            rows.append(Row("build", name, round(build(place, settings), 1), None))
            chapters = chapters or timed(place / "_build" / "executed")
    return rows + chapters


def timed(executed: Path) -> list[Row]:
    """Return what the chapters took, the slowest first."""
    records = {
        str(file.relative_to(executed).with_suffix("")): json.loads(file.read_text())
        for file in executed.rglob("*.json")
    }
    rows = [
        Row("chapter", name, round(record["seconds"], 1), round(record["peak_mb"]))
        for name, record in records.items()
    ]
    return sorted(rows, key=lambda row: -row.seconds)


def table(rows: list[Row]) -> str:
    """Return the builds and the slowest chapter as a Markdown table."""
    chapters = [row for row in rows if row.what == "chapter"]
    lines = ["| the book | seconds |", "| --- | ---: |"]
    lines += [f"| {row.name} | {row.seconds:.0f} |" for row in rows if row.what == "build"]
    slowest = chapters[0]
    lines.append(f"| slowest of {len(chapters)} chapters, {slowest.name} | {slowest.seconds:.0f} |")
    return "\n".join(lines)


def main() -> int:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="execute one chapter")
    parser.add_argument("--jobs", type=int, help="chapters side by side; default 2")
    parser.add_argument("--out", type=Path, help="folder to write to; 'results' unless --quick")
    options = parser.parse_args()
    settings = QUICK if options.quick else Settings()
    if options.jobs is not None:
        settings = replace(settings, jobs=options.jobs)
    begin = time.perf_counter()
    rows = measure(settings)
    source = step_cost.provenance(
        settings, options.quick, time.perf_counter() - begin, "book_build"
    )
    print(table(rows))
    if not options.quick:
        print(f"\ngoals: {WHOLE} s from nothing, {CHAPTER} s a chapter, on two cores")
    folder = options.out or (None if options.quick else ROOT / "results")
    if folder is not None:
        step_cost.write(folder, rows, source, "book_build")
        print(f"\nwritten: book_build.csv and book_build.json in {folder.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
