"""Many models trained as one, against a loop of `torch.optim` over single models.

    python benchmarks/many_models.py           three minutes; writes results/many_models.csv, .json
    python benchmarks/many_models.py --quick   a minute; prints only, unless --out names a folder
    python benchmarks/many_models.py --device cuda --out FOLDER

All forms train the same models by the same rule: syre (coupled), SGD with momentum 0.9, and a
minibatch of its own for every model. The loop takes a step of one model after the other, as one
writes it by hand. What no program can do without, the matrix products of the stacked models, is
timed by itself: it bounds the ratio. The forms take turns, in a new random order in every round,
each for about the same time; a ratio compares two forms within a round. Compilation happens before
that, once with an empty cache on disk and once again; its seconds stand in columns of their own.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import step_cost
import torch
from step_cost import DECAY, SIGMA_RATIO
from torch import Tensor, nn

import syre_helpers as sh
from syre_helpers.removal import arms
from syre_helpers.training.batches import BatchOrder, Source
from syre_helpers.training.compiling import Choice
from syre_helpers.training.fleet import Fleet, enlist
from syre_helpers.training.options import made_with_seed
from syre_helpers.training.stepping import Programs, StackedStep

SAMPLES = 2048
LOOP, PRODUCTS, PLAIN, COMPILED = "loop", "matrix products", "many", "many, compiled"


@dataclass(frozen=True)
class Settings:
    """What was run."""

    # With biases 90, 2,410 and 101,770 parameters.
    widths: tuple[tuple[int, ...], ...] = ((8, 8, 2), (64, 32, 10), (784, 128, 10))
    batch: int = 32
    models: tuple[int, ...] = (1, 8, 32, 128, 256)
    large_batch: int = 128  # with `compared` models
    compared: int = 32
    compiled: tuple[int, ...] = (8, 32, 256)  # numbers of models, for the middle network
    seconds: float = 80.0  # for the steps of all cells
    turn: float = 0.02  # seconds that a form runs at a time
    threads: int = 2
    device: str = "cpu"


QUICK = Settings(
    widths=((8, 8, 2), (64, 32, 10)), models=(2, 8), compared=8, compiled=(8,), seconds=4.0,
    threads=1,
)  # fmt: skip
ON_CUDA = {"models": (32, 256, 1024), "compared": 256, "compiled": (32, 256, 1024)}


@dataclass(frozen=True)
class Cell:
    """A comparison of the forms."""

    widths: tuple[int, ...]
    models: int
    batch: int
    compiled: bool


@dataclass(frozen=True)
class Row:
    """One line of the table; low and high are the quartiles, ratio is loop / form."""

    widths: str
    models: int
    batch: int
    form: str
    ms: float
    ms_low: float
    ms_high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    compile_s: float | None
    compile_again_s: float | None
    rounds: int


def cells(settings: Settings) -> list[Cell]:
    """Return what to compare: the curve over models, and the larger batch."""
    middle = settings.widths[1]
    curve = [
        Cell(
            w, n, settings.batch, n == settings.compared or (w == middle and n in settings.compiled)
        )
        for w, n in itertools.product(settings.widths, settings.models)
    ]
    return curve + [Cell(w, settings.compared, settings.large_batch, True) for w in settings.widths]


def data_for(widths: tuple[int, ...], device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, widths[0], generator=generator)
    y = torch.randint(widths[-1], (SAMPLES,), generator=generator)
    return x.to(device), y.to(device)


def sgd(params: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.01, momentum=0.9)


class Loop:
    """Single models, one after the other."""

    def __init__(self, cell: Cell, device: str) -> None:
        self.x, self.y = data_for(cell.widths, device)
        seeds = range(cell.models)
        self.models = [made_with_seed(lambda: network(cell), seed).to(device) for seed in seeds]
        self.optimizers = [sgd(list(model.parameters())) for model in self.models]
        self.orders = [BatchOrder(SAMPLES, cell.batch, seed) for seed in seeds]
        self.centres = [
            list(sh.Syre(DECAY, SIGMA_RATIO, seed=seed).pull(named(model)).centre.values())
            for seed, model in zip(seeds, self.models, strict=True)
        ]

    def step(self, t: int) -> None:
        """Take a step with each model."""
        each = zip(self.models, self.optimizers, self.orders, self.centres, strict=True)
        for model, optimizer, order, centre in each:
            index = order.at(t).to(self.x.device)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(self.x[index]), self.y[index]).backward()
            with torch.no_grad():
                for p, c in zip(model.parameters(), centre, strict=True):
                    p.grad.add_(p - c, alpha=DECAY)
            optimizer.step()

    def params(self) -> list[Tensor]:
        """Return all parameters, stacked."""
        parameters = zip(*(model.parameters() for model in self.models), strict=True)
        return [torch.stack([p.detach() for p in same]) for same in parameters]


class Many:
    """The models as `fit_many` trains them: its own parts, without its measurements."""

    def __init__(self, cell: Cell, device: str, compiled: bool) -> None:
        arm = arms.syre(DECAY, SIGMA_RATIO)
        where = torch.device(device)
        template, members = enlist(lambda: network(cell), [arm], range(cell.models), where)
        self.fleet = Fleet(members)
        source = Source(data_for(cell.widths, device), next(iter(self.params())), cell.batch)
        self.batch = source.batches(range(cell.models))
        self.choice = Choice(compiled, "", False)
        self.advance = StackedStep(
            template,
            nn.functional.cross_entropy,
            self.fleet,
            sgd(self.params()),
            True,
            self.choice,
            Programs(),
        )

    def step(self, t: int) -> None:
        """Take a step with all models."""
        self.advance(t, self.batch(t))

    def params(self) -> list[Tensor]:
        """Return all parameters, stacked."""
        return list(self.fleet.params.values())


class Products:
    """The matrix products of a step of all models, forwards and backwards, and nothing else."""

    def __init__(self, cell: Cell, device: str) -> None:
        def normal(*shape: int) -> Tensor:
            return torch.randn(cell.models, *shape, device=device)

        pairs = list(itertools.pairwise(cell.widths))
        weights = [normal(wide, narrow) for narrow, wide in pairs]
        values = [normal(cell.batch, width) for width in cell.widths]
        forwards = [
            (values[k], weight.transpose(1, 2), torch.empty_like(values[k + 1]))
            for k, weight in enumerate(weights)
        ]
        to_weights = [
            (values[k + 1].transpose(1, 2), values[k], torch.empty_like(weight))
            for k, weight in enumerate(weights)
        ]
        to_values = [
            (values[k + 1], weight, torch.empty_like(values[k]))
            for k, weight in enumerate(weights)
            if k > 0  # inputs need no gradient
        ]
        self.products = forwards + to_weights + to_values

    def step(self, t: int) -> None:
        """Multiply; all steps are alike."""
        for left, right, out in self.products:
            torch.bmm(left, right, out=out)


def network(cell: Cell) -> nn.Module:
    return sh.models.mlp(cell.widths, "relu")


def named(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()}


def prepare(cell: Cell, device: str) -> tuple[dict[str, Any], tuple[float, float] | None]:
    """Make the forms of a cell and take their first steps; the seconds of compilation if any."""
    forms: dict[str, Any] = {
        LOOP: Loop(cell, device),
        PRODUCTS: Products(cell, device),
        PLAIN: Many(cell, device, False),
    }
    for form in forms.values():
        for t in range(3):
            form.step(t)
    if not cell.compiled:
        return forms, None
    seconds = []
    for _ in range(2):
        torch._dynamo.reset()  # forgets what is in memory; the cache on disk stays
        many = Many(cell, device, True)
        many.step(0)  # by torch.optim
        begin = time.perf_counter()
        many.step(1)
        seconds.append(time.perf_counter() - begin)
        many.step(2)
        if not many.choice.compiled:
            print(f"not compiled: {many.choice.reason}", file=sys.stderr)
            return forms, None
    forms[COMPILED] = many
    return forms, (seconds[0], seconds[1])


def time_cell(cell: Cell, seconds: float, settings: Settings) -> list[Row]:
    """Time the forms of a cell in turns."""
    forms, compilation = prepare(cell, settings.device)
    once = step_cost.Settings(burst=1, device=settings.device)
    at = dict.fromkeys(forms, 3)

    def run(name: str, steps: int) -> float:
        def work() -> None:
            for _ in range(steps):
                forms[name].step(at[name])
                at[name] += 1

        return 1e3 * step_cost.clock(work, once) / steps

    steps = {name: max(1, round(1e3 * settings.turn / run(name, 2))) for name in forms}
    measured: dict[str, list[float]] = {name: [] for name in forms}
    order, shuffle = list(forms), random.Random(0)
    end = time.perf_counter() + seconds
    while len(measured[LOOP]) < 3 or time.perf_counter() < end:
        shuffle.shuffle(order)
        for name in order:
            run(name, 1)  # brings its arrays into the cache
            measured[name].append(run(name, steps[name]))
    return [row(cell, name, measured, compilation if name == COMPILED else None) for name in forms]


def row(
    cell: Cell,
    form: str,
    measured: dict[str, list[float]],
    compilation: tuple[float, float] | None,
) -> Row:
    """Summarise the times of one form: median and quartiles."""
    ratios = [a / b for a, b in zip(measured[LOOP], measured[form], strict=True)]
    ms, ratio = (statistics.quantiles(values, n=4) for values in (measured[form], ratios))
    numbers = [round(v, 4) for v in (ms[1], ms[0], ms[2], ratio[1], ratio[0], ratio[2])]
    first, again = (None, None) if compilation is None else (round(s, 1) for s in compilation)
    widths = "-".join(map(str, cell.widths))
    return Row(widths, cell.models, cell.batch, form, *numbers, first, again, len(measured[form]))


def table(rows: list[Row]) -> str:
    """Return the ratios as a Markdown table: one line a cell."""
    found = {(r.widths, r.batch, r.models, r.form): r for r in rows}
    lines = [
        "| network | batch | models | loop | at most | many | compiled | compilation, again |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for widths, batch, models in dict.fromkeys(key[:3] for key in found):
        loop, most, plain = (found[widths, batch, models, form] for form in (LOOP, PRODUCTS, PLAIN))
        compiled = found.get((widths, batch, models, COMPILED))
        last = "| |"
        if compiled is not None:
            last = (
                f"{spread(compiled)} | {compiled.compile_s:.0f} s, "
                f"{compiled.compile_again_s:.0f} s |"
            )
        lines.append(
            f"| {widths} | {batch} | {models} | {loop.ms:.2f} ms | {most.ratio:.1f} "
            f"| {spread(plain)} | {last}"
        )
    return "\n".join(lines)


def spread(r: Row) -> str:
    return f"{r.ratio:.1f} ({r.ratio_low:.1f}–{r.ratio_high:.1f})"


def read(folder: Path) -> tuple[list[Row], dict[str, Any]]:
    """Return what was written."""
    with (folder / "many_models.csv").open(newline="") as file:
        rows = [
            Row(
                line["widths"],
                int(line["models"]),
                int(line["batch"]),
                line["form"],
                *(float(line[f.name]) for f in fields(Row)[4:10]),
                *(float(line[f]) if line[f] else None for f in ("compile_s", "compile_again_s")),
                int(line["rounds"]),
            )
            for line in csv.DictReader(file)
        ]
    return rows, json.loads((folder / "many_models.json").read_text())


def main() -> int:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two small networks, few models")
    parser.add_argument("--seconds", type=float, help="how long the steps are timed, in all")
    parser.add_argument("--threads", type=int, help="of PyTorch; 2, with --quick 1")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled form out")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--out", type=Path, help="folder to write to; 'results' unless --quick")
    options = parser.parse_args()
    settings = replace(
        QUICK if options.quick else Settings(),
        device=str(sh.pick_device(options.device, quiet=True)),
    )
    if settings.device != "cpu" and not options.quick:
        settings = replace(settings, **ON_CUDA)
    for name in ("seconds", "threads"):
        if getattr(options, name) is not None:
            settings = replace(settings, **{name: getattr(options, name)})
    torch.set_num_threads(settings.threads)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        rows = measure(settings, not options.no_compile)
    source = step_cost.provenance(
        settings, options.quick, time.perf_counter() - begin, "many_models"
    )
    print(
        "Time of a step of the loop over that of many models as one: median (quartiles);\n"
        "at most: over that of their matrix products alone\n"
    )
    print(table(rows))
    folder = options.out or (None if options.quick else Path(__file__).parents[1] / "results")
    if folder is not None:
        step_cost.write(folder, rows, source, "many_models")
        print(f"\nwritten: many_models.csv and many_models.json in {folder.name}/")
    return 0


def measure(settings: Settings, compiling: bool) -> list[Row]:
    """Time all cells."""
    todo = [replace(cell, compiled=cell.compiled and compiling) for cell in cells(settings)]
    rows = []
    for done, cell in enumerate(todo):
        what = f"{'-'.join(map(str, cell.widths))}, batch {cell.batch}, {cell.models} models"
        print(f"[{done + 1}/{len(todo)}] {what} …", file=sys.stderr, flush=True)
        rows += time_cell(cell, settings.seconds / len(todo), settings)
    return rows


if __name__ == "__main__":
    sys.exit(main())
