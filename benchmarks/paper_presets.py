"""How long presets of the paper's size would take: each is begun, timed for a while, and stopped.

    python benchmarks/paper_presets.py                a minute a preset; writes results/not_run.csv
    python benchmarks/paper_presets.py --seconds 5 --only compatibility:paper --out DIR

Only presets without a record in results/ are timed. First every training of a preset is counted
without taking a step, with a small network, then the first one is timed. On a CPU it is the
processor's time that counts, on one thread, so that other work on the machine matters little.
Where a data set is not there, random images of the same shape stand in: they take as long.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import syre_helpers as sh
from syre_helpers import experiments
from syre_helpers.training import loop, many, options

RESULTS = Path(__file__).parent.parent / "results"
SHAPES = {
    "mnist": ((784,), 10, 60_000, 10_000),
    "fashion_mnist": ((784,), 10, 60_000, 10_000),
    "cifar10": ((3, 32, 32), 10, 50_000, 10_000),
    "cifar100": ((3, 32, 32), 100, 50_000, 10_000),
    "cifar10_jpeg": ((3, 32, 32), 10, 50_000, 10_000),
}
# Steps before this one pay for memory and compilation.
WARM = 2


# A network as small as the experiment allows, where trainings are only counted.
SMALL = {
    "compatibility": {"width": 4},
    "mode_connectivity": {"widths": (4,)},
    "simclr": {"width": 4},
    "supervised_collapse": {"dim": 8, "depth": 1},
}


class Enough(Exception):
    """The time is over."""


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


def count(module: Any, config: Any) -> list[int]:
    """Return the number of steps of each training of a run, without taking any."""
    lengths: list[int] = []

    def none(steps: range, label: str) -> tuple[int, ...]:
        lengths.append(len(steps))
        return ()

    quiet = mock.patch.object(loop, "progress", none), mock.patch.object(many, "progress", none)
    # As few images as make two batches.
    limit = 2 * getattr(config, "batch_size", getattr(config, "batch", 0)) or None
    with with_data(limit), quiet[0], quiet[1]:
        module.run(config)
    return lengths


def seconds_a_step(module: Any, config: Any, limit: float) -> tuple[float, int]:
    """Return the seconds of a step of the first training, and how many steps were timed."""
    times: list[float] = []
    clock = time.process_time if config.device == "cpu" else time.perf_counter

    def listen(done: int, total: int) -> None:
        if config.device != "cpu":
            torch.cuda.synchronize()
        times.append(clock())
        if times[-1] - times[0] > limit and len(times) > WARM + 1:
            raise Enough

    try:
        with with_data(), options.listening(listen):
            module.run(config)
    except Enough:
        pass
    warm = times[min(WARM, len(times) - 2) :]
    return (warm[-1] - warm[0]) / (len(warm) - 1), len(warm) - 1


def estimate(name: str, preset: str, limit: float) -> dict[str, Any]:
    """Return a preset's row of the table."""
    module = experiments.load(name)
    device = str(sh.pick_device(quiet=True))
    config = experiments.configure(module, preset, device=device)
    small = SMALL.get(name, {})
    lengths = count(module, experiments.configure(module, preset, **small))
    each, timed = seconds_a_step(module, config, limit)
    return {
        "experiment": name,
        "preset": preset,
        "trainings": len(lengths),
        "steps": sum(lengths),
        "seconds_a_step": round(each, 4),
        "steps_timed": timed,
        "hours": round(sum(lengths) * each / 3600, 2),
    }


def ppo_steps(config: Any) -> int:
    """Return the steps of all agents of a run of the experiment `reinforcement`."""
    agents = len(experiments.load("reinforcement").compared_arms(config)) * config.seeds
    return agents * config.phases * config.rollouts * config.n_steps * config.envs


def estimate_ppo(preset: str) -> dict[str, Any]:
    """Return the row of a preset of PPO, from the recorded short run: at least so many hours.

    Its updates are smaller (fewer passes over a rollout), so the preset takes longer than this.
    """
    module = experiments.load("reinforcement")
    record = experiments.read_record(RESULTS / "reinforcement-ant-short.csv")
    short = module.PRESETS["ant-short"]
    each = record.provenance["seconds"] / ppo_steps(short)
    config = module.PRESETS[preset]
    return {
        "experiment": "reinforcement",
        "preset": preset,
        "trainings": len(module.compared_arms(config)) * config.seeds,
        "steps": ppo_steps(config),
        "seconds_a_step": round(each, 6),
        "steps_timed": ppo_steps(short),
        "hours": round(ppo_steps(config) * each / 3600, 2),
    }


def unrecorded() -> list[str]:
    """Return the presets without a record, as NAME:PRESET."""
    found = []
    for name in experiments.names():
        for preset in experiments.load(name).PRESETS:
            there = (RESULTS / f"{name}-{preset}.csv").exists()
            if not there and not preset.startswith("quick"):
                found.append(f"{name}:{preset}")
    return found


def main() -> int:
    """Read the command line, time the presets, and write the table."""
    parser = argparse.ArgumentParser(description="Time the presets that have not been run.")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each preset; default 60")
    parser.add_argument("--only", nargs="*", help="NAME:PRESET; all without a record when left out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for one in asked.only if asked.only is not None else unrecorded():
        name, preset = one.split(":")
        ppo = name == "reinforcement"
        rows.append(estimate_ppo(preset) if ppo else estimate(name, preset, asked.seconds))
        print(rows[-1], flush=True)
    if not rows:
        print("Every preset has a record.")
        return 0
    asked.out.mkdir(parents=True, exist_ok=True)
    with (asked.out / "not_run.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    device = sh.pick_device(quiet=True)
    facts = {
        "where": torch.cuda.get_device_name(device) if device.type == "cuda" else "one CPU core",
        "machine": platform.machine(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "command": "python benchmarks/paper_presets.py",
    }
    (asked.out / "not_run.json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
