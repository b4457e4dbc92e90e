"""How long it takes to begin: ``import syre_helpers`` beyond ``import torch``, in fresh processes.

    python benchmarks/startup.py            two minutes; writes results/startup.csv and .json
    python benchmarks/startup.py --quick    seconds; prints only, unless --out names a folder

Each form is a Python process of its own; a difference compares two of them within a round. "import
torch again" says what noise alone does. Times are those of the processor, so that other work on the
machine counts for little. Files are read from the system's cache: the first round of all is left
out.
"""

from __future__ import annotations

import subprocess
import sys

import _harness
from _harness import Row, Settings

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
OPTIONS = {"seconds": _harness.OPTIONS["seconds"]}
COUNTED = "; import time; print(time.process_time())"


FULL, QUICK = Settings(seconds=110.0), Settings(seconds=0.0)


def start(code: str) -> float:
    """Return the processor's seconds of a fresh Python that runs some code."""
    done = subprocess.run(
        [sys.executable, "-c", code + COUNTED], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def measure(settings: Settings) -> list[Row]:
    """Return one row per form, started in turns; extra is beyond torch, in seconds."""
    for code in FORMS.values():
        start(code)
    times = _harness.in_turns(FORMS, start, settings.seconds)
    rows = []
    for form, seconds in times.items():
        extra = [a - b for a, b in zip(seconds, times[BASELINE], strict=True)]
        middle = _harness.median(seconds)
        spread = _harness.spread("extra", extra)
        rows.append({"form": form, "seconds": middle, **spread, "rounds": len(seconds)})
    return rows


def report(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = [
        (
            r["form"],
            f"{r['seconds']:.2f}",
            f"{r['extra']:+.3f} ({r['extra_low']:+.3f} to {r['extra_high']:+.3f})",
        )
        for r in rows
    ]
    return _harness.markdown(["fresh process", "seconds", "beyond torch"], lines)


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
