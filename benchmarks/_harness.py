"""What all benchmarks share: forms of decay, timing in turns, tables, files and the command line.

A benchmark is a module that measures rows under some settings, see `run`. A row is a dict, one line
of ``results/NAME.csv``; ``_low`` and ``_high`` are quartiles. All forms of a comparison take turns,
in a new random order in every round, so that other work on the machine hits all of them alike, and
a ratio compares two forms within a round.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

import syre_helpers as sh
from syre_helpers._provenance import (
    check_writable,
    describe_command,
    describe_machine,
    describe_versions,
    write_whole,
)
from syre_helpers.training import Moment, listening

RESULTS = Path(__file__).parents[1] / "results"
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run was told; programs add their own."""

    seconds: Any  # of timing, in all; or one number for each of the things that are timed
    threads: int = 1
    device: str = "cpu"


# ---- forms of decay ----------------------------------------------------------------------------

DECAY, SIGMA_RATIO, SIGMA_D = 0.1, 0.01, 0.005
CONSTANTS = {
    "weight_decay": DECAY,
    "sigma_ratio": SIGMA_RATIO,
    "sigma_D": SIGMA_D,
    "dtype": "float32",
}
BASELINE = "built-in decay"
AGAIN = f"{BASELINE} again"  # says how much noise alone makes of a ratio


@dataclass(frozen=True)
class Form:
    """A way to decay weights: the optimizer's own decay, and syre's route, if any."""

    own_decay: float = 0.0
    route: str = ""
    sigma_D: float = 0.0
    store: bool = True


FORMS = {
    BASELINE: Form(DECAY),
    AGAIN: Form(DECAY),
    "no decay": Form(),
    "attach": Form(route="attach"),
    "attach, computed": Form(route="attach", store=False),
    "attach + D": Form(route="attach", sigma_D=SIGMA_D),
    "attach + D, computed": Form(route="attach", sigma_D=SIGMA_D, store=False),
    "parametrize": Form(DECAY, "parametrize"),
    "penalty": Form(route="penalty"),
}
MakeOptimizer = Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]


def _adamw(**how: Any) -> MakeOptimizer:
    return lambda p, decay: torch.optim.AdamW(p, lr=1e-3, weight_decay=decay, **how)


def _sgd(**how: Any) -> MakeOptimizer:
    return lambda p, decay: torch.optim.SGD(p, lr=1e-2, momentum=0.9, weight_decay=decay, **how)


OPTIMIZERS = {
    "AdamW foreach": _adamw(foreach=True),
    "AdamW fused": _adamw(fused=True),
    "AdamW loop": _adamw(foreach=False),
    "SGD foreach": _sgd(foreach=True),
}


def decaying(
    name: str, model: nn.Module, make: MakeOptimizer
) -> tuple[torch.optim.Optimizer, sh.Syre]:
    """Return an optimizer that decays a model's weights in one form, and the syre of that form."""
    form = FORMS[name]
    syre = sh.Syre(DECAY, SIGMA_RATIO, sigma_D=form.sigma_D)
    if form.route == "parametrize":
        syre.parametrize(model)
    optimizer = make(model.parameters(), form.own_decay)
    if form.route == "attach":
        syre.attach(optimizer, model, store=form.store)
    return optimizer, syre


class Training:
    """A classifier in training with one form of decay."""

    def __init__(self, form: str, model: nn.Module, x: Tensor, y: Tensor, make: MakeOptimizer):
        self.model, self.x, self.y = model, x, y
        self.optimizer, self.syre = decaying(form, model, make)
        self.penalised = FORMS[form].route == "penalty"

    def loss(self) -> Tensor:
        """Return the loss of a forward pass."""
        value = nn.functional.cross_entropy(self.model(self.x), self.y)
        return value + self.syre.penalty(self.model) if self.penalised else value

    def step(self) -> None:
        """Take one whole training step: forward, backward, decay, update."""
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()


# ---- time and memory ---------------------------------------------------------------------------


