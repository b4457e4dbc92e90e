"""A grid of an experiment: cells that run anywhere, are kept one by one, and make one table."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .._checks import check_positive_int
from .._provenance import peak_memory_mb, write_whole
from ..training.callbacks import listening
from ._common import seeds_of

if TYPE_CHECKING:
    import pandas as pd

Run = Callable[[Any, Path | None], "pd.DataFrame"]

# A run seeds torch's global generator for a moment, which belongs to all threads of a process.
_ONE_AT_A_TIME = threading.Lock()


def grid(
    run: Run,
    configs: Sequence[Any],
    folder: str | Path,
    *,
    jobs: int | None = None,
    threads: int = 1,
) -> pd.DataFrame:
    """Run an experiment under many configurations, in as many processes or machines as there are.

    Each configuration is a cell. A cell that is done is a file in `folder`, whole or not there, so
    that what was running may be killed at any time: the same call goes on, a cell that was cut
    short from its checkpoint. The table is made from these files, and is the same in whatever order
    and wherever the cells ran, to rounding where machines differ.

    Parameters
    ----------
    run : callable
        ``run(config, checkpoints)`` returns a tidy table, as that of every experiment does.
    configs : sequence of dataclass
        Such as `variants` or `split_seeds` make; no seed of a setting may come twice.
    folder : path
        Where the cells are kept; one folder for one experiment. All workers must see it under this
        path. Delete it when the code of the experiment has changed.
    jobs : int, optional
        Number of cells that run side by side. Default: what ``joblib.parallel_config`` says, and 1
        without it. The backend is joblib's too: processes, or ``joblib.parallel_config("dask")``;
        ``joblib.parallel_config(verbose=10)`` shows how many cells are done.
    threads : int
        CPU threads of a cell. Default 1: the last bits of a sum depend on it.

    Returns
    -------
    pandas.DataFrame
        The cells' tables one under the other, in the order of `configs`. Settings that differ,
        other than the seeds, come first, one column per setting.

    Notes
    -----
    No configurations, or some of different kinds, and a seed that would count twice are a
    ValueError. A worker process that was killed is a RuntimeError: what is done is kept, and with
    Dask another worker takes over.

    Examples
    --------
    >>> import tempfile
    >>> from syre_helpers import experiments
    >>> module = experiments.load("dead_neurons")
    >>> config = experiments.configure(module, "quick", d=10, samples=20, steps=5, seeds=2)
    >>> cells = experiments.variants(config, weight_decay=[0.001, 0.01])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = experiments.grid(module.run, cells, folder)
    >>> table.groupby("weight_decay").seed.nunique().to_dict()
    {0.001: 2, 0.01: 2}
    """
    return collect(configs, run_cells(run, configs, Path(folder), jobs, threads))


def variants(config: Any, **settings: Sequence[Any]) -> list[Any]:
    """Return a configuration with every combination of some settings.

    Parameters
    ----------
    config : dataclass
        Gives all other settings.
    **settings
        The values to try of a field, a list, tuple or range: ``weight_decay=[0.01, 0.1]``.

    Returns
    -------
    list
        Configurations, the last setting changing fastest.

    Raises
    ------
    ValueError
        If a field does not exist, or its values are no sequence.

    Examples
    --------
    >>> from syre_helpers import experiments
    >>> config = experiments.load("dead_neurons").PRESETS["quick"]
    >>> [(c.d, c.lr) for c in variants(config, d=[50, 100], lr=[0.01, 0.02])]
    [(50, 0.01), (50, 0.02), (100, 0.01), (100, 0.02)]
    """
    fields = [field.name for field in dataclasses.fields(config)]
    for name, values in settings.items():
        if name not in fields:
            raise ValueError(f"{name!r} is no setting; there are {', '.join(fields)}")
        if not isinstance(values, (list, tuple, range)) or not values:
            raise ValueError(f"{name}={values!r} must be a list of values to try")
    return [
        dataclasses.replace(config, **dict(zip(settings, values, strict=True)))
        for values in itertools.product(*settings.values())
    ]


def split_seeds(config: Any, parts: int) -> list[Any]:
    """Return an experiment's configuration in parts of about as many seeds each.

    Seeds do not see one another, so all parts together give the table of the whole, to rounding: a
    product of stacked matrices may be summed in another order where fewer are stacked.

    Parameters
    ----------
    config : dataclass
        With the field ``seeds``.
    parts : int
        How many; at most as many as there are seeds.

    Returns
    -------
    list
        Configurations that differ in ``seeds`` only, a tuple each. Fewer than one part, and seeds
        that cannot be split, after a tuning, are a ValueError.

    Examples
    --------
    >>> from syre_helpers import experiments
    >>> config = experiments.load("dead_neurons").PRESETS["quick"]
    >>> [part.seeds for part in split_seeds(config, 3)]
    [(0, 1, 2, 3), (4, 5, 6), (7, 8, 9)]
    """
    seeds = seeds_of(config.seeds)
    parts = min(check_positive_int("parts", parts), len(seeds))
    size, larger = divmod(len(seeds), parts)
    ends = list(itertools.accumulate([size + 1] * larger + [size] * (parts - larger), initial=0))
    return [
        dataclasses.replace(config, seeds=tuple(seeds[first:end]))
        for first, end in itertools.pairwise(ends)
    ]


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell that is done: its table, and the most memory that its process ever held."""

    table: pd.DataFrame
    peak_memory_mb: float


