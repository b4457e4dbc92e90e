"""How long presets of the paper's size would take: each is begun, timed for a while, and stopped.

    python benchmarks/paper_presets.py                some minutes; writes results/not_run.csv
    python benchmarks/paper_presets.py --seconds 5 --only compatibility:paper --out DIR

Only presets without a record in results/ are timed. The trainings of a preset are counted first,
then some steps of the first one are timed; what a run measures between its steps is not in the
estimate. On a CPU it is the processor's time that counts, on one thread, so that other work on the
machine matters little. A few random images stand in for the data: a step takes as long with them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import _harness
import torch
from _harness import RESULTS, Row

import syre_helpers as sh
from syre_helpers import experiments
from syre_helpers._provenance import check_writable

SHAPES = {
    "mnist": ((784,), 10, 60_000, 10_000),
    "fashion_mnist": ((784,), 10, 60_000, 10_000),
    "cifar10": ((3, 32, 32), 10, 50_000, 10_000),
    "cifar100": ((3, 32, 32), 100, 50_000, 10_000),
    "cifar10_jpeg": ((3, 32, 32), 10, 50_000, 10_000),
}
# Steps before this one pay for memory and compilation.
WARM = 2
# Presets that are judged by a recorded one, with the same world or the same grid of settings.
RECORDED = {"reinforcement:paper": "ant-short"}
# Presets whose step is that of another one: the same network, the same number of images.
SAME_STEP = {"simclr:full-size": "cifar"}


def stand_in(name: str, limit: int | None) -> Callable[..., Any]:
    """Return a loader of random images shaped like a data set, at most `limit` of each part."""
    shape, classes, *numbers = SHAPES[name]

    def load(n_train: int | None = None, n_test: int | None = None, *_: Any, **__: Any) -> Any:
        generator = torch.Generator().manual_seed(0)
        parts = []
        for wanted, there in zip((n_train, n_test), numbers, strict=True):
            n = min(wanted or there, limit or there)
            parts.append(torch.randn(n, *shape, generator=generator))
            parts.append(torch.randint(classes, (n,), generator=generator))
        return sh.data.DataSplit(*parts)

    return load


@contextmanager
def with_data(limit: int | None = None) -> Iterator[None]:
    """Let random images stand in for all data sets that may have to be downloaded."""
    with mock.patch.multiple(sh.data, **{name: stand_in(name, limit) for name in SHAPES}):
        yield


def one_by_one(module: Any, config: Any) -> bool:
    """Test whether an experiment trains its networks one after another."""
    return getattr(module, "one_by_one", lambda config: False)(config)


def computed(name: str, module: Any, config: Any) -> list[int]:
    """Return the number of steps of each training of a run that trains one by one."""
    # Large networks take minutes to be made and measured, so their trainings are not begun.
    steps = getattr(config, "steps", None)
    if steps is None:
        images = config.n_train or SHAPES[config.data][2]
        steps = config.epochs * (images // config.batch_size)
    networks = 2 if name == "mode_connectivity" else 1
    return [steps] * (len(module.compared_arms(config)) * config.seeds * networks)


def count(module: Any, config: Any) -> list[int]:
    """Return the number of steps of each training of a run, beginning each, without any step."""
    lengths: list[int] = []

    def none(steps: range, *_: object, **__: object) -> tuple[int, ...]:
        lengths.append(len(steps))
        return ()

    with with_data(few(config)), in_training("progress", none):
        module.run(config)
    return lengths


@contextmanager
def in_training(name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    """Replace a function of the trainers in every module of theirs that uses it."""
    users = [
        module
        for path, module in list(sys.modules.items())
        if path.startswith("syre_helpers.training.") and hasattr(module, name)
    ]
    with ExitStack() as stack:
        for module in users:
            stack.enter_context(mock.patch.object(module, name, replacement))
        yield


def few(config: Any) -> int | None:
    """Return as few images as make two batches; None where all are one batch."""
    return 2 * getattr(config, "batch_size", 0) or None


@cache
def seconds_per_step(name: str, preset: str, limit: float) -> tuple[float, int]:
    """Return the seconds of a step of the first training, and how many steps were timed."""
    module = experiments.load(name)
    device = str(sh.pick_device(quiet=True))
    config = experiments.configure(module, preset, device=device)

    def ends(steps: int, log_every: Any) -> frozenset[int]:
        return frozenset({0, steps})

    with with_data(few(config)), in_training("_measuring_steps", ends):
        begun = _harness.begun_steps(lambda: module.run(config), config.device, limit, 0, 2)
    times = [time for time, _ in begun]
    warm = times[min(WARM, len(times) - 2) :]
    return (warm[-1] - warm[0]) / (len(warm) - 1), len(warm) - 1


def estimate(name: str, preset: str, limit: float) -> Row:
    """Return a preset's row of the table."""
    recorded = RECORDED.get(f"{name}:{preset}")
    if recorded is not None:
        return estimate_by_record(name, preset, recorded)
    timed_on = SAME_STEP.get(f"{name}:{preset}", preset)
    return row(name, preset, *seconds_per_step(name, timed_on, limit), timed_on)


