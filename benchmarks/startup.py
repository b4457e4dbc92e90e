"""How long it takes to begin: ``import syre_helpers`` beyond ``import torch``, in fresh processes.

    python benchmarks/startup.py            two minutes; writes results/startup.csv and .json
    python benchmarks/startup.py --quick    seconds; prints only, unless --out names a folder

Each form is a Python process of its own; they take turns, in a new random order in every round, and
a difference compares two of them within a round. "import torch again" says what noise alone does.
Times are those of the processor, so that other work on the machine counts for little. Files are
read from the system's cache: the first round of all is left out.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import step_cost

BASELINE = "import torch"
FORMS = {
    "nothing": "pass",
    BASELINE: "import torch",
    "import torch again": "import torch",
    "import syre_helpers": "import torch, syre_helpers",
    "… and sh.Syre": "import torch, syre_helpers; syre_helpers.Syre",
    "… and sh.fit_many": "import torch, syre_helpers; syre_helpers.fit_many",
    "… and sh.plots": "import torch, syre_helpers; syre_helpers.plots.lines",
}
COUNTED = "; import time; print(time.process_time())"


@dataclass(frozen=True)
class Settings:
    """What was run."""

    seconds: float = 110.0
    threads: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class Row:
    """One line of the table, in seconds; extra is beyond torch, low and high are its quartiles."""

    form: str
    seconds: float
    extra: float
    extra_low: float
    extra_high: float
    rounds: int


def start(code: str) -> float:
    """Return the processor's seconds of a fresh Python that runs some code."""
    done = subprocess.run(
        [sys.executable, "-c", code + COUNTED], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def measure(settings: Settings) -> list[Row]:
    """Start all forms in turns."""
    measured: dict[str, list[float]] = {form: [] for form in FORMS}
    order, shuffle = list(FORMS), random.Random(0)
    for code in FORMS.values():
        start(code)
    end = time.perf_counter() + settings.seconds
    while time.perf_counter() < end or len(measured[BASELINE]) < 3:
        shuffle.shuffle(order)
        for form in order:
            measured[form].append(start(FORMS[form]))
    rows = []
    for form, times in measured.items():
        extra = [a - b for a, b in zip(times, measured[BASELINE], strict=True)]
        low, middle, high = (round(q, 4) for q in statistics.quantiles(extra, n=4))
        rows.append(Row(form, round(statistics.median(times), 4), middle, low, high, len(times)))
    return rows


def table(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = ["| fresh process | seconds | beyond torch |", "| --- | ---: | ---: |"]
    for r in rows:
        spread = f"({r.extra_low:+.3f} to {r.extra_high:+.3f})"
        lines.append(f"| {r.form} | {r.seconds:.2f} | {r.extra:+.3f} {spread} |")
    return "\n".join(lines)


def main() -> int:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--seconds", type=float, help="how long processes are started")
    parser.add_argument("--out", type=Path, help="folder to write to; 'results' unless --quick")
    options = parser.parse_args()
    seconds = 0.0 if options.quick else Settings.seconds
    settings = Settings(seconds=seconds if options.seconds is None else options.seconds)
    begin = time.perf_counter()
    rows = measure(settings)
    source = step_cost.provenance(settings, options.quick, time.perf_counter() - begin, "startup")
    print(table(rows))
    folder = options.out or (None if options.quick else Path(__file__).parents[1] / "results")
    if folder is not None:
        step_cost.write(folder, rows, source, "startup")
        print(f"\nwritten: startup.csv and startup.json in {folder.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
