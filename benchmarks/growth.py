"""How the cost of training grows with parameters, models, seeds and arms: seconds and memory.

    python benchmarks/growth.py            three minutes; writes results/growth.csv and .json
    python benchmarks/growth.py --quick    seconds; prints only, unless --out names a folder

Every point is a run of `fit_many` in a fresh process, since the most memory that a process ever
held cannot be measured twice in one; what a tiny run has loaded before is not counted. Points come
in a random order, so that what else the machine does hits all curves. A step is a whole one, timed
one by one; what comes before the first few (the models, recording the program) counts as start. The
program is not compiled: that would take longer than all else here, and is a matter of a factor. On
a CPU the times are those of the processor, on one thread, so that other work on the machine counts
for little. Behind the last point of a curve two more are extrapolated, along the slope between the
last two in logarithms. They are marked as such and are no measurements.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import step_cost
import torch

import syre_helpers as sh
from syre_helpers.experiments.record import peak_memory_mb
from syre_helpers.training.options import listening

WARM = 3  # steps before this one pay for memory and for recording the program
FEWEST = 5  # steps that are timed, however long they take
BEYOND = (4, 16)  # so many times the last measured size is extrapolated


@dataclass(frozen=True)
class Point:
    """What is trained: a fully connected network, so many arms and seeds of it."""

    curve: str
    widths: tuple[int, ...]
    arms: int
    seeds: int

    @property
    def parameters(self) -> int:
        """Parameters of one model."""
        return sum(a * b + b for a, b in itertools.pairwise(self.widths))

    @property
    def size(self) -> int:
        """What the curve's axis counts."""
        sizes = {"parameters": self.parameters, "seeds": self.seeds, "arms": self.arms}
        return sizes.get(self.curve, self.arms * self.seeds)


@dataclass(frozen=True)
class Settings:
    """What was run. The base model is 64-32-10, trained with SGD and momentum."""

    hidden: tuple[int, ...] = (8, 32, 128, 512, 2048)  # two layers each, 2 arms x 4 seeds
    seeds: tuple[int, ...] = (1, 4, 16, 64, 256)  # with 2 arms
    arms: tuple[int, ...] = (1, 2, 4, 8, 16, 32)  # with 8 seeds
    squares: tuple[int, ...] = (1, 2, 4, 8, 16, 32)  # models: as many arms as seeds
    samples: int = 1024
    batch: int = 32
    seconds: float = 0.7  # of steps a point
    threads: int = 1
    device: str = "cpu"


QUICK = Settings(
    hidden=(8, 32, 128), seeds=(1, 4, 16), arms=(1, 2, 4), squares=(1, 2, 4), seconds=0.05
)


@dataclass(frozen=True)
class Row:
    """One point of a curve; low and high are the quartiles over all steps."""

    curve: str
    size: int
    kind: str
    parameters: int | None
    arms: int | None
    seeds: int | None
    step_ms: float
    step_ms_low: float | None
    step_ms_high: float | None
    start_s: float | None
    memory_mb: float
    steps: int


class Enough(Exception):
    """The time is over."""


def points(settings: Settings) -> list[Point]:
    """Return the points of all curves."""
    base = (64, 32, 10)
    return [
        # Several large models would train in chunks, and what is timed be the step of a chunk.
        *(Point("parameters", (64, h, h, 10), 1, 1) for h in settings.hidden),
        *(Point("models", base, k, k) for k in settings.squares),
        *(Point("seeds", base, 2, n) for n in settings.seeds),
        *(Point("arms", base, n, 8) for n in settings.arms),
    ]


def measure_here(point: Point, settings: Settings) -> dict[str, Any]:
    """Train a point's models for a while; return the times of steps, and the memory they took."""
    torch.set_num_threads(settings.threads)
    train(Point("models", (64, 8, 10), 1, 1), settings, seconds=0.0)
    loaded = memory_mb(settings)
    steps, start = train(point, settings, settings.seconds)
    return {"steps": steps, "start_s": start, "memory_mb": memory_mb(settings) - loaded}


def memory_mb(settings: Settings) -> float:
    """Return the most memory that this process has held so far."""
    if settings.device == "cpu":
        return peak_memory_mb()
    return torch.cuda.max_memory_allocated() / 1e6


