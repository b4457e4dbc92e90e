"""What a training step with syre costs: time and memory against the optimizer's own weight decay.

    python benchmarks/step_cost.py            two minutes; writes results/step_cost.csv and .json
    python benchmarks/step_cost.py --quick    seconds; prints only, unless --out names a folder

A step is a whole one: forward, backward, decay, update. A ratio compares two forms within a round;
the one of "built-in decay again" says what noise alone does. Now and then everything is made anew,
since a few percent depend on where arrays come to lie in memory.
"""

from __future__ import annotations

import gc
import itertools
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass

import _harness
import torch
from _harness import BASELINE, DECAY, OPTIMIZERS, SIGMA_D, SIGMA_RATIO, Row, Training
from torch import Tensor

import syre_helpers as sh

CONSTANTS = _harness.CONSTANTS
FORMS = tuple(form for form in _harness.FORMS if not form.endswith("computed"))


@dataclass(frozen=True, kw_only=True)
class Settings(_harness.Settings):
    """What was run."""

    widths: tuple[int, ...] = (784, 700, 600, 10)
    batch: int = 128
    seconds: float = 100.0  # for the steps of all optimizers
    burst: int = 4  # steps timed together, after one that is not
    builds: int = 5  # times that all is made anew: where arrays lie in memory matters too
    threads: int = 2


FULL = Settings()
QUICK = Settings(widths=(64, 128, 10), batch=32, seconds=2.0, threads=1, builds=2)


def training(form: str, optimizer: str, settings: Settings) -> Training:
    """Return a fully connected network in training."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(settings.batch, settings.widths[0], generator=generator)
    y = torch.randint(settings.widths[-1], (settings.batch,), generator=generator)
    torch.manual_seed(0)
    model = sh.models.mlp(settings.widths, "relu").to(settings.device)
    x, y = x.to(settings.device), y.to(settings.device)
    return Training(form, model, x, y, OPTIMIZERS[optimizer])


def burst(trained: Training, settings: Settings) -> float:
    """Return the milliseconds of a step, from some steps timed together."""

    def steps() -> None:
        for _ in range(settings.burst):
            trained.step()

    trained.step()
    return _harness.milliseconds(steps, settings.device, wall=True) / settings.burst


def time_forms(optimizer: str, settings: Settings) -> list[Row]:
    """Return the rows of one optimizer: all forms, timed in turns."""
    _harness.announce(optimizer)
    parameters = sum(a * b + b for a, b in itertools.pairwise(settings.widths))
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    held: dict[str, int] = {}
    gc.collect()
    gc.freeze()  # what is here already need not be looked through again
    for build in range(settings.builds):
        made = {}
        for form in random.Random(build).sample(FORMS, len(FORMS)):
            before = _harness.held_bytes()
            made[form] = training(form, optimizer, settings)
            for _ in range(3):  # makes the optimizer's state, and theta_0
                made[form].step()
            held[form] = _harness.held_bytes() - before
        seconds = settings.seconds / len(OPTIMIZERS) / settings.builds
        turns = _harness.in_turns(made, lambda one: burst(one, settings), seconds, 2, build)
        for form, measured in turns.items():
            times[form] += measured
    gc.unfreeze()
    return [
        {
            "what": "step",
            "optimizer": optimizer,
            "form": form,
            "bytes_per_parameter": round((held[form] - held[BASELINE]) / parameters, 3),
            **_harness.timed(times[form], times[BASELINE]),
        }
        for form in FORMS
    ]


def time_start(settings: Settings) -> list[Row]:
    """Return the rows of what is computed once: theta_0 and D of all parameters."""
    model = sh.models.mlp(settings.widths, "relu").to(settings.device)
    basic, advanced = (sh.Syre(DECAY, SIGMA_RATIO, sigma_D=sigma_D) for sigma_D in (0.0, SIGMA_D))

    def clock(make: Callable[[str, Tensor], Tensor]) -> float:
        def all_parameters() -> list[Tensor]:
            return [make(name, p) for name, p in model.named_parameters()]

        return _harness.milliseconds(all_parameters, settings.device, wall=True)

    makers = {
        "torch.randn": lambda name, p: torch.randn_like(p),
        "theta_0": basic.bias,
        "D": advanced.metric,
    }
    turns = _harness.in_turns(makers, clock, 0.0, fewest=6)
    times = {form: measured[1:] for form, measured in turns.items()}  # the first pays for memory
    return [
        {"what": "start", "form": form, **_harness.timed(found, times["torch.randn"])}
        for form, found in times.items()
    ]


def measure(settings: Settings) -> list[Row]:
    """Return all rows."""
    steps = [row for optimizer in OPTIMIZERS for row in time_forms(optimizer, settings)]
    return steps + time_start(settings)


def table(rows: list[Row]) -> str:
    """Return the ratios as a Markdown table: one line per form, one column per optimizer."""
    steps = {(r["form"], r["optimizer"]): r for r in rows if r["what"] == "step"}
    optimizers = list(dict.fromkeys(optimizer for _, optimizer in steps))
    lines = [[BASELINE, *(f"{steps[BASELINE, o]['ms']:.2f} ms" for o in optimizers), ""]]
    for form in FORMS[1:]:
        of = [steps[form, o] for o in optimizers]
        held = f"{of[0]['bytes_per_parameter']:+.1f}"
        lines.append([form, *map(_harness.ratio_cell, of), held])
    return _harness.markdown(["form", *optimizers, "bytes per parameter"], lines)


def report(rows: list[Row]) -> str:
    """Return the printed report: the table, and what is computed at the start."""
    start = "\n".join(
        f"{r['form']:12} {r['ms']:8.2f} ms, {r['ratio']:5.1f} times torch.randn"
        for r in rows
        if r["what"] == "start"
    )
    heading = "Time of a step over that with built-in decay: median (quartiles) over rounds"
    return "\n\n".join([heading, table(rows), start])


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
