"""What a step of `fit_many` takes compiled, which on a GPU is a CUDA graph, and not compiled.

    python benchmarks/graphs.py --device cuda --out FOLDER    a minute; writes graphs.csv and .json
    python benchmarks/graphs.py --quick                       seconds; prints only, unless --out

Whole calls of `fit_many`, as anyone makes them: a schedule, and a minibatch of its own for every
model. What comes before the first steps counts as start, compilation included. Time passes in
stretches of many steps, since to ask the clock at each would make the program wait for the GPU. The
first form runs twice: its second time says what noise alone does.
"""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass
from typing import Any

import _harness
import torch
from _harness import Row
from torch import nn

import syre_helpers as sh
from syre_helpers import arms

PLAIN, AGAIN, COMPILED = "plain", "plain again", "compiled"
FORMS = {PLAIN: False, COMPILED: True, AGAIN: False}
WARM = 20  # steps before this one pay for memory, tracing and compilation


@dataclass(frozen=True, kw_only=True)
class Settings(_harness.Settings):
    """What was run."""

    widths: tuple[int, ...] = (64, 32, 10)
    batch: int = 32
    models: tuple[int, ...] = (32, 256)
    stretch: int = 200  # steps
    stretches: int = 12
    seconds: float = 0.0  # the number of steps says how long it takes


FULL = Settings()
QUICK = Settings(models=(4,), stretch=3, stretches=3)
BRIEF_WORDS = "256 models"
BRIEF = {"models": (256,)}


def call(models: int, compiled: bool, settings: Settings) -> tuple[float, list[float]]:
    """Return the seconds until the first timed step, and the milliseconds of a step, by stretch."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2048, settings.widths[0], generator=generator)
    y = torch.randint(settings.widths[-1], (2048,), generator=generator)
    times: list[float] = []

    def look(moment: Any) -> None:
        if (
            moment.rows is None
            and moment.step >= WARM
            and not ((moment.step - WARM) % settings.stretch)
        ):
            times.append(_harness.now(settings.device, wall=True))

    begin = time.perf_counter()
    sh.fit_many(
        lambda: sh.models.mlp(settings.widths, "relu"),
        (x, y),
        [arms.syre(_harness.DECAY, _harness.SIGMA_RATIO)],
        range(models),
        steps=WARM + settings.stretch * settings.stretches + 1,
        loss=nn.functional.cross_entropy,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        schedule=lambda step: 0.9999**step,
        batch_size=settings.batch,
        device=settings.device,
        compile=compiled,
        callbacks=[look],
    )
    each = [1e3 * (b - a) / settings.stretch for a, b in itertools.pairwise(times)]
    return times[0] - begin, each


def measure(settings: Settings) -> list[Row]:
    """Return one row per number of models and form."""
    rows = []
    for models in settings.models:
        _harness.announce(f"{models} models")
        found = {name: call(models, compiled, settings) for name, compiled in FORMS.items()}
        for form, (start, each) in found.items():
            ratio = _harness.ratios(found[PLAIN][1], each)
            row = {"models": models, "form": form, **_harness.spread("ms", each), **ratio}
            rows.append(row | {"start_s": round(start, 1), "rounds": len(each)})
    return rows


def report(rows: list[Row]) -> str:
    """Return the printed report: the time of a plain step over that of each form."""
    lines = [
        [
            str(r["models"]),
            r["form"],
            f"{r['ms']:.3f} ms",
            _harness.ratio_cell(r),
            f"{r['start_s']} s",
        ]
        for r in rows
    ]
    return _harness.markdown(["models", "form", "step", "plain / form", "start"], lines)


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
