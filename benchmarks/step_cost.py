"""What a training step with syre costs: time and memory against the optimizer's own weight decay.

    python benchmarks/step_cost.py            two minutes; writes results/step_cost.csv and .json
    python benchmarks/step_cost.py --quick    seconds; prints only, unless --out names a folder

A step is a whole one: forward, backward, decay, update. All forms of one optimizer take turns, in a
new random order in every round, so that what else the machine does hits all of them. A ratio
compares two forms within a round; the one of "built-in decay again" says what noise alone does. Now
and then everything is made anew, since a few percent depend on where arrays come to lie in memory.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import gc
import importlib.metadata
import itertools
import json
import os
import platform
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import syre_helpers as sh

DECAY, SIGMA_RATIO, SIGMA_D = 0.1, 0.01, 0.005
BASELINE = "built-in decay"
FORMS = (
    BASELINE,
    "built-in decay again",
    "no decay",
    "attach",
    "attach + D",
    "parametrize",
    "penalty",
)
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "AdamW foreach": lambda p, decay: torch.optim.AdamW(
        p, lr=1e-3, weight_decay=decay, foreach=True
    ),
    "AdamW fused": lambda p, decay: torch.optim.AdamW(p, lr=1e-3, weight_decay=decay, fused=True),
    "AdamW loop": lambda p, decay: torch.optim.AdamW(p, lr=1e-3, weight_decay=decay, foreach=False),
    "SGD foreach": lambda p, decay: torch.optim.SGD(
        p, lr=1e-2, momentum=0.9, weight_decay=decay, foreach=True
    ),
}


@dataclass(frozen=True)
class Settings:
    """What was run."""

    widths: tuple[int, ...] = (784, 700, 600, 10)
    batch: int = 128
    seconds: float = 100.0  # for the steps of all optimizers
    burst: int = 4  # steps timed together, after one that is not
    builds: int = 5  # times that all is made anew: where arrays lie in memory matters too
    threads: int = 2
    device: str = "cpu"


QUICK = Settings(widths=(64, 128, 10), batch=32, seconds=2.0, threads=1, builds=2)


@dataclass(frozen=True)
class Row:
    """One line of the table; low and high are the quartiles."""

    what: str
    optimizer: str
    form: str
    ms: float
    ms_low: float
    ms_high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    bytes_per_parameter: float | None
    rounds: int


def training_step(form: str, optimizer: str, settings: Settings) -> Callable[[], None]:
    """Return a function that takes one whole training step."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(settings.batch, settings.widths[0], generator=generator).to(settings.device)
    y = torch.randint(settings.widths[-1], (settings.batch,), generator=generator)
    y = y.to(settings.device)
    torch.manual_seed(0)
    model = sh.models.mlp(settings.widths, "relu").to(settings.device)
    syre = sh.Syre(DECAY, SIGMA_RATIO, sigma_D=SIGMA_D if form == "attach + D" else 0.0)
    own = DECAY if form.startswith(BASELINE) or form == "parametrize" else 0.0
    if form == "parametrize":
        syre.parametrize(model)
    update = OPTIMIZERS[optimizer](model.parameters(), own)
    if form.startswith("attach"):
        syre.attach(update, model)

    def step() -> None:
        update.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        if form == "penalty":
            loss = loss + syre.penalty(model)
        loss.backward()
        update.step()

    return step


def time_forms(optimizer: str, settings: Settings) -> list[Row]:
    """Time all forms of one optimizer in turns."""
    parameters = sum(a * b + b for a, b in itertools.pairwise(settings.widths))
    measured: dict[str, list[float]] = {form: [] for form in FORMS}
    held: dict[str, int] = {}
    order, shuffle = list(FORMS), random.Random(0)
    gc.collect()
    gc.freeze()  # what is here already need not be looked through again
    for build in range(settings.builds):
        steps: dict[str, Callable[[], None]] = {}
        shuffle.shuffle(order)
        for form in order:
            before = held_bytes()
            steps[form] = training_step(form, optimizer, settings)
            for _ in range(3):  # makes the optimizer's state, and theta_0
                steps[form]()
            held[form] = held_bytes() - before
        end = time.perf_counter() + settings.seconds / len(OPTIMIZERS) / settings.builds
        while True:
            shuffle.shuffle(order)
            for form in order:
                steps[form]()
                measured[form].append(1e3 * clock(steps[form], settings) / settings.burst)
            if time.perf_counter() > end and len(measured[BASELINE]) >= 2 * (build + 1):
                break
    gc.unfreeze()
    return [
        row("step", optimizer, form, measured[form], measured[BASELINE],
            (held[form] - held[BASELINE]) / parameters)
        for form in FORMS
    ]  # fmt: skip


def time_start(settings: Settings) -> list[Row]:
    """Time what is computed once: theta_0 and D of all parameters, against torch.randn."""
    model = sh.models.mlp(settings.widths, "relu").to(settings.device)
    named = dict(model.named_parameters())
    makers: dict[str, Callable[[str, Tensor], Tensor]] = {
        "torch.randn": lambda name, p: torch.randn_like(p),
        "theta_0": lambda name, p: sh.Syre(DECAY, SIGMA_RATIO).bias(name, p),
        "D": lambda name, p: sh.Syre(DECAY, SIGMA_RATIO, sigma_D=SIGMA_D).metric(name, p),
    }
    measured: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(6):
        for kind, make in makers.items():
            seconds = clock(lambda make=make: [make(n, p) for n, p in named.items()], settings, 1)
            measured[kind].append(1e3 * seconds)
    kept = {kind: times[1:] for kind, times in measured.items()}
    return [row("start", "", kind, kept[kind], kept["torch.randn"], None) for kind in makers]


