"""What the pull alone costs, from a hundred thousand parameters to a hundred million, and theta_0.

    python benchmarks/step_alone.py            two minutes; writes results/step_alone.csv and .json
    python benchmarks/step_alone.py --quick    seconds; prints only, unless --out names a folder

A pull reads and writes the parameters once. So the baseline is a kernel that does just that,
``p.mul_(1)``; "… again" is the same once more, and says what noise alone does. A stored theta_0 is
a second array to read, D a third; beside those pulls stands an ordinary operation that moves the
same bytes. Computed in every step, theta_0 costs arithmetic in place of bytes. Below, theta_0
itself, drawn by counter, against ``torch.randn``. The column ``bytes`` holds those that are moved
per parameter.

On a CPU the times are those of the processor, on one thread, so that other work on the machine
counts for little.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import _harness
import torch
from _harness import Row
from torch import Tensor

import syre_helpers as sh
from syre_helpers.removal import on_the_fly as recompute
from syre_helpers.removal import theta_0 as noise
from syre_helpers.removal.pull import pull_together_

BASELINE = {"pull": "read and write once", "draw": "torch.randn"}
RATE, SCALE, SIGMA_D = 1e-3, 0.01, 0.005
OPTIONS = {
    "seconds": _harness.OPTIONS["seconds"],
    "device": {"default": "auto", "help": "auto (default), cpu or cuda"},
}


@dataclass(frozen=True, kw_only=True)
class Settings(_harness.Settings):
    """What was run; float32."""

    sizes: tuple[int, ...] = (10**5, 10**6, 10**7, 10**8)
    # By plain operations a hundred million would take half of the time.
    plain_up_to: int = 10**7
    seconds: float = 100.0  # for all sizes together


FULL = Settings()
QUICK = Settings(sizes=(10**4, 10**5), plain_up_to=10**4, seconds=2.0)
ON_GPU = {"sizes": (10**6, 10**7, 10**8, 10**9)}
BRIEF_WORDS = "1e9 parameters"
BRIEF = {"sizes": (10**9,), "seconds": 10.0}


def forms(size: int, settings: Settings) -> dict[tuple[str, str, int], Callable[[], Any]]:
    """Return the timed forms, by (what, form, bytes moved per parameter)."""
    device = torch.device(settings.device)
    generator = torch.Generator(device).manual_seed(0)
    p, theta_0, xi = torch.randn(3, size, device=device, generator=generator).mul_(SCALE).unbind()
    basic, advanced = (noise.Specification(0, "w", SCALE, sigma_D) for sigma_D in (0.0, SIGMA_D))
    key = torch.tensor(basic.keys(0)[0], dtype=torch.int32, device=device)
    out = torch.empty(size, device=device)
    syre = sh.Syre(sigma_0=SCALE)
    timed: dict[tuple[str, str, int], Callable[[], Any]] = {
        ("pull", "read and write once", 8): lambda: p.mul_(1),
        ("pull", "read and write once, again", 8): lambda: p.mul_(1),
        ("pull", "p + q", 12): lambda: p.add_(theta_0, alpha=0),
        ("pull", "stored", 12): lambda: pull_together_([p], [theta_0], [], RATE),
        ("pull", "p + q r", 16): lambda: p.addcmul_(theta_0, xi, value=0),
        ("pull", "stored + D", 16): lambda: pull_together_([p], [theta_0], [xi], RATE),
        ("pull", "computed", 8): lambda: recompute.pull_on_the_fly_([p], [basic], RATE),
        ("pull", "computed + D", 8): lambda: recompute.pull_on_the_fly_([p], [advanced], RATE),
        ("draw", "torch.randn", 4): lambda: torch.randn(size, out=out),
        ("draw", "torch.randn, again", 4): lambda: torch.randn(size, out=out),
        ("draw", "compiled", 4): lambda: write_normal(out, key),
    }
    if size <= settings.plain_up_to:
        timed["pull", "computed, no compiler", 8] = lambda: recompute.pull_by_pieces_(
            p, basic, RATE, 0
        )
        timed["draw", "Syre.bias", 4] = lambda: syre.bias("w", p)
    return timed


@torch.compile(fullgraph=True, dynamic=True)
def write_normal(out: Tensor, key: Tensor) -> None:
    """Fill with the numbers that theta_0 is a multiple of."""
    low = torch.arange(out.numel(), dtype=torch.int32, device=out.device)
    out.copy_(noise.normal_of(low, key))


def compare(size: int, settings: Settings) -> list[Row]:
    """Return one row per form at one size, timed in turns."""
    _harness.announce(f"{size:,} parameters")
    repeats = max(1, 10**6 // size)

    def clock(work: Callable[[], Any]) -> float:
        def repeatedly() -> None:
            for _ in range(repeats):
                work()

        return _harness.milliseconds(repeatedly, settings.device) / repeats

    works = forms(size, settings)
    for work in works.values():
        work()
    times = _harness.in_turns(works, clock, settings.seconds / len(settings.sizes))
    of = {(what, form): measured for (what, form, _), measured in times.items()}
    return [
        {
            "what": what,
            "parameters": size,
            "form": form,
            "bytes": moved,
            **_harness.timed(measured, of[what, BASELINE[what]], digits=5),
        }
        for (what, form, moved), measured in times.items()
    ]


def measure(settings: Settings) -> list[Row]:
    """Return the rows of all sizes."""
    return [row for size in settings.sizes for row in compare(size, settings)]


def table(rows: list[Row], what: str) -> str:
    """Return the ratios as a Markdown table: one line per form, one column per size."""
    rows = [r for r in rows if r["what"] == what]
    of = {(r["form"], r["parameters"]): r for r in rows}
    sizes = sorted(_harness.distinct(rows, "parameters"))
    base = BASELINE[what]
    lines = []
    for form, moved in {r["form"]: r["bytes"] for r in rows}.items():
        there = [of.get((form, size)) for size in sizes]
        cells = (
            [f"{r['ms']:.3g} ms" for r in there]
            if form == base
            else map(_harness.ratio_cell, there)
        )
        lines.append([form, str(moved), *cells])
    return _harness.markdown([what, "bytes", *(f"{size:,}" for size in sizes)], lines)


def report(rows: list[Row]) -> str:
    """Return the printed report: the pull, and the draw of theta_0."""
    heading = "Time over that of the first line: median (quartiles) over rounds"
    return "\n\n".join([heading, table(rows, "pull"), table(rows, "draw")])


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
