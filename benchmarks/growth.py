"""How the cost of training grows with parameters, models, seeds and arms: seconds and memory.

    python benchmarks/growth.py            three minutes; writes results/growth.csv and .json
    python benchmarks/growth.py --quick    seconds; prints only, unless --out names a folder

Every point is a run of `fit_many` in a fresh process, since the most memory that a process ever
held cannot be measured twice in one; what a tiny run has loaded before is not counted. Points come
in a random order, so that what else the machine does hits all curves. A step is a whole one, timed
one by one; what comes before the first few (the models, tracing the step) counts as start. The step
is not compiled: that would take longer than all else here, and is a matter of a factor. On a CPU
the times are those of the processor, on one thread, so that other work on the machine counts for
little. Behind the last point of a curve two more are extrapolated, along the slope between the last
two in logarithms. They are marked as such and are no measurements.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import random
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import _harness
import torch
from _harness import Row

import syre_helpers as sh
from syre_helpers._provenance import peak_memory_mb

WARM = 3  # steps before this one pay for memory and for tracing
FEWEST = 5  # steps that are timed, however long they take
BEYOND = (4, 16)  # the last measured size is extrapolated to these multiples of it


@dataclass(frozen=True)
class Point:
    """A point of a curve: arms and seeds of a fully connected network."""

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
        """The point's place on the axis of its curve."""
        sizes = {"parameters": self.parameters, "seeds": self.seeds, "arms": self.arms}
        return sizes.get(self.curve, self.arms * self.seeds)


@dataclass(frozen=True, kw_only=True)
class Settings(_harness.Settings):
    """What was run. The base model is 64-32-10, trained with SGD and momentum."""

    hidden: tuple[int, ...] = (8, 32, 128, 512, 2048)  # two layers each, one model
    seeds: tuple[int, ...] = (1, 4, 16, 64, 256)  # with 2 arms
    arms: tuple[int, ...] = (1, 2, 4, 8, 16, 32)  # with 8 seeds
    squares: tuple[int, ...] = (1, 2, 4, 8, 16, 32)  # models: as many arms as seeds
    samples: int = 1024
    batch: int = 32
    seconds: float = 0.7  # of steps per point


FULL = Settings()
QUICK = Settings(
    hidden=(8, 32, 128), seeds=(1, 4, 16), arms=(1, 2, 4), squares=(1, 2, 4), seconds=0.05
)


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
    """Return the times of steps of a point's models, and the memory that they took."""
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
    """Return the milliseconds of each step, and the seconds until the first of them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(settings.samples, point.widths[0], generator=generator)
    y = torch.randint(point.widths[-1], (settings.samples,), generator=generator)
    arms = [sh.arms.syre(1e-3, 0.01 * (k + 1)) for k in range(point.arms)]
    begin = _harness.now(settings.device)
    begun = _harness.begun_steps(
        lambda: sh.fit_many(
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
        ),
        settings.device,
        seconds,
        WARM,
        FEWEST,
    )
    steps = [
        1e3 * (end - start) / (last - first)
        for (start, first), (end, last) in itertools.pairwise(begun[WARM:])
    ]
    return steps, begun[WARM][0] - begin


def in_a_process(point: Point, settings: Settings) -> dict[str, Any]:
    """Return the result of `measure_here` in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure_here, point, settings).result()


def measure(settings: Settings) -> list[Row]:
    """Return the rows of all curves: points measured in a random order, and extrapolated ones."""
    listed = points(settings)
    found = {}
    for number, point in enumerate(random.Random(0).sample(listed, len(listed))):
        _harness.announce(f"{number + 1} of {len(listed)}: {point}")
        found[point] = row(point, in_a_process(point, settings))
    curves: dict[str, list[Row]] = {}
    for point in listed:
        curves.setdefault(point.curve, []).append(found[point])
    return [one for rows in curves.values() for one in (*rows, *extrapolated(rows))]


def row(point: Point, found: dict[str, Any]) -> Row:
    """Return the line of a point: the median step and its quartiles over all steps."""
    return {
        "curve": point.curve,
        "size": point.size,
        "kind": "measured",
        "parameters": point.parameters,
        "arms": point.arms,
        "seeds": point.seeds,
        **_harness.spread("step_ms", found["steps"]),
        "start_s": round(found["start_s"], 2),
        "memory_mb": round(found["memory_mb"], 1),
        "steps": len(found["steps"]),
    }


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the exponent of the power of size that fits the costs best (least squares, logs)."""
    x, y = [math.log(s) for s in sizes], [math.log(c) for c in costs]
    return statistics.linear_regression(x, y).slope


def extrapolated(measured: list[Row]) -> list[Row]:
    """Return the rows behind a curve's last point, along the slope between its last two."""
    tail = measured[-2:]  # curves still bend where overhead ends
    sizes, last = [r["size"] for r in tail], tail[-1]
    step = slope(sizes, [r["step_ms"] for r in tail])
    # Small models hardly show in the memory of a process.
    memory = slope(sizes, [max(1.0, r["memory_mb"]) for r in tail])
    return [
        dict.fromkeys(last)
        | {
            "curve": last["curve"],
            "size": times * last["size"],
            "kind": "extrapolated",
            "step_ms": float(f"{last['step_ms'] * times**step:.3g}"),
            "memory_mb": float(f"{last['memory_mb'] * times**memory:.3g}"),
            "steps": 0,
        }
        for times in BEYOND
    ]


def report(rows: list[Row]) -> str:
    """Return the curves as a Markdown table."""
    lines = []
    for r in rows:
        cost, start = f"extrapolated: {r['step_ms']:.3g}", ""
        if r["kind"] == "measured":
            cost = f"{r['step_ms']:.3g} ({r['step_ms_low']:.3g}–{r['step_ms_high']:.3g})"
            start = f"{r['start_s']:.1f}"
        lines.append([r["curve"], f"{r['size']:,}", cost, start, f"{r['memory_mb']:,.0f}"])
    header = ["curve", "size", "ms per step (quartiles)", "start, s", "MB"]
    return _harness.markdown(header, lines)


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
