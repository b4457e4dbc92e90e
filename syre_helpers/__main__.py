"""The package from a shell: ``python -m syre_helpers list | run NAME | doctor``."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.util
import os
import sys
import tempfile
import types
import typing
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import experiments
from ._provenance import check_writable, describe_machine, describe_versions
from .diagnosis import diagnose_checkpoint
from .experiments._grid import Cell, collect, run_cells
from .experiments.record import Record, run_recorded, write_record
from .training import pick_device
from .training.processes import launched

if TYPE_CHECKING:
    import pandas as pd
    from accelerate import Accelerator

_SET = (
    "another value of a setting, or several to try each: --set weight_decay=0.01,0.1. Given for "
    "several settings, every combination is run. Where a setting is a row of numbers, they are one "
    'value: --set sigma_ratios=0.1,0.2; several rows are written "(0.1, 0.2), (0.5,)"'
)
_CHECKPOINT = (
    "what torch.save wrote, safetensors, or the folder of a checkpoint. It is diagnosed by its "
    "weights alone, or, with --model and --batch, by what the model does; no code in it is run"
)
_BATCH = (
    "what the model is called with, written by torch.save: a tensor, several, or a dict of them; "
    "with --loss a pair (inputs, targets)"
)
_EXTRAS = {
    "vision": "PIL",
    "train": "accelerate",
    "frameworks": "lightning",
    "timm": "timm",
    "rl": "gymnasium",
    "cluster": "distributed",
}


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, do what it says, and return the exit status.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.

    Returns
    -------
    int
        0; 2 after bad input, which is answered in one line on stderr; 130 after Ctrl-C; 141 where
        the reader of a pipe has gone.
    """
    options = _parser().parse_args(arguments)
    try:
        options.work(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        kept = getattr(options, "checkpoints", None) is not None
        how = "" if kept else "nothing is kept; with --checkpoints FOLDER "
        how += "the same command goes on where it stopped"
        print(f"syre_helpers: interrupted; {how}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Else Python complains when it closes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        print(f"syre_helpers: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m syre_helpers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="the experiments and their presets")
    listing.set_defaults(work=_list)
    run = commands.add_parser("run", help="run an experiment")
    run.set_defaults(work=_run)
    run.add_argument("name", help="as printed by list")
    run.add_argument("--preset", default="quick", help="default: quick")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    run.add_argument("--seeds", type=int, help="how many; default: the preset's")
    run.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE,…", help=_SET)
    run.add_argument(
        "--jobs", type=int, help="split the seeds over this many processes, one thread each"
    )
    run.add_argument(
        "--checkpoints",
        type=Path,
        help="a folder in which the run keeps its state, and from which the same command goes on",
    )
    run.add_argument("--out", type=Path, help="a .csv file; the provenance goes beside it")
    doctor = commands.add_parser("doctor", help="what a checkpoint has, or what this machine has")
    doctor.set_defaults(work=_doctor)
    doctor.add_argument("checkpoint", nargs="?", type=Path, help=_CHECKPOINT)
    doctor.add_argument(
        "--model", metavar="MODULE:FUNCTION", help="makes the model, without weights"
    )
    doctor.add_argument("--batch", type=Path, help=_BATCH)
    doctor.add_argument(
        "--loss", help="of torch.nn.functional, such as cross_entropy; needs --batch"
    )
    doctor.add_argument(
        "--weight-decay", type=float, help="of the training, for the rates of pairs"
    )
    return parser


def _list(options: argparse.Namespace) -> None:
    for name in experiments.names():
        module = experiments.load(name)
        first = (module.__doc__ or "").strip().splitlines()[0]
        print(f"{name}: {first}\n    presets: {', '.join(module.PRESETS)}")


def _run(options: argparse.Namespace) -> None:
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


def _configured(
    module: ModuleType, options: argparse.Namespace, together: Accelerator | None
) -> tuple[Any, dict[str, list[Any]]]:
    """Return the configuration, and the settings of which several values are tried."""
    for name in ("seeds", "jobs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name}={value} must be at least 1")
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
    # Before training begins: a long run must not be lost for want of a place.
    if options.out is not None:
        check_writable("--out", options.out)
    if options.checkpoints is not None:
        check_writable("--checkpoints", options.checkpoints / "run.json")
    return config, tried


def _device(wanted: str, together: Accelerator | None) -> str:
    """Return the device as all processes call it: each has one of its own of this kind."""
    if together is None:
        device = str(pick_device(wanted, quiet=wanted != "auto", argument="--device"))
        if wanted != "auto":
            name = describe_machine(device)["device"]
            print(f"device: {name} (asked for by --device)", file=sys.stderr)
        return device
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
    """Return the values of each ``--set``, as the fields of the configuration hold them."""
    kinds = typing.get_type_hints(type(config))
    settings: dict[str, list[Any]] = {}
    for one in given:
        name, _, text = one.partition("=")
        if name not in kinds:
            raise ValueError(f"--set {one!r}: {name!r} is no setting; there are {', '.join(kinds)}")
        if name in ("seeds", "device"):
            raise ValueError(f"--set {one!r}: {name} has an argument of its own, --{name}")
        if name in settings:
            raise ValueError(f"--set {one!r}: {name} is set twice; give all values in one --set")
        try:
            values = [_converted(value, kinds[name]) for value in _values(text, kinds[name])]
        except (TypeError, ValueError) as error:
            now = _text(getattr(config, name), kinds[name])
            raise ValueError(f"--set {one!r}: {name} takes {now}") from error
        settings[name] = values
    return settings


def _values(text: str, kind: Any) -> list[Any]:
    """Return the values that are written with commas between them; words need no quotes."""
    try:
        values = list(ast.literal_eval(f"[{text}]"))
    except (ValueError, SyntaxError):
        values = text.split(",")
    if typing.get_origin(kind) is tuple and (not values or type(values[0]) is not tuple):
        return [tuple(values)]
    if not values:
        raise ValueError
    return values


def _text(value: Any, kind: Any) -> str:
    """Return in words what may be written after ``--set``."""
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(typing.get_args(kind))
    row = isinstance(value, tuple) and value
    return f"values like {','.join(map(str, value)) if row else repr(value)}"


def _converted(value: Any, kind: Any) -> Any:
    """Return a value as a field of this type holds it, or raise TypeError or ValueError."""
    parts = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        kinds = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(_converted(v, k) for v, k in zip(value, kinds, strict=True))
    if typing.get_origin(kind) is typing.Literal:
        if value not in parts:
            raise ValueError
        return value
    allowed = parts if isinstance(kind, types.UnionType) else (kind,)
    if type(value) is int and int not in allowed and float in allowed:
        return float(value)
    if type(value) not in allowed:
        raise TypeError
    return value


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


def _last_means(table: pd.DataFrame, tried: list[str]) -> str:
    """Return mean and spread over the seeds, at the end, of every arm and setting."""
    settings = list(table.columns[: table.columns.get_loc("seed")])
    # Of an arm's settings, those that its label does not tell.
    of_arms = table.groupby("arm")[settings].nunique(dropna=False).max()
    groups = [name for name in settings if name in (*tried, "arm") or of_arms[name] > 1]
    final = table.groupby([*groups, "seed"], dropna=False).step.transform("max")
    last = table[table.step == final]
    measured = last.drop(columns=[*settings, "seed", "step"]).select_dtypes("number")
    by = [last[name] for name in groups]
    return measured.groupby(by, dropna=False).agg(["mean", "std"]).to_string()


def _doctor(options: argparse.Namespace) -> None:
    if options.checkpoint is not None:
        print(
            diagnose_checkpoint(
                options.checkpoint,
                model=options.model,
                batch=options.batch,
                loss=options.loss,
                weight_decay=options.weight_decay,
            )
        )
        return
    for name in ("model", "batch", "loss", "weight_decay"):
        if getattr(options, name) is not None:
            argument = name.replace("_", "-")
            raise ValueError(f"--{argument} goes with a checkpoint: doctor FILE --{argument} ...")
    packages = ("torch", "numpy", "pandas", "matplotlib", "seaborn", "scikit-learn")
    device = pick_device(quiet=True)
    for name, fact in {**describe_versions(packages), **describe_machine(device)}.items():
        print(f"{name}: {fact}")
    for extra, module in _EXTRAS.items():
        found = importlib.util.find_spec(module) is not None
        print(f"extra {extra}: {'installed' if found else f'not installed ({module})'}")
    print(f"device that would be used: {device}")
    print("to diagnose a model: doctor CHECKPOINT [--model module:function --batch FILE]")


if __name__ == "__main__":
    sys.exit(main())