def trainings(name: str, config: Any) -> list[int]:
    """Return the number of steps of each training of a run."""
    module = experiments.load(name)
    if name == "reinforcement":  # those of all copies of the world together
        steps = config.phases * config.rollouts * config.n_steps * config.envs
        return [steps] * (len(module.compared_arms(config)) * config.seeds)
    return computed(name, module, config) if one_by_one(module, config) else count(module, config)


def estimate_by_record(name: str, preset: str, recorded: str) -> Row:
    """Return the row of a preset, from the time that a recorded one took for each step."""
    # PPO's short run with the ant makes fewer passes over a rollout, in larger batches, so the
    # paper's preset takes longer than this.
    presets = experiments.load(name).PRESETS
    record = experiments.read_record(RESULTS / f"{name}-{recorded}.csv")
    timed = sum(trainings(name, presets[recorded]))
    return row(name, preset, record.provenance["seconds"] / timed, timed, recorded)


def row(name: str, preset: str, each: float, timed: int, timed_on: str) -> Row:
    """Return a row of the table, from the seconds of a step, and what was timed."""
    lengths = trainings(name, experiments.load(name).PRESETS[preset])
    return {
        "experiment": name,
        "preset": preset,
        "trainings": len(lengths),
        "steps": sum(lengths),
        "seconds_a_step": float(f"{each:.3g}"),
        "steps_timed": timed,
        "timed_on": timed_on,
        "hours": float(f"{sum(lengths) * each / 3600:.3g}"),
    }


def unrecorded() -> list[str]:
    """Return the presets without a record, as NAME:PRESET, but for those that are for a GPU."""
    return [
        f"{name}:{preset}"
        for name in experiments.names()
        for preset in experiments.load(name).PRESETS
        if not (preset.startswith("cuda") or (RESULTS / f"{name}-{preset}.csv").exists())
    ]


def main() -> int:
    """Read the command line, time the presets, and write the table."""
    parser = argparse.ArgumentParser(description="Time the presets that have not been run.")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each preset; default 20")
    parser.add_argument("--only", nargs="*", help="NAME:PRESET; all without a record when left out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    asked = parser.parse_args()
    try:
        check_writable("--out", asked.out / "not_run.csv")
    except ValueError as error:
        parser.error(str(error))
    torch.set_num_threads(1)
    rows = []
    for one in unrecorded() if asked.only is None else asked.only:
        name, preset = one.split(":")
        rows.append(estimate(name, preset, asked.seconds))
        print(rows[-1], flush=True)
    if not rows:
        print("Every preset has a record.")
        return 0
    device = sh.pick_device(quiet=True)
    facts = _harness.provenance("paper_presets", str(device))
    where = facts["machine"]["device"] if device.type == "cuda" else "one CPU core"
    _harness.write(asked.out, "not_run", rows, {"where": where, **facts})
    return 0


if __name__ == "__main__":
    sys.exit(main())