def clock(work: Callable[[], Any], settings: Settings, repeats: int | None = None) -> float:
    """Return the seconds that some repetitions take together."""
    if settings.device != "cpu":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(settings.burst if repeats is None else repeats):
        work()
    if settings.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def row(
    what: str,
    optimizer: str,
    form: str,
    times: list[float],
    baseline: list[float],
    held: float | None,
) -> Row:
    """Summarise the times of one form: median and quartiles."""
    ratios = [a / b for a, b in zip(times, baseline, strict=True)]
    ms, ratio = (statistics.quantiles(values, n=4) for values in (times, ratios))
    numbers = [round(v, 4) for v in (ms[1], ms[0], ms[2], ratio[1], ratio[0], ratio[2])]
    return Row(
        what, optimizer, form, *numbers, None if held is None else round(held, 3), len(times)
    )


def held_bytes() -> int:
    """Count the bytes of all tensors that exist, each storage once."""
    return sum(storages().values())


def storages() -> dict[int, int]:
    """Return the address and the bytes of every storage that a tensor has."""
    gc.collect()
    found = {}
    for thing in gc.get_objects():
        if type(thing) in (Tensor, nn.Parameter):  # a compiler leaves tensors without memory behind
            storage = thing.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return found


def provenance(
    settings: Any, quick: bool, seconds: float, experiment: str = "step_cost"
) -> dict[str, Any]:
    """Return where the numbers come from."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        model = next(iter(re.findall(r"model name\s*:\s*(.+)", cpuinfo.read_text())), model)
    if settings.device != "cpu":
        model = f"{torch.cuda.get_device_name()}, {model}"
    return {
        "experiment": experiment,
        "preset": "quick" if quick else "full",
        "command": " ".join([f"python benchmarks/{experiment}.py", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "seconds": round(seconds, 1),
        "settings": asdict(settings)
        | {
            "weight_decay": DECAY,
            "sigma_ratio": SIGMA_RATIO,
            "sigma_D": SIGMA_D,
            "dtype": "float32",
        },
        "machine": {
            "cpu": model,
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("torch", "numpy", "syre_helpers")},
    }


def table(rows: list[Row]) -> str:
    """Return the ratios as a Markdown table: one line a form, one column an optimizer."""
    steps = {(r.form, r.optimizer): r for r in rows if r.what == "step"}
    optimizers = list(dict.fromkeys(optimizer for _, optimizer in steps))
    lines = [
        f"| form | {' | '.join(optimizers)} | bytes a parameter |",
        f"| --- |{' ---: |' * (len(optimizers) + 1)}",
        f"| {BASELINE} | "
        + " | ".join(f"{steps[BASELINE, o].ms:.2f} ms" for o in optimizers)
        + " | |",
    ]
    for form in dict.fromkeys(form for form, _ in steps if form != BASELINE):
        of = [steps[form, o] for o in optimizers]
        ratios = [f"{r.ratio:.2f} ({r.ratio_low:.2f}–{r.ratio_high:.2f})" for r in of]
        lines.append(f"| {form} | {' | '.join(ratios)} | {of[0].bytes_per_parameter:+.1f} |")
    return "\n".join(lines)


def start_table(rows: list[Row]) -> str:
    """Return one line for each thing that is computed at the start."""
    return "\n".join(
        f"{r.form:12} {r.ms:8.2f} ms, {r.ratio:5.1f} times torch.randn"
        for r in rows
        if r.what == "start"
    )


def write(
    folder: Path, rows: Sequence[Any], source: dict[str, Any], name: str = "step_cost"
) -> None:
    """Write the table and where it comes from, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(asdict(rows[0]))
    part = folder / f"{name}.csv.part"
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(r) for r in rows)
    os.replace(part, folder / f"{name}.csv")
    part = folder / f"{name}.json.part"
    part.write_text(json.dumps(source, indent=1) + "\n")
    os.replace(part, folder / f"{name}.json")


def read(folder: Path) -> tuple[list[Row], dict[str, Any]]:
    """Return what `write` wrote."""
    with (folder / "step_cost.csv").open(newline="") as file:
        rows = [
            Row(
                *(line[name] for name in ("what", "optimizer", "form")),
                *(float(line[f.name]) for f in fields(Row)[3:9]),
                float(line["bytes_per_parameter"]) if line["bytes_per_parameter"] else None,
                int(line["rounds"]),
            )
            for line in csv.DictReader(file)
        ]
    return rows, json.loads((folder / "step_cost.json").read_text())


def main() -> int:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small model, a few seconds")
    parser.add_argument("--seconds", type=float, help="how long the steps are timed, in all")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--out", type=Path, help="folder to write to; 'results' unless --quick")
    options = parser.parse_args()
    changes: dict[str, Any] = {"device": str(sh.pick_device(options.device, quiet=True))}
    if options.seconds is not None:
        changes["seconds"] = options.seconds
    settings = Settings(**{**asdict(QUICK if options.quick else Settings()), **changes})
    torch.set_num_threads(settings.threads)
    begin = time.perf_counter()
    rows = []
    for optimizer in OPTIMIZERS:
        print(f"timing {optimizer} …", file=sys.stderr, flush=True)
        rows += time_forms(optimizer, settings)
    rows += time_start(settings)
    source = provenance(settings, options.quick, time.perf_counter() - begin)
    print("Time of a step over that with built-in decay: median (quartiles) over rounds\n")
    print(table(rows), start_table(rows), sep="\n\n")
    folder = options.out or (None if options.quick else Path(__file__).parents[1] / "results")
    if folder is not None:
        write(folder, rows, source)
        print(f"\nwritten: step_cost.csv and step_cost.json in {folder.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
