"""What a diagnosis costs, in training steps of the same network and batch.

    python benchmarks/diagnosis_cost.py            two minutes; writes results/diagnosis_cost.csv
    python benchmarks/diagnosis_cost.py --quick    half a minute; prints only, unless --out is given

A step is one forward and backward pass. `diagnose` is given the symmetries; the search for them is
a form of its own, since it is done once. Times are those of the processor, one thread; the seconds
are of this machine, the ratio is the number to look at.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import _harness
import torch
from _harness import Row, Settings
from torch import nn

import syre_helpers as sh


@dataclass(frozen=True, kw_only=True)
class Networks(Settings):
    """What a run was told, and the width of its ResNet-18."""

    width: int


STEP = "one training step"
OPTIONS = {"seconds": _harness.OPTIONS["seconds"]}
FULL, QUICK = Networks(seconds=60.0, width=64), Networks(seconds=0.0, width=8)


def measure(settings: Networks) -> list[Row]:
    """Return one row per form: seconds, and the ratio to a training step."""
    torch.manual_seed(0)
    model = sh.models.resnet18(width=settings.width)
    x, y = torch.randn(128, 3, 32, 32), torch.randint(10, (128,))
    loss = nn.functional.cross_entropy
    found = sh.find_reflections(model, x[:2])

    def step() -> None:
        loss(model(x), y).backward()

    works = {
        STEP: step,
        "find_reflections": lambda: sh.find_reflections(model, x[:2]),
        "diagnose, without loss": lambda: sh.diagnose(model, x, found=found),
        "diagnose": lambda: sh.diagnose(model, (x, y), loss=loss, weight_decay=1e-4, found=found),
    }

    def clock(work) -> float:
        begin = time.process_time()
        work()
        return time.process_time() - begin

    times = _harness.in_turns(works, clock, settings.seconds)
    return [
        {
            "form": form,
            "width": settings.width,
            "seconds": _harness.median(seconds),
            **_harness.ratios(seconds, times[STEP]),
            "rounds": len(seconds),
        }
        for form, seconds in times.items()
    ]


def report(rows: list[Row]) -> str:
    """Return a Markdown table."""
    lines = [(r["form"], f"{r['seconds']:.2f}", _harness.ratio_cell(r, 1)) for r in rows]
    title = f"ResNet-18 of width {rows[0]['width']}, batch of 128"
    return _harness.markdown([title, "seconds", "in training steps"], lines)


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
