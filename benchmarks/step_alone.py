"""What the pull alone costs, from a hundred thousand parameters to a hundred million, and theta_0.

    python benchmarks/step_alone.py            two minutes; writes results/step_alone.csv and .json
    python benchmarks/step_alone.py --quick    seconds; prints only, unless --out names a folder

A pull reads and writes the parameters once. So the baseline is a kernel that does just that,
``p.mul_(1)``; "… again" is the same once more, and says what noise alone does. A stored theta_0 is
a second array to read, D a third; beside those pulls stands an ordinary operation that moves the
same bytes. Computed in every step, theta_0 costs arithmetic in place of bytes. Below, theta_0
itself, drawn by counter, against ``torch.randn``.

All forms take turns, in a new random order in every round, and a ratio compares two of them within
a round. On a CPU the times are those of the processor, on one thread, so that other work on the
machine counts for little.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import step_cost
import torch
from network_cost import clock
from torch import Tensor

import syre_helpers as sh
from syre_helpers.removal import on_the_fly as recompute
from syre_helpers.removal import theta_0 as noise
from syre_helpers.removal.pull import pull_together_

BASELINE = {"pull": "read and write once", "draw": "torch.randn"}
RATE, SCALE, SIGMA_D = 1e-3, 0.01, 0.005


@dataclass(frozen=True)
class Settings:
    """What was run; float32."""

    sizes: tuple[int, ...] = (10**5, 10**6, 10**7, 10**8)
    # By plain operations a hundred million would take half of the time.
    plain_up_to: int = 10**7
    seconds: float = 100.0  # for all sizes together
    threads: int = 1
    device: str = "cpu"


QUICK = Settings(sizes=(10**4, 10**5), plain_up_to=10**4, seconds=2.0)
ON_A_GPU = (10**6, 10**7, 10**8, 10**9)


@dataclass(frozen=True)
class Row:
    """One line of the table: low and high are the quartiles, bytes those moved a parameter."""

    what: str
    parameters: int
    form: str
    bytes: int
    ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int


def forms(size: int, settings: Settings) -> dict[tuple[str, str, int], Callable[[], Any]]:
    """Return what is timed, by (what, form, bytes moved a parameter)."""
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
        timed["pull", "computed, no compiler", 8] = lambda: recompute._pull_by_pieces_(
            p, basic, RATE, 0
        )
        timed["draw", "Syre.bias", 4] = lambda: syre.bias("w", p)
    return timed


@torch.compile(fullgraph=True, dynamic=True)
def write_normal(out: Tensor, key: Tensor) -> None:
    """Fill with the numbers that theta_0 is a multiple of."""
    low = torch.arange(out.numel(), dtype=torch.int32, device=out.device)
    out.copy_(noise.normal_of(low, key))


def measure(size: int, settings: Settings) -> list[Row]:
    """Time all forms at one size in turns."""
    timed = forms(size, settings)
    for work in timed.values():
        work()
    repeats = max(1, 10**6 // size)
    measured: dict[tuple[str, str, int], list[float]] = {key: [] for key in timed}
    order, shuffle = list(timed), random.Random(0)
    end = time.perf_counter() + settings.seconds / len(settings.sizes)
    while time.perf_counter() < end or len(next(iter(measured.values()))) < 3:
        shuffle.shuffle(order)
        for key in order:
            work = timed[key]
            seconds = clock(lambda work=work: [work() for _ in range(repeats)], settings)
            measured[key].append(1e3 * seconds / repeats)
    times = {(what, form): values for (what, form, _), values in measured.items()}
    rows = []
    for (what, form, moved), values in measured.items():
        base = times[what, BASELINE[what]]
        ratios = [a / b for a, b in zip(values, base, strict=True)]
        low, middle, high = (round(q, 4) for q in statistics.quantiles(ratios, n=4))
        ms = round(statistics.median(values), 5)
        rows.append(Row(what, size, form, moved, ms, middle, low, high, len(values)))
    return rows


def table(rows: list[Row], what: str) -> str:
    """Return the ratios as a Markdown table: one line a form, one column a size."""
    of = {(r.form, r.parameters): r for r in rows if r.what == what}
    sizes = sorted({size for _, size in of})
    base = BASELINE[what]
    lines = [
        f"| {what} | bytes | {' | '.join(f'{size:,}' for size in sizes)} |",
        f"| --- |{' ---: |' * (len(sizes) + 1)}",
        f"| {base} | {of[base, sizes[0]].bytes} | "
        + " | ".join(f"{of[base, s].ms:.3g} ms" for s in sizes)
        + " |",
    ]
    for form in dict.fromkeys(form for form, _ in of if form != base):
        there = [of.get((form, size)) for size in sizes]
        cells = [
            f"{r.ratio:.2f} ({r.ratio_low:.2f}–{r.ratio_high:.2f})" if r else "" for r in there
        ]
        moved = next(r.bytes for r in there if r)
        lines.append(f"| {form} | {moved} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, a few seconds")
    parser.add_argument("--seconds", type=float, help="how long all sizes are timed together")
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    parser.add_argument("--out", type=Path, help="folder to write to; 'results' unless --quick")
    options = parser.parse_args()
    changes: dict[str, Any] = {"device": str(sh.pick_device(options.device, quiet=True))}
    if changes["device"] != "cpu" and not options.quick:
        changes["sizes"] = ON_A_GPU
    if options.seconds is not None:
        changes["seconds"] = options.seconds
    settings = Settings(**{**asdict(QUICK if options.quick else Settings()), **changes})
    torch.set_num_threads(settings.threads)
    begin = time.perf_counter()
    rows = []
    for size in settings.sizes:
        print(f"timing {size:,} parameters …", file=sys.stderr, flush=True)
        rows += measure(size, settings)
    source = step_cost.provenance(
        settings, options.quick, time.perf_counter() - begin, "step_alone"
    )
    print("Time over that of the first line: median (quartiles) over rounds\n")
    print(table(rows, "pull"), table(rows, "draw"), sep="\n\n")
    folder = options.out or (None if options.quick else Path(__file__).parents[1] / "results")
    if folder is not None:
        step_cost.write(folder, rows, source, "step_alone")
        print(f"\nwritten: step_alone.csv and step_alone.json in {folder.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
