"""The package from a shell: ``python -m syre_helpers list | run NAME | doctor``."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.util
import os
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import __version__, experiments
from .experiments._grid import Cell, collect, run_cells
from .experiments.record import Record, run_recorded, write_record
from .training import pick_device
from .training.processes import launched

if TYPE_CHECKING:
    import pandas as pd
    from accelerate import Accelerator


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
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE,…",
        help="another value of a setting, or several to try each, as in weight_decay=0.01,0.1; "
        "given more than once, every combination is run",
    )
    run.add_argument(
        "--jobs", type=int, help="split the seeds over so many processes, one thread each"
    )
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
    together = launched(options.device)
    config, tried = _configured(module, options, together)
    if together is None or together.is_main_process:
        record = _recorded(module, config, tried, options)
        if together is not None:
            how = {"processes": together.num_processes, "precision": together.mixed_precision}
            record = dataclasses.replace(record, provenance=record.provenance | how)
        if options.out is not None:
            # Before anything that may fail: a long run must not be lost.
            write_record(record, options.out)
            print(f"written: {options.out} and {options.out.with_suffix('.json')}")
        print(_last_means(record.table, list(tried)))
    else:
        module.run(config, options.checkpoints)  # its share; the main process keeps the record
    if together is not None:
        together.end_training()
    return 0


def _configured(
    module: ModuleType, options: argparse.Namespace, together: Accelerator | None
) -> tuple[Any, dict[str, list[Any]]]:
    """Return what to run, and the settings of which several values are tried."""
    if options.seeds is not None and options.seeds < 1:
        raise ValueError(f"--seeds={options.seeds} must be at least 1")
    if options.jobs is not None and options.jobs < 1:
        raise ValueError(f"--jobs={options.jobs} must be at least 1")
    if options.out is not None and options.out.suffix != ".csv":
        raise ValueError(f"--out={str(options.out)!r} must end in .csv")
    settings = _settings(options.set, experiments.configure(module, options.preset))
    tried = {name: values for name, values in settings.items() if len(values) > 1}
    changes = {name: values[0] for name, values in settings.items() if len(values) == 1}
    changes["device"] = _device(options.device, together)
    if options.seeds is not None:
        changes["seeds"] = options.seeds
    config = experiments.configure(module, options.preset, **changes)
    if together is not None:
        _check_together(together, module, config, options, tried)
    return config, tried


def _device(wanted: str, together: Accelerator | None) -> str:
    """Return the device as all processes call it: each has one of its own of this kind."""
    if together is None:
        return str(pick_device(wanted))
    kind: str = together.device.type
    if wanted not in ("auto", kind):
        raise ValueError(
            f"--device={wanted}: each process is given a device of its own, here {kind}"
        )
    return kind


def _check_together(
    together: Accelerator,
    module: ModuleType,
    config: Any,
    options: argparse.Namespace,
    tried: dict[str, list[Any]],
) -> None:
    """See that what is to be run takes several processes, or another precision."""
    if together.num_processes == 1 and together.mixed_precision == "no":
        return
    if tried or options.jobs is not None:
        raise ValueError(
            "--jobs, and --set with several values, split a run themselves; start it with python "
            "-m syre_helpers"
        )
    if not getattr(module, "one_by_one", lambda config: False)(config):
        raise ValueError(
            f"{options.name} trains its models as one stacked program, in one process and in full "
            "precision; start it with python -m syre_helpers"
        )


def _settings(given: list[str], config: Any) -> dict[str, list[Any]]:
    """Return the values of each ``--set``, of the kind that the setting has in the preset."""
    settings = {}
    for one in given:
        name, _, text = one.partition("=")
        try:
            values = list(ast.literal_eval(f"[{text}]"))
        except (ValueError, SyntaxError):
            values = text.split(",")
        now = getattr(config, name, None)  # an unknown name is answered by `configure`
        if isinstance(now, float):
            values = [float(v) if type(v) is int else v for v in values]
        wrong = [v for v in values if now is not None and type(v) is not type(now)]
        if wrong or not values or name == "seeds":
            raise ValueError(f"--set {one!r}: {name} takes values like {now!r}; seeds have --seeds")
        settings[name] = values
    return settings


def _recorded(
    module: ModuleType, config: Any, tried: dict[str, list[Any]], options: argparse.Namespace
) -> Record:
    """Run one configuration as it is, or a grid in cells, and note where and how it ran."""
    name = module.__name__.rpartition(".")[2]
    if options.jobs is None and not tried:
        return run_recorded(name, options.preset, config, module.run, options.checkpoints)
    jobs = options.jobs or 1
    settings = experiments.variants(config, **tried)
    configs = [part for one in settings for part in experiments.split_seeds(one, jobs)]
    cells: list[Cell] = []
    verbose = 0 if os.environ.get("SYRE_PROGRESS", "1") == "0" else 10

    def run(config: Any, folder: Path | None) -> pd.DataFrame:
        import joblib

        with tempfile.TemporaryDirectory() as passing, joblib.parallel_config(verbose=verbose):
            cells.extend(run_cells(module.run, configs, folder or Path(passing), jobs))
        return collect(configs, cells)

    record = run_recorded(
        name, options.preset, config, run, options.checkpoints, jobs=jobs, grid=tried
    )
    peak = max(cell.peak_memory_mb for cell in cells)
    return dataclasses.replace(record, provenance=record.provenance | {"peak_memory_mb": peak})


def _last_means(table: pd.DataFrame, settings: list[str]) -> str:
    """Return mean and spread over the seeds, at the end, of every arm and setting."""
    runs = [*settings, "arm", "seed"]
    last = table[table.step == table.groupby(runs).step.transform("max")]
    numbers = last.select_dtypes("number").drop(
        columns=["seed", "step", *settings], errors="ignore"
    )
    groups = [last[name] for name in (*settings, "arm")]
    return numbers.groupby(groups).agg(["mean", "std"]).to_string()


def _doctor(options: argparse.Namespace) -> int:
    import torch

    print(f"syre_helpers {__version__}, Python {platform.python_version()}, {platform.machine()}")
    for package in ("torch", "numpy", "pandas", "matplotlib", "seaborn", "scikit-learn"):
        print(f"{package} {metadata.version(package)}")
    extras = {
        "vision": "kornia",
        "train": "accelerate",
        "rl": "gymnasium",
        "cluster": "distributed",
    }
    for extra, module in extras.items():
        found = importlib.util.find_spec(module) is not None
        print(f"extra {extra}: {'installed' if found else f'not installed ({module})'}")
    print(f"CPU threads: {torch.get_num_threads()}")
    print(f"device that would be used: {pick_device(quiet=True)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
