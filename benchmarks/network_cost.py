"""What a training step with syre costs in three networks: time and memory, as ratios.

    python benchmarks/network_cost.py            four minutes; writes results/network_cost.csv
                                                 and .json
    python benchmarks/network_cost.py --quick    seconds; prints only, unless --out names a folder

`step_cost.py` looks at one network and several optimizers; this program at a fully connected
network, a ResNet-18 and a vision transformer, each with its usual optimizer. A step is a whole one:
forward, backward, decay, update. The forms take turns, in a new random order in every round, and a
ratio compares two of them within a round; that of "built-in decay again" says what noise alone
does. On a CPU the times are those of the processor, on one thread, so that other work on the
machine counts for little. Memory is what exists between steps and what the forward pass keeps for
the backward pass.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import step_cost
import torch
from step_cost import BASELINE, DECAY, OPTIMIZERS, SIGMA_D, SIGMA_RATIO
from torch import Tensor, nn

import syre_helpers as sh

FORMS = tuple(form for form in step_cost.FORMS if form != "no decay")
NETWORKS = {"MLP": "AdamW foreach", "ResNet-18": "SGD foreach", "ViT": "AdamW foreach"}
"""Each network with its usual optimizer."""


@dataclass(frozen=True)
class Settings:
    """What was run; images have 3 x 32 x 32 pixels."""

    widths: tuple[int, ...] = (784, 700, 600, 10)
    mlp_batch: int = 128
    # Weights and work both grow with the square of the width, so that half of the usual width
    # hardly changes the ratio; the batch does.
    resnet_width: int = 32
    vit: tuple[int, ...] = (4, 128, 6, 4, 256)  # patch, dim, depth, heads, mlp
    image_batch: int = 32
    seconds: tuple[float, ...] = (20.0, 100.0, 100.0)  # for the steps of each network
    threads: int = 1
    device: str = "cpu"


QUICK = Settings(
    widths=(64, 128, 10),
    mlp_batch=32,
    resnet_width=4,
    vit=(8, 16, 1, 2, 32),
    image_batch=4,
    seconds=(0.3, 0.3, 0.3),
)


@dataclass(frozen=True)
class Row:
    """One line of the table; low and high are the quartiles, memory is a ratio."""

    network: str
    optimizer: str
    form: str
    parameters: int
    ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    memory: float
    rounds: int


@dataclass(frozen=True)
class Training:
    """One model in training."""

    model: nn.Module
    loss: Callable[[], Tensor]
    optimizer: torch.optim.Optimizer

    def step(self) -> None:
        """Take one whole training step."""
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()


def network(name: str, settings: Settings) -> tuple[nn.Module, Tensor]:
    """Return a network and a batch of inputs for it."""
    generator = torch.Generator().manual_seed(0)
    if name == "MLP":
        x = torch.randn(settings.mlp_batch, settings.widths[0], generator=generator)
        return sh.models.mlp(settings.widths, "relu"), x
    x = torch.randn(settings.image_batch, 3, 32, 32, generator=generator)
    if name == "ResNet-18":
        return sh.models.resnet18(width=settings.resnet_width), x
    return sh.models.vit((3, 32, 32), 10, *settings.vit), x


def set_up(name: str, form: str, settings: Settings) -> Training:
    """Return a network in training with one form of decay."""
    torch.manual_seed(0)
    model, x = network(name, settings)
    model, x = model.to(settings.device), x.to(settings.device)
    y = torch.arange(len(x), device=settings.device) % 10
    syre = sh.Syre(DECAY, SIGMA_RATIO, sigma_D=SIGMA_D if "+ D" in form else 0.0)
    own = DECAY if form.startswith(BASELINE) or form == "parametrize" else 0.0
    if form == "parametrize":
        syre.parametrize(model)
    optimizer = OPTIMIZERS[NETWORKS[name]](model.parameters(), own)
    if form.startswith("attach"):
        syre.attach(optimizer, model, store=not form.endswith("computed"))

    def loss() -> Tensor:
        value = nn.functional.cross_entropy(model(x), y)
        return value + syre.penalty(model) if form == "penalty" else value

    return Training(model, loss, optimizer)


def measure(name: str, settings: Settings, forms: Sequence[str] = FORMS) -> list[Row]:
    """Time some forms of one network in turns, and count their memory."""
    gc.collect()
    gc.freeze()  # what is here already need not be looked through again
    made: dict[str, Training] = {}
    memory: dict[str, int] = {}
    for form in forms:
        before = step_cost.held_bytes()
        made[form] = set_up(name, form, settings)
        for _ in range(2):  # makes the optimizer's state, and theta_0
            made[form].step()
        memory[form] = step_cost.held_bytes() - before + kept_bytes(made[form])
    gc.unfreeze()
    times: dict[str, list[float]] = {form: [] for form in forms}
    order, shuffle = list(forms), random.Random(0)
    end = time.perf_counter() + settings.seconds[list(NETWORKS).index(name)]
    while time.perf_counter() < end or len(times[BASELINE]) < 3:
        shuffle.shuffle(order)
        for form in order:
            times[form].append(1e3 * clock(made[form].step, settings))
    parameters = sum(p.numel() for p in made[BASELINE].model.parameters())
    rows = []
    for form in forms:
        ratios = [a / b for a, b in zip(times[form], times[BASELINE], strict=True)]
        low, middle, high = (round(q, 4) for q in statistics.quantiles(ratios, n=4))
        ms = round(statistics.median(times[form]), 4)
        share = round(memory[form] / memory[BASELINE], 4)
        rows.append(
            Row(name, NETWORKS[name], form, parameters, ms, middle, low, high, share, len(ratios))
        )
    return rows


def kept_bytes(training: Training) -> int:
    """Count the bytes that a forward pass keeps for the backward pass, beside what exists."""
    there = step_cost.storages()
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = training.loss()
    total = sum(kept.values())
    del loss  # until here nothing that was kept is freed, so no address is used twice
    return total


def clock(work: Callable[[], None], settings: Settings) -> float:
    """Return the seconds of work: the processor's on a CPU, else those that pass."""
    if settings.device == "cpu":
        begin = time.process_time()
        work()
        return time.process_time() - begin
    torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def table(rows: list[Row]) -> str:
    """Return time and memory as ratios: a line a form, two columns a network."""
    of = {(r.form, r.network): r for r in rows}
    names = list(dict.fromkeys(r.network for r in rows))
    lines = [
        f"| form | {' | '.join(f'{name}: time | memory' for name in names)} |",
        f"| --- |{' ---: |' * (2 * len(names))}",
        f"| {BASELINE} | {' | '.join(f'{of[BASELINE, n].ms:.0f} ms | ' for n in names)} |",
    ]
    for form in dict.fromkeys(r.form for r in rows if r.form != BASELINE):
        cells = []
        for name in names:
            r = of[form, name]
            cells.append(f"{r.ratio:.2f} ({r.ratio_low:.2f}–{r.ratio_high:.2f}) | {r.memory:.2f}")
        lines.append(f"| {form} | {' | '.join(cells)} |")
    return "\n".join(lines)


