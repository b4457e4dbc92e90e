"""Many models trained as one, against a loop of `torch.optim` over single models.

    python benchmarks/many_models.py           three minutes; writes results/many_models.csv, .json
    python benchmarks/many_models.py --quick   a minute; prints only, unless --out names a folder
    python benchmarks/many_models.py --device cuda --out FOLDER

All forms train the same models by the same rule: syre (coupled), SGD with momentum 0.9, and a
minibatch of its own for every model. The loop takes a step of one model after the other, as one
writes it by hand. What no program can do without, the matrix products of the stacked models, is
timed by itself: it bounds the ratio, which is the loop's time over that of a form. Each form runs
for about the same time at a time. Compilation happens before that, once with an empty cache on disk
and once again; its seconds stand in columns of their own.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import _harness
import torch
from _harness import DECAY, SIGMA_RATIO, Row
from torch import Tensor, nn

import syre_helpers as sh
from syre_helpers.removal import arms
from syre_helpers.training.batches import Batches, BatchOrder
from syre_helpers.training.options import Options, made_with_seed
from syre_helpers.training.stacked.compile import CompileDecision
from syre_helpers.training.stacked.ensemble import Ensemble, build
from syre_helpers.training.stacked.step import StackedStep, Steps

CONSTANTS = _harness.CONSTANTS
SAMPLES = 2048
LOOP, PRODUCTS, PLAIN, COMPILED = "loop", "matrix products", "many", "many, compiled"


@dataclass(frozen=True, kw_only=True)
class Settings(_harness.Settings):
    """What was run."""

    # With biases 90, 2,410 and 101,770 parameters.
    widths: tuple[tuple[int, ...], ...] = ((8, 8, 2), (64, 32, 10), (784, 128, 10))
    batch: int = 32
    models: tuple[int, ...] = (1, 8, 32, 128, 256)
    large_batch: int = 128  # with `compared` models; 0 for none
    compared: int = 32
    compiled: tuple[int, ...] = (8, 32, 256)  # numbers of models, for the middle network
    seconds: float = 80.0  # for the steps of all cells
    turn: float = 0.02  # seconds that a form runs at a time
    compile: bool = True
    threads: int = 2


FULL = Settings()
QUICK = Settings(
    widths=((8, 8, 2), (64, 32, 10)), models=(2, 8), compared=8, compiled=(8,), seconds=4.0,
    threads=1,
)  # fmt: skip
ON_GPU = {"models": (32, 256, 1024), "compared": 256, "compiled": (32, 256, 1024)}
BRIEF_WORDS = "256 models of the middle network"
BRIEF = {
    "widths": ((64, 32, 10),),
    "models": (256,),
    "large_batch": 0,
    "compiled": (256,),
    "seconds": 12.0,
}
OPTIONS = _harness.OPTIONS | {
    "threads": {"type": int, "help": "of PyTorch; 2, with --quick 1"},
    "no-compile": {
        "dest": "compile",
        "action": "store_const",
        "const": False,
        "help": "leave the compiled form out",
    },
}


@dataclass(frozen=True)
class Cell:
    """A comparison of the forms."""

    widths: tuple[int, ...]
    models: int
    batch: int
    compiled: bool


def cells(settings: Settings) -> list[Cell]:
    """Return the cells to compare: the curve over models, and the larger batch."""

    def compiled(widths: tuple[int, ...], models: int) -> bool:
        middle = (
            widths == settings.widths[len(settings.widths) // 2] and models in settings.compiled
        )
        return settings.compile and (middle or models == settings.compared)

    curve = [
        Cell(widths, models, settings.batch, compiled(widths, models))
        for widths, models in itertools.product(settings.widths, settings.models)
    ]
    if not settings.large_batch:
        return curve
    return curve + [
        Cell(widths, settings.compared, settings.large_batch, settings.compile)
        for widths in settings.widths
    ]


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
        seeds = range(cell.models)
        model, runs = build(lambda: network(cell), [arm], seeds, torch.device(device))
        options = Options((arm,), 1, nn.functional.cross_entropy, sgd, None, True, {}, None, ())
        self.ensemble = Ensemble(model, runs)
        self.batch = Batches(data_for(cell.widths, device), self.params()[0], cell.batch).of(seeds)
        self.decision = CompileDecision(compiled, "", False)
        self.advance = StackedStep(
            self.ensemble, options, sgd(self.params()), self.decision, Steps()
        )

    def step(self, t: int) -> None:
        """Take a step with all models."""
        self.advance(t, self.batch(t))

    def params(self) -> list[Tensor]:
        """Return all parameters, stacked."""
        return list(self.ensemble.params.values())


class Products:
    """The matrix products of a step of all models, forwards and backwards, and nothing else."""

    def __init__(self, cell: Cell, device: str) -> None:
        def normal(*shape: int) -> Tensor:
            return torch.randn(cell.models, *shape, device=device)

        pairs = list(itertools.pairwise(cell.widths))
        weights = [normal(wide, narrow) for narrow, wide in pairs]
        values = [normal(cell.batch, width) for width in cell.widths]
        empty, layers = torch.empty_like, range(len(pairs))
        self.products = [(values[k], weights[k].mT, empty(values[k + 1])) for k in layers]
        self.products += [(values[k + 1].mT, values[k], empty(weights[k])) for k in layers]
        # Inputs need no gradient.
        self.products += [(values[k + 1], weights[k], empty(values[k])) for k in layers[1:]]

    def step(self, t: int) -> None:
        """Multiply; all steps are alike."""
        for left, right, out in self.products:
            torch.bmm(left, right, out=out)


def network(cell: Cell) -> nn.Module:
    return sh.models.mlp(cell.widths, "relu")


def named(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in model.named_parameters()}


def prepare(cell: Cell, device: str) -> tuple[dict[str, Any], list[float]]:
    """Return the forms of a cell after their first steps, and the seconds of compilation if any."""
    forms: dict[str, Any] = {
        LOOP: Loop(cell, device),
        PRODUCTS: Products(cell, device),
        PLAIN: Many(cell, device, False),
    }
    for form in forms.values():
        for t in range(3):
            form.step(t)
    seconds: list[float] = []
    for _ in range(2 if cell.compiled else 0):
        torch._dynamo.reset()  # forgets what is in memory; the cache on disk stays
        many = Many(cell, device, True)
        many.step(0)  # by torch.optim
        begin = time.perf_counter()
        many.step(1)
        seconds.append(round(time.perf_counter() - begin, 1))
        many.step(2)
        if not many.decision.compiled:
            print(f"not compiled: {many.decision.reason}", file=sys.stderr)
            return forms, []
        forms[COMPILED] = many
    return forms, seconds


class Turn:
    """A form that runs for a turn at a time."""

    def __init__(self, form: Any, settings: Settings) -> None:
        self.form, self.device, self.done = form, settings.device, itertools.count(3)
        self.steps = max(1, round(1e3 * settings.turn / self.run(2)))

    def run(self, steps: int) -> float:
        """Return the milliseconds of a step, from some steps."""

        def work() -> None:
            for t in itertools.islice(self.done, steps):
                self.form.step(t)

        return _harness.milliseconds(work, self.device, wall=True) / steps

    def clock(self) -> float:
        """Return the milliseconds of a step in a turn."""
        self.run(1)  # brings its arrays into the cache
        return self.run(self.steps)


def compare(cell: Cell, seconds: float, settings: Settings) -> list[Row]:
    """Return one row per form of a cell, timed in turns."""
    what = f"{'-'.join(map(str, cell.widths))}, batch {cell.batch}, {cell.models} models"
    _harness.announce(what)
    forms, compilation = prepare(cell, settings.device)
    turns = {name: Turn(form, settings) for name, form in forms.items()}
    times = _harness.in_turns(turns, Turn.clock, seconds)
    return [row(cell, name, times, compilation if name == COMPILED else []) for name in forms]


def row(cell: Cell, form: str, times: dict[str, list[float]], compilation: list[float]) -> Row:
    """Return the line of one form."""
    first, again = compilation or (None, None)
    return {
        "widths": "-".join(map(str, cell.widths)),
        "models": cell.models,
        "batch": cell.batch,
        "form": form,
        **_harness.spread("ms", times[form]),
        **_harness.ratios(times[LOOP], times[form]),
        "compile_s": first,
        "compile_again_s": again,
        "rounds": len(times[form]),
    }


def measure(settings: Settings) -> list[Row]:
    """Return the rows of all cells."""
    todo = cells(settings)
    with tempfile.TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        return [r for cell in todo for r in compare(cell, settings.seconds / len(todo), settings)]


def table(rows: list[Row]) -> str:
    """Return the ratios as a Markdown table: one line per cell."""
    found = {(r["widths"], r["batch"], r["models"], r["form"]): r for r in rows}
    lines = []
    for widths, batch, models in dict.fromkeys(key[:3] for key in found):
        loop, most, plain, compiled = (
            found.get((widths, batch, models, form)) for form in (LOOP, PRODUCTS, PLAIN, COMPILED)
        )
        waited = ""
        if compiled is not None:
            waited = f"{compiled['compile_s']:.0f} s, {compiled['compile_again_s']:.0f} s"
        lines.append(
            [
                widths,
                str(batch),
                str(models),
                f"{loop['ms']:.2f} ms",
                f"{most['ratio']:.1f}",
                _harness.ratio_cell(plain, digits=1),
                _harness.ratio_cell(compiled, digits=1),
                waited,
            ]
        )
    header = ["network", "batch", "models", "loop", "at most", "many", "compiled"]
    return _harness.markdown([*header, "compilation, again"], lines)


def report(rows: list[Row]) -> str:
    """Return the printed report."""
    heading = (
        "Time of a step of the loop over that of many models as one: median (quartiles);\n"
        "at most: over that of their matrix products alone"
    )
    return f"{heading}\n\n{table(rows)}"


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
