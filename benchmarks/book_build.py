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

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import _harness
from _harness import Row

ROOT = Path(__file__).parents[1]
OPTIONS = {"jobs": {"type": int, "help": "chapters side by side; default 2"}}
BUILDER = "tools.build.site"
# Goals of the whole book and of a chapter, in seconds, on two cores.
WHOLE, CHAPTER = 360, 45


@dataclass(frozen=True)
class Settings:
    """What was run; no chapters named are all."""

    chapters: tuple[str, ...] = ()
    jobs: int = 2
    threads: int = 1  # of each chapter
    device: str = "cpu"


FULL, QUICK = Settings(), Settings(chapters=("trap/reflections",))


def copied(place: Path) -> Path:
    """Copy all files that git knows or would add, as they are now; return the place."""
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


def change(notebook: Path, kind: str) -> None:
    """Change the last cell of a kind in a chapter."""
    content = json.loads(notebook.read_text())
    cell = [c for c in content["cells"] if c["cell_type"] == kind][-1]
    # A bare number is a line of code, and a line of prose.
    cell["source"] = [*cell["source"][:-1], cell["source"][-1].rstrip("\n") + "\n", "\n", "1"]
    notebook.write_text(json.dumps(content))


def build(place: Path, settings: Settings) -> float:
    """Build the book there; return the seconds."""
    command = [sys.executable, "-m", BUILDER, "--jobs", str(settings.jobs), *settings.chapters]
    own = {"PYTHONPATH": str(place), "TORCHINDUCTOR_CACHE_DIR": str(place / "compiler")}
    begin = time.perf_counter()
    done = subprocess.run(command, cwd=place, env=os.environ | own, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the book was not built:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return time.perf_counter() - begin


def measure(settings: Settings) -> list[Row]:
    """Return the rows of four builds, and of the chapters of the first."""
    with tempfile.TemporaryDirectory() as folder:
        place = copied(Path(folder))
        some = place / "book" / f"{(settings.chapters or ('trap/reflections',))[0]}.ipynb"
        builds: dict[str, Callable[[], None]] = {
            "from nothing": lambda: None,
            "again, nothing changed": lambda: None,
            "after a change of prose": lambda: change(some, "markdown"),
            "after a change of code": lambda: change(some, "code"),
        }
        rows: list[Row] = []
        chapters: list[Row] = []
        for name, prepare in builds.items():
            prepare()
            _harness.announce(name)
            seconds = round(build(place, settings), 1)
            rows.append({"what": "build", "name": name, "seconds": seconds, "memory_mb": None})
            chapters = chapters or executed(place / "_build" / "executed")
    return rows + chapters


def executed(folder: Path) -> list[Row]:
    """Return the seconds and the peak of memory of each chapter, the slowest first."""
    rows = []
    for file in folder.rglob("*.json"):
        record = json.loads(file.read_text())
        rows.append(
            {
                "what": "chapter",
                "name": str(file.relative_to(folder).with_suffix("")),
                "seconds": round(record["seconds"], 1),
                "memory_mb": round(record["peak_mb"]),
            }
        )
    return sorted(rows, key=lambda row: -row["seconds"])


def table(rows: list[Row]) -> str:
    """Return the builds and the slowest chapter as a Markdown table."""
    chapters = [row for row in rows if row["what"] == "chapter"]
    slowest = chapters[0] | {"name": f"slowest of {len(chapters)} chapters, {chapters[0]['name']}"}
    shown = [*(row for row in rows if row["what"] == "build"), slowest]
    lines = [[row["name"], f"{row['seconds']:.0f}"] for row in shown]
    return _harness.markdown(["the book", "seconds"], lines)


def report(rows: list[Row]) -> str:
    """Return the printed report."""
    goals = f"goals: {WHOLE} s from nothing, {CHAPTER} s per chapter, on two cores"
    return f"{table(rows)}\n\n{goals}"


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