def read(folder: Path) -> tuple[list[Row], dict[str, Any]]:
    """Return what was written."""
    kinds: dict[str, Callable[[str], Any]] = {"str": str, "int": int, "float": float}
    with (folder / "network_cost.csv").open(newline="") as file:
        rows = [
            Row(**{f.name: kinds[str(f.type)](line[f.name]) for f in fields(Row)})
            for line in csv.DictReader(file)
        ]
    return rows, json.loads((folder / "network_cost.json").read_text())


def main(
    name: str = "network_cost", forms: Sequence[str] = FORMS, full: Settings = Settings()
) -> int:
    """Read the command line, measure, print, write."""
    parser = argparse.ArgumentParser(description="time and memory of a training step, as ratios")
    parser.add_argument("--quick", action="store_true", help="small models, a few seconds")
    parser.add_argument("--seconds", type=float, help="how long each network's steps are timed")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--out", type=Path, help="folder to write to; 'results' unless --quick")
    options = parser.parse_args()
    changes: dict[str, Any] = {"device": str(sh.pick_device(options.device, quiet=True))}
    if options.seconds is not None:
        changes["seconds"] = (options.seconds,) * len(NETWORKS)
    settings = Settings(**{**asdict(QUICK if options.quick else full), **changes})
    torch.set_num_threads(settings.threads)
    begin = time.perf_counter()
    rows = []
    for which in NETWORKS:
        print(f"timing {which} …", file=sys.stderr, flush=True)
        rows += measure(which, settings, forms)
    seconds = time.perf_counter() - begin
    source = step_cost.provenance(settings, options.quick, seconds, name)
    print("Time of a step (quartiles) and memory over those with built-in decay\n")
    print(table(rows))
    folder = options.out or (None if options.quick else Path(__file__).parents[1] / "results")
    if folder is not None:
        step_cost.write(folder, rows, source, name)
        print(f"\nwritten: {name}.csv and {name}.json in {folder.name}/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