def run_cells(
    run: Run, configs: Sequence[Any], folder: Path, jobs: int | None = None, threads: int = 1
) -> list[Cell]:
    """Run the cells that are not done yet, and return all; see `grid`."""
    import joblib

    _check(configs)
    check_positive_int("threads", threads)
    folder = folder.absolute()  # workers may start elsewhere
    files = [folder / f"{_key(run, config)}.json" for config in configs]
    tasks = [
        joblib.delayed(_run_cell)(run, config, file, threads, os.getpid())
        for config, file in zip(configs, files, strict=True)
        if not file.exists()
    ]
    try:
        # One cell a batch: what dies takes no other cell with it.
        joblib.Parallel(jobs, batch_size=1, pre_dispatch="all")(tasks)
    except BrokenProcessPool as error:
        done = sum(file.exists() for file in files)
        raise RuntimeError(
            f"a worker process was killed, perhaps for want of memory; {done} of {len(files)} "
            f"cells are done and kept in {str(folder)!r}: the same call goes on from there"
        ) from error
    return [_read(file) for file in files]


def collect(configs: Sequence[Any], cells: Sequence[Cell]) -> pd.DataFrame:
    """Return the tables of all cells as one, with a column for each setting that differs."""
    import pandas as pd

    tables = []
    names = [f.name for f in dataclasses.fields(configs[0]) if f.name != "seeds"]
    differ = [n for n in names if any(getattr(c, n) != getattr(configs[0], n) for c in configs)]
    for config, cell in zip(configs, cells, strict=True):
        table = cell.table
        for k, name in enumerate(differ):
            value = getattr(config, name)
            value = str(value) if isinstance(value, tuple) else value
            # A setting of the arms, such as the decay, is a column already; vanilla has none.
            table.insert(k, name, table.pop(name).fillna(value) if name in table else value)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _check(configs: Sequence[Any]) -> None:
    if not configs or any(type(config) is not type(configs[0]) for config in configs):
        raise ValueError("configs must be at least one configuration, all of one experiment")
    if not dataclasses.is_dataclass(configs[0]):
        raise ValueError(f"configs must be dataclasses, got {configs[0]!r}")
    seen: set[tuple[str, int | None]] = set()
    for config in configs:
        settings = dataclasses.asdict(config)
        seeds = seeds_of(settings.pop("seeds")) if "seeds" in settings else [None]
        for one in ((_text(settings), seed) for seed in seeds):
            if one in seen:
                raise ValueError(f"configs hold seed {one[1]} of the same setting twice: {config}")
            seen.add(one)


def _text(settings: Any) -> str:
    try:
        return json.dumps(settings, sort_keys=True)
    except TypeError as error:
        raise ValueError(
            f"settings must be numbers, words, or tuples of them, to name a cell: {error}"
        ) from error


def _key(run: Run, config: Any) -> str:
    """Return the name of a cell: that of its function, and a hash of all settings."""
    name = f"{run.__module__}.{run.__qualname__}"
    whole = _text({"run": name, "config": dataclasses.asdict(config)})
    return hashlib.sha256(whole.encode()).hexdigest()[:24]


def _run_cell(run: Run, config: Any, file: Path, threads: int, driver: int) -> None:
    """Run one cell and write its file; the folder of the same name holds what it may go on from."""
    checkpoints = file.with_suffix("")
    # Bars of several processes would overwrite one another.
    quiet = nullcontext() if os.getpid() == driver else listening()
    with _ONE_AT_A_TIME, quiet, _threads(threads):
        if file.exists():
            return
        table = run(config, checkpoints)
        outcome = {
            "run": f"{run.__module__}.{run.__qualname__}",
            "config": dataclasses.asdict(config),
            "peak_memory_mb": peak_memory_mb(),
            # Unlike in a CSV file, every number and every empty word reads back as it was.
            "table": table.to_dict("list"),
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(outcome))
    shutil.rmtree(checkpoints, ignore_errors=True)


def _read(file: Path) -> Cell:
    import pandas as pd

    outcome = json.loads(file.read_text())
    return Cell(pd.DataFrame(outcome["table"]), outcome["peak_memory_mb"])


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
