"""What a training step with syre costs in three networks: time and memory, as ratios.

    python benchmarks/network_cost.py            four minutes; writes results/network_cost.csv
                                                 and .json
    python benchmarks/network_cost.py --quick    seconds; prints only, unless --out names a folder

`step_cost.py` looks at one network and several optimizers; this program at a fully connected
network, a ResNet-18 and a vision transformer, each with its usual optimizer. A step is a whole one:
forward, backward, decay, update. The ratio of "built-in decay again" says what noise alone does. On
a CPU the times are those of the processor, on one thread, so that other work on the machine counts
for little. Memory, a ratio too, is what exists between steps and what the forward pass keeps for
the backward pass.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import _harness
import torch
from _harness import BASELINE, OPTIMIZERS, Row, Training
from torch import Tensor, nn

import syre_helpers as sh

CONSTANTS = _harness.CONSTANTS
FORMS = (BASELINE, _harness.AGAIN, "attach", "attach + D", "parametrize", "penalty")
NETWORKS = {"MLP": "AdamW foreach", "ResNet-18": "SGD foreach", "ViT": "AdamW foreach"}
"""Each network with its usual optimizer."""
OPTIONS = _harness.OPTIONS | {
    "seconds": {
        "type": lambda text: (float(text),) * len(NETWORKS),
        "help": "how long each network's steps are timed",
    }
}


@dataclass(frozen=True, kw_only=True)
class Settings(_harness.Settings):
    """What was run; images have 3 x 32 x 32 pixels."""

    widths: tuple[int, ...] = (784, 700, 600, 10)
    mlp_batch: int = 128
    # Weights and work both grow with the square of the width, so that half of the usual width
    # hardly changes the ratio; the batch does.
    resnet_width: int = 32
    vit: tuple[int, ...] = (4, 128, 6, 4, 256)  # patch, dim, depth, heads, mlp
    image_batch: int = 32
    seconds: tuple[float, ...] = (20.0, 100.0, 100.0)  # for the steps of each network


FULL = Settings()
QUICK = Settings(
    widths=(64, 128, 10),
    mlp_batch=32,
    resnet_width=4,
    vit=(8, 16, 1, 2, 32),
    image_batch=4,
    seconds=(0.3, 0.3, 0.3),
)


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


def training(name: str, form: str, settings: Settings) -> Training:
    """Return a network in training with one form of decay."""
    torch.manual_seed(0)
    model, x = network(name, settings)
    model, x = model.to(settings.device), x.to(settings.device)
    y = torch.arange(len(x), device=settings.device) % 10
    return Training(form, model, x, y, OPTIMIZERS[NETWORKS[name]])


def kept_bytes(trained: Training) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, beside what exists."""
    there = _harness.storages()
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in there:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = trained.loss()
    total = sum(kept.values())
    del loss  # until here nothing that was kept is freed, so no address is used twice
    return total


def compare(name: str, seconds: float, settings: Settings, forms: Sequence[str]) -> list[Row]:
    """Return the rows of one network: some forms, timed in turns, and their memory."""
    _harness.announce(name)
    gc.collect()
    gc.freeze()  # what is here already need not be looked through again
    made: dict[str, Training] = {}
    memory: dict[str, int] = {}
    for form in forms:
        before = _harness.held_bytes()
        made[form] = training(name, form, settings)
        for _ in range(2):  # makes the optimizer's state, and theta_0
            made[form].step()
        memory[form] = _harness.held_bytes() - before + kept_bytes(made[form])
    gc.unfreeze()
    times = _harness.in_turns(
        made, lambda one: _harness.milliseconds(one.step, settings.device), seconds
    )
    parameters = sum(p.numel() for p in made[BASELINE].model.parameters())
    return [
        {
            "network": name,
            "optimizer": NETWORKS[name],
            "form": form,
            "parameters": parameters,
            "memory": round(memory[form] / memory[BASELINE], 4),
            **_harness.timed(times[form], times[BASELINE]),
        }
        for form in forms
    ]


def measure(settings: Settings, forms: Sequence[str] = FORMS) -> list[Row]:
    """Return the rows of all networks."""
    each = zip(NETWORKS, settings.seconds, strict=True)
    return [row for name, seconds in each for row in compare(name, seconds, settings, forms)]


def report(rows: list[Row]) -> str:
    """Return the printed report."""
    heading = "Time of a step (quartiles) and memory over those with built-in decay"
    return f"{heading}\n\n{table(rows)}"


def table(rows: list[Row]) -> str:
    """Return time and memory as ratios: one line per form, two columns per network."""
    of = {(r["form"], r["network"]): r for r in rows}
    names = _harness.distinct(rows, "network")
    baseline = [BASELINE]
    for name in names:
        baseline += [f"{of[BASELINE, name]['ms']:.0f} ms", ""]
    lines = [baseline]
    for form in _harness.distinct(rows, "form")[1:]:
        line = [form]
        for name in names:
            line += [_harness.ratio_cell(of[form, name]), f"{of[form, name]['memory']:.2f}"]
        lines.append(line)
    header = [cell for name in names for cell in (f"{name}: time", "memory")]
    return _harness.markdown(["form", *header], lines)


if __name__ == "__main__":
    sys.exit(_harness.run(sys.modules[__name__]))
