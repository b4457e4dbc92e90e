"""The package from a shell: ``python -m syre_helpers list | run NAME | doctor``."""

from __future__ import annotations

import argparse
import importlib.util
import platform
import sys
from importlib import metadata
from pathlib import Path

from . import __version__, experiments
from .experiments.record import run_recorded, write_record
from .training import pick_device


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, do what it says, and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return {"list": _list, "run": _run, "doctor": _doctor}[options.command](options)
    except ValueError as error:
        print(f"syre_helpers: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m syre_helpers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the experiments and their presets")
    run = commands.add_parser("run", help="run an experiment")
    run.add_argument("name", help="as printed by list")
    run.add_argument("--preset", default="quick", help="default: quick")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    run.add_argument("--seeds", type=int, help="how many; default: the preset's")
    run.add_argument(
        "--checkpoints",
        type=Path,
        help="a folder in which the run keeps its state, and from which the same command goes on",
    )
    run.add_argument("--out", type=Path, help="a .csv file; the provenance goes beside it")
    commands.add_parser("doctor", help="what this machine has")
    return parser


def _list(options: argparse.Namespace) -> int:
    for name in experiments.names():
        module = experiments.load(name)
        first = (module.__doc__ or "").strip().splitlines()[0]
        print(f"{name}: {first}\n    presets: {', '.join(module.PRESETS)}")
    return 0


def _run(options: argparse.Namespace) -> int:
    module = experiments.load(options.name)
    changes: dict[str, object] = {"device": str(pick_device(options.device))}
    if options.seeds is not None:
        if options.seeds < 1:
            raise ValueError(f"--seeds={options.seeds} must be at least 1")
        changes["seeds"] = options.seeds
    if options.out is not None and options.out.suffix != ".csv":
        raise ValueError(f"--out={str(options.out)!r} must end in .csv")
    config = experiments.configure(module, options.preset, **changes)
    record = run_recorded(
        module.__name__.rpartition(".")[2],
        options.preset,
        config,
        module.run,
        options.checkpoints,
    )
    if options.out is not None:
        # Before anything that may fail: a long run must not be lost.
        write_record(record, options.out)
        print(f"written: {options.out} and {options.out.with_suffix('.json')}")
    table = record.table
    last = table[table.step == table.groupby(["arm", "seed"]).step.transform("max")]
    numbers = last.select_dtypes("number").drop(columns=["seed", "step"])
    print(numbers.groupby(last.arm).agg(["mean", "std"]).to_string())
    return 0


def _doctor(options: argparse.Namespace) -> int:
    import torch

    print(f"syre_helpers {__version__}, Python {platform.python_version()}, {platform.machine()}")
    for package in ("torch", "numpy", "pandas", "matplotlib", "seaborn", "scikit-learn"):
        print(f"{package} {metadata.version(package)}")
    extras = {"vision": "kornia", "train": "accelerate", "rl": "gymnasium"}
    for extra, module in extras.items():
        found = importlib.util.find_spec(module) is not None
        print(f"extra {extra}: {'installed' if found else f'not installed ({module})'}")
    print(f"CPU threads: {torch.get_num_threads()}")
    print(f"device that would be used: {pick_device(quiet=True)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