def milliseconds(work: Callable[[], Any], device: str, *, wall: bool = False) -> float:
    """Return the time of some work: the processor's on a CPU unless `wall`, else what passes."""
    begin = now(device, wall=wall)
    work()
    return 1e3 * (now(device, wall=wall) - begin)


def now(device: str, *, wall: bool = False) -> float:
    """Return the seconds of a clock, once a GPU has done what it was given."""
    if device == "cpu":
        return time.perf_counter() if wall else time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Enough(Exception):
    """The time is over."""


def begun_steps(
    train: Callable[[], Any], device: str, seconds: float, warm: int, fewest: int
) -> list[tuple[float, int]]:
    """Return the time at which each step of a training began, and the steps done by then."""
    # Stopped when the seconds have passed since the first `warm` steps, and after `fewest` more.
    begun: list[tuple[float, int]] = []

    def listen(moment: Moment) -> None:
        if moment.rows is not None:  # after a measurement, not before a step
            return
        begun.append((now(device), moment.step))
        if len(begun) > warm + fewest and begun[-1][0] - begun[warm][0] > seconds:
            raise Enough

    with suppress(Enough), listening(listen):
        train()
    return begun


def in_turns(
    works: Mapping[Any, Any],
    clock: Callable[[Any], float],
    seconds: float,
    fewest: int = 3,
    seed: int = 0,
) -> dict[Any, list[float]]:
    """Return the times that ``clock(work)`` gives for each work, all once per round."""
    times: dict[Any, list[float]] = {name: [] for name in works}
    order, shuffle = list(works), random.Random(seed)
    rounds, end = 0, time.perf_counter() + seconds
    while rounds < fewest or time.perf_counter() < end:
        shuffle.shuffle(order)
        for name in order:
            times[name].append(clock(works[name]))
        rounds += 1
    return times


def spread(column: str, values: Sequence[float], digits: int = 4) -> Row:
    """Return the median and the quartiles of some values as three columns."""
    low, middle, high = (round(q, digits) for q in statistics.quantiles(values, n=4))
    return {column: middle, f"{column}_low": low, f"{column}_high": high}


def median(values: Sequence[float], digits: int = 4) -> float:
    """Return the rounded median."""
    return round(statistics.median(values), digits)


def ratios(times: Sequence[float], baseline: Sequence[float]) -> Row:
    """Return the ratio of two forms within each round: its median and quartiles."""
    return spread("ratio", [a / b for a, b in zip(times, baseline, strict=True)])


def timed(times: Sequence[float], baseline: Sequence[float], digits: int = 4) -> Row:
    """Return the columns on a form's times: milliseconds, ratio to another form, rounds."""
    return {**spread("ms", times, digits), **ratios(times, baseline), "rounds": len(times)}


def storages() -> dict[int, int]:
    """Return the bytes of every storage that a tensor has, by address."""
    gc.collect()
    found = {}
    for thing in gc.get_objects():
        # A compiler leaves tensors without memory behind, and sparse ones have no storage.
        if type(thing) in (Tensor, nn.Parameter) and thing.layout == torch.strided:
            storage = thing.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return found


def held_bytes() -> int:
    """Return the bytes of all tensors that exist, each storage counted once."""
    return sum(storages().values())


# ---- tables and files --------------------------------------------------------------------------


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are set to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(
        "|" + "".join(f" {cell} |" if cell else " |" for cell in line)
        for line in (header, rule, *lines)
    )


def ratio_cell(row: Row | None, digits: int = 2) -> str:
    """Return a ratio and its quartiles in words; nothing where there is no row."""
    if row is None:
        return ""
    middle, low, high = (f"{row[f'ratio{end}']:.{digits}f}" for end in ("", "_low", "_high"))
    return f"{middle} ({low}–{high})"


def distinct(rows: Iterable[Row], column: str) -> list[Any]:
    """Return the values of a column in the order in which they appear."""
    return list(dict.fromkeys(row[column] for row in rows))