def train(point: Point, settings: Settings, seconds: float) -> tuple[list[float], float]:
    """Train for so many seconds; return milliseconds of each step, and seconds until the first."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(settings.samples, point.widths[0], generator=generator)
    y = torch.randint(point.widths[-1], (settings.samples,), generator=generator)
    arms = [sh.arms.syre(1e-3, 0.01 * (k + 1)).renamed(f"syre {k}") for k in range(point.arms)]
    clock = time.process_time if settings.device == "cpu" else time.perf_counter
    times: list[tuple[float, int]] = []
    begin = clock()

    def listen(done: int, total: int) -> None:
        if settings.device != "cpu":
            torch.cuda.synchronize()
        times.append((clock(), done))
        if len(times) > WARM + FEWEST and times[-1][0] - times[WARM][0] > seconds:
            raise Enough

    try:
        with listening(listen):
            sh.fit_many(
                lambda: sh.models.mlp(point.widths, "relu"),
                (x, y),
                arms,
                range(point.seeds),
                steps=1_000_000,  # ended by the clock
                loss=torch.nn.functional.cross_entropy,
                optimizer=lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
                batch_size=settings.batch,
                device=settings.device,
                compile=False,
            )
    except Enough:
        pass
    steps = [
        1e3 * (end - start) / (last - first)
        for (start, first), (end, last) in itertools.pairwise(times[WARM:])
    ]
    return steps, times[WARM][0] - begin


def in_a_process(point: Point, settings: Settings) -> dict[str, Any]:
    """Do as `measure_here`, in a fresh process."""
    given = json.dumps({"point": asdict(point), "settings": asdict(settings)})
    command = [sys.executable, __file__, "--point", given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{point} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(settings: Settings) -> list[Row]:
    """Measure all points in a random order, and extrapolate each curve."""
    order = points(settings)
    random.Random(0).shuffle(order)
    found = {}
    for number, point in enumerate(order):
        print(f"{number + 1} of {len(order)}: {point} …", file=sys.stderr, flush=True)
        found[point] = row(point, in_a_process(point, settings))
    curves: dict[str, list[Row]] = {}
    for point in points(settings):
        curves.setdefault(point.curve, []).append(found[point])
    return [one for rows in curves.values() for one in (*rows, *extrapolated(rows))]


def row(point: Point, found: dict[str, Any]) -> Row:
    """Summarise a point: the median step and its quartiles."""
    low, middle, high = (round(q, 4) for q in statistics.quantiles(found["steps"], n=4))
    return Row(
        point.curve, point.size, "measured", point.parameters, point.arms, point.seeds,
        middle, low, high, round(found["start_s"], 2), round(found["memory_mb"], 1),
        len(found["steps"]),
    )  # fmt: skip


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the exponent of the power of size that fits the costs best (least squares, logs)."""
    x, y = [math.log(s) for s in sizes], [math.log(c) for c in costs]
    return statistics.linear_regression(x, y).slope


def extrapolated(measured: list[Row]) -> list[Row]:
    """Return the rows behind a curve's last point, along the slope between its last two."""
    tail = measured[-2:]  # curves still bend where overhead ends
    sizes, last = [r.size for r in tail], tail[-1]
    step = slope(sizes, [r.step_ms for r in tail])
    # Small models hardly show in the memory of a process.
    memory = slope(sizes, [max(1.0, r.memory_mb) for r in tail])
    return [
        Row(
            last.curve, times * last.size, "extrapolated", None, None, None,
            float(f"{last.step_ms * times**step:.3g}"), None, None, None,
            float(f"{last.memory_mb * times**memory:.3g}"), 0,
        )
        for times in BEYOND
    ]  # fmt: skip


def table(rows: list[Row]) -> str:
    """Return the curves as a Markdown table."""
    lines = [
        "| curve | size | ms a step (quartiles) | start, s | MB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        if r.kind == "measured":
            cost = f"{r.step_ms:.3g} ({r.step_ms_low:.3g}–{r.step_ms_high:.3g}) | {r.start_s:.1f}"
        else:
            cost = f"extrapolated: {r.step_ms:.3g} | "
        lines.append(f"| {r.curve} | {r.size:,} | {cost} | {r.memory_mb:,.0f} |")
    return "\n".join(lines)


def main() -> int:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short curves, a few seconds")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--out", type=Path, help="folder to write to; 'results' unless --quick")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point is not None:
        given = json.loads(options.point)
        given["point"]["widths"] = tuple(given["point"]["widths"])
        print(json.dumps(measure_here(Point(**given["point"]), Settings(**given["settings"]))))
        return 0
    device = str(sh.pick_device(options.device, quiet=True))
    settings = Settings(**{**asdict(QUICK if options.quick else Settings()), "device": device})
    begin = time.perf_counter()
    rows = measure(settings)
    seconds = time.perf_counter() - begin
    source = step_cost.provenance(settings, options.quick, seconds, "growth")
    print(table(rows))
    folder = options.out or (None if options.quick else Path(__file__).parents[1] / "results")
    if folder is not None:
        step_cost.write(folder, rows, source, "growth")
        print(f"\nwritten: growth.csv and growth.json in {folder.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
