"""What a search for symmetries and a diagnosis cost, in seconds and memory, beside their limits.

    python benchmarks/find_cost.py            some four minutes; writes results/find_cost.csv
    python benchmarks/find_cost.py --quick    seconds; prints only, unless --out is given

Every network is made in a fresh process, since the most memory that a process ever held cannot be
measured twice in one. Memory is what the search adds to a process that holds the model and has
searched in a tiny one, over the bytes of all parameters in float64. The limits are for a machine
with nothing else to do: `load` says how many other processes wanted a processor.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import _harness
import torch
from _harness import Row
from torch import Tensor, nn

import syre_helpers as sh
from syre_helpers._provenance import peak_memory_mb

MEMORY = 3.0  # times the parameters in float64


@dataclass(frozen=True)
class Case:
    """A network with its limits: seconds of the search, and of a diagnosis with the families."""

    make: Callable[[int], nn.Module]
    tokens: bool
    find_s: float
    diagnose_s: float


def resnet18(width: int) -> nn.Module:
    """Return a ResNet-18; 64 is its usual width."""
    return sh.models.resnet18(width=width)


def small_gpt(width: int) -> nn.Module:
    """Return a GPT of 10.7 million parameters for a width of 64."""
    return sh.models.gpt(256, 256, 6 * width, 6, 6, 24 * width, bias=True)


def gpt2(width: int) -> nn.Module:
    """Return a GPT of the sizes of GPT-2, 124 million parameters for a width of 64."""
    return sh.models.gpt(
        786 * width - 47, 1024, 12 * width, 12, 12, 48 * width, bias=True, tied=True
    )


CASES = {
    "ResNet-18": Case(resnet18, False, 10, 5),
    "GPT, 10M": Case(small_gpt, True, 15, 5),
    "GPT-2, 124M": Case(gpt2, True, 120, 60),
}


@dataclass(frozen=True, kw_only=True)
class Settings(_harness.Settings):
    """What was run; the width of each network is that of a head, or of the first stage."""

    width: int
    batch: int = 32
    seconds: Any = None  # nothing is repeated for a while
    threads: int = 2


FULL, QUICK = Settings(width=64), Settings(width=4, batch=4)
OPTIONS = {"threads": {"type": int, "help": "default 2"}}


def batch_of(case: Case, batch: int) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of a network."""
    generator = torch.Generator().manual_seed(0)
    if case.tokens:
        texts = torch.randint(100, (batch, 17), generator=generator)
        return texts[:, :-1], texts[:, 1:]
    images = torch.randn(batch, 3, 32, 32, generator=generator)
    return images, torch.randint(10, (batch,), generator=generator)


def loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean cross entropy, over places where there are several."""
    return nn.functional.cross_entropy(output.flatten(0, -2), target.flatten())


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return the result of some work, the seconds that passed, and those of the processors."""
    wall, busy = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - busy


def measure_here(name: str, settings: Settings) -> Row:
    """Return the row of one network."""
    torch.set_num_threads(settings.threads)
    sh.find_reflections(sh.models.mlp([3, 4, 2]), torch.ones(2, 3))  # loads what is loaded once
    case, load = CASES[name], os.getloadavg()[0]
    torch.manual_seed(0)
    model = case.make(settings.width)
    x, y = batch_of(case, settings.batch)
    parameters = sum(p.numel() for p in model.parameters())
    held = peak_memory_mb()
    found, find_s, find_cpu_s = timed(lambda: sh.find_reflections(model, x[:2]))
    memory = (peak_memory_mb() - held) / (8 * parameters / 1e6)
    report, diagnose_s, diagnose_cpu_s = timed(
        lambda: sh.diagnose(model, (x, y), loss=loss, weight_decay=0.1, found=found)
    )
    return {
        "network": name,
        "parameters": parameters,
        "swaps": found.swaps,
        "flips": found.flips,
        "rotations": found.rotations,
        "classes": len(report.table),
        "find_s": round(find_s, 2),
        "find_cpu_s": round(find_cpu_s, 2),
        "find_limit_s": case.find_s,
        "memory": round(memory, 2),
        "memory_limit": MEMORY,
        "diagnose_s": round(diagnose_s, 2),
        "diagnose_cpu_s": round(diagnose_cpu_s, 2),
        "diagnose_limit_s": case.diagnose_s,
        "load": round(load, 2),
    }


def measure(settings: Settings) -> list[Row]:
    """Return one row per network, each from a process of its own."""
    rows = []
    for name in CASES:
        _harness.announce(name)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows.append(pool.submit(measure_here, name, settings).result())
    return rows


def report(rows: list[Row]) -> str:
    """Return a Markdown table: what was measured, and the limit in brackets."""
    lines = [
        [
            f"{row['network']} ({row['parameters']:,})",
            f"{row['find_s']:.1f} ({row['find_limit_s']:g})",
            f"{row['memory']:.2f} ({row['memory_limit']:g})",
            f"{row['diagnose_s']:.1f} ({row['diagnose_limit_s']:g})",
            f"{row['load']:.1f}",
        ]
        for row in rows
    ]
    header = ["network", "search, s", "memory", "diagnosis, s", "load"]
    return _harness.markdown(header, lines)


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