def write(folder: Path, name: str, rows: Sequence[Row], facts: Mapping[str, Any]) -> None:
    """Write rows as CSV and their provenance as JSON beside it, each whole or not at all."""
    table = pd.DataFrame(rows, dtype=object)  # whole numbers stay so where others are missing
    write_whole(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    write_whole(folder / f"{name}.json", json.dumps(facts, indent=1) + "\n")
    print(f"\nwritten: {name}.csv and {name}.json in {folder.name}/")


def read(folder: Path, name: str) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows and the provenance that `write` wrote."""
    table = pd.read_csv(folder / f"{name}.csv", dtype_backend="numpy_nullable").astype(object)
    facts = json.loads((folder / f"{name}.json").read_text())
    return table.where(table.notna(), None).to_dict("records"), facts


# ---- the command line --------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "seconds": {"type": float, "help": "how long is timed, in all"},
    "device": {"default": "cpu", "help": "auto, cpu (default) or cuda"},
}


def run(program: Any) -> int:
    """Read the command line, measure, print, write; return the exit status.

    Parameters
    ----------
    program : module
        ``benchmarks/NAME.py``, with ``FULL`` and ``QUICK`` (settings without and with ``--quick``,
        which hold ``threads`` and ``device``), ``measure(settings)``, which returns the rows of
        ``results/NAME.csv``, and ``report(rows)``, which returns what is printed. It may have
        ``OPTIONS`` (the arguments that change a setting, and how argparse reads them), ``ON_GPU``
        (settings of a full run on a GPU), ``BRIEF`` with ``BRIEF_WORDS`` (settings of a run of one
        comparison, ``--brief``, and what that is) and ``CONSTANTS`` (recorded with the settings).

    Returns
    -------
    int
        0.
    """
    name = Path(program.__file__).stem
    parser = argparse.ArgumentParser(description=program.__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small and fast; writes nothing")
    if hasattr(program, "BRIEF"):
        parser.add_argument("--brief", action="store_true", help=program.BRIEF_WORDS)
    for option, how in getattr(program, "OPTIONS", OPTIONS).items():
        parser.add_argument(f"--{option}", **how)
    parser.add_argument("--out", type=Path, help="folder to write to; 'results' unless --quick")
    asked = parser.parse_args()
    settings = program.QUICK if asked.quick else program.FULL
    changes = {k: v for k, v in vars(asked).items() if hasattr(settings, k) and v is not None}
    folder = asked.out or (None if asked.quick else RESULTS)
    try:
        if "device" in changes:
            changes["device"] = str(sh.pick_device(asked.device, quiet=True, argument="--device"))
        if folder is not None:
            check_writable("--out", folder / f"{name}.csv")
    except ValueError as error:
        parser.error(str(error))
    own = {}
    if changes.get("device", "cpu") != "cpu" and not asked.quick:
        own |= getattr(program, "ON_GPU", {})
    if getattr(asked, "brief", False):
        own |= program.BRIEF
    settings = replace(settings, **own | changes)
    torch.set_num_threads(settings.threads)
    begin = time.perf_counter()
    rows = program.measure(settings)
    facts = {
        "experiment": name,
        "preset": next((n for n in ("quick", "brief") if getattr(asked, n, False)), "full"),
        "seconds": round(time.perf_counter() - begin, 1),
        "settings": asdict(settings) | getattr(program, "CONSTANTS", {}),
        **provenance(name, settings.device),
    }
    print(program.report(rows))
    if folder is not None:
        write(folder, name, rows, facts)
    return 0


def provenance(name: str, device: str) -> dict[str, Any]:
    """Return the command, date, machine and versions of a program's run."""
    return {
        "command": describe_command(f"python benchmarks/{name}.py", sys.argv[1:]),
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(device),
        "versions": describe_versions(),
    }


def announce(what: str) -> None:
    """Say on stderr what is being timed."""
    print(f"timing {what} …", file=sys.stderr, flush=True)
