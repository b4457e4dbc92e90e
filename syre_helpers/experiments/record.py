"""Recorded runs: a tidy table beside a JSON file with its provenance."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._provenance import (
    describe_command,
    describe_machine,
    describe_versions,
    peak_memory_mb,
    write_whole,
)
from ..data.origin import origin

if TYPE_CHECKING:
    import pandas as pd

_PACKAGES = ("torch", "numpy", "pandas", "scikit-learn")


@dataclass(frozen=True)
class Record:
    """A recorded run.

    Parameters
    ----------
    table : pandas.DataFrame
        Tidy results.
    provenance : dict
        Experiment, preset, configuration, data with checksums, device, machine, versions and
        commit, date, wall time, peak memory, command.
    """

    table: pd.DataFrame
    provenance: dict[str, Any]


def run_recorded(
    experiment: str,
    preset: str,
    config: Any,
    run: Callable[[Any, Path | None], pd.DataFrame],
    checkpoints: Path | None = None,
    **more: Any,
) -> Record:
    """Return the record of a run of an experiment: its table, and where and how it ran.

    Parameters
    ----------
    experiment, preset : str
        Names, for the record.
    config : dataclass
        What `run` is called with.
    run : callable
        ``run(config, checkpoints)`` returns the tidy table.
    checkpoints : Path, optional
        A folder in which the run keeps its state, and from which it goes on if it was interrupted.
        ValueError if the folder holds a run with other settings.
    **more
        Other facts that tell this run from others, such as the number of processes.

    Returns
    -------
    Record
        Table and provenance; the seconds are those of all parts of an interrupted run. Of a part
        that was killed they are those up to its last checkpoint, which is what its work was for.
    """
    settings = {"experiment": experiment, "config": dataclasses.asdict(config), **more}
    clock = _Clock(checkpoints, settings)
    with clock:
        table = run(config, checkpoints)
    machine = describe_machine(getattr(config, "device", "cpu"))
    return Record(
        table,
        {
            **settings,
            "preset": preset,
            "data": origin(getattr(config, "data", "generated")),
            "device": machine["device"],
            "machine": machine,
            "versions": describe_versions(_PACKAGES),
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "seconds": round(clock.seconds, 1),
            "peak_memory_mb": peak_memory_mb(),
            "command": describe_command("python -m syre_helpers", sys.argv[1:]),
        },
    )


def write_record(record: Record, path: Path) -> None:
    """Write a record as ``path`` (CSV) and the same name with ``.json``, each whole or not at all.

    Parameters
    ----------
    record : Record
        What to write.
    path : Path
        Must end in ``.csv``. Missing folders are made.

    Raises
    ------
    ValueError
        If the name does not end in ``.csv``.
    """
    if path.suffix != ".csv":
        raise ValueError(f"path={str(path)!r} must end in .csv; the provenance goes beside it")
    provenance = json.dumps(record.provenance, indent=2, sort_keys=True) + "\n"
    write_whole(path, record.table.to_csv(index=False, float_format="%.9g"))
    write_whole(path.with_suffix(".json"), provenance)


def read_record(path: Path) -> Record:
    """Return the record that `write_record` wrote.

    Parameters
    ----------
    path : Path
        The CSV file. FileNotFoundError if it, or its provenance, is missing: a number without
        provenance is no result.

    Returns
    -------
    Record
        Table and provenance.
    """
    import pandas as pd

    provenance = json.loads(path.with_suffix(".json").read_text())
    return Record(pd.read_csv(path), provenance)


class _Clock:
    """Counts the seconds of a run, and keeps them with its settings beside its checkpoints."""

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        self._file = None if folder is None else folder / "run.json"
        # As they read back from the file, where a tuple has become a list.
        self._settings = json.loads(json.dumps(settings))
        self.seconds = 0.0
        if self._file is not None and self._file.exists():
            try:
                kept = json.loads(self._file.read_text())
                kept = {name: kept[name] for name in ("settings", "seconds")}
            except (ValueError, KeyError, TypeError, OSError) as error:
                raise ValueError(
                    f"checkpoints={str(folder)!r} holds a run.json that no run of this package "
                    "wrote, or a damaged one; name another folder or delete it"
                ) from error
            if kept["settings"] != self._settings:
                raise ValueError(
                    f"checkpoints={str(folder)!r} holds a run with other settings: "
                    f"{kept['settings']}; name another folder or delete it"
                )
            self.seconds = kept["seconds"] + _until_killed(self._file)

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        self._keep(running=True)

    def __exit__(self, *exception: object) -> None:
        self.seconds += time.perf_counter() - self._started
        self._keep(running=False)

    def _keep(self, running: bool) -> None:
        if self._file is not None:
            state = {"settings": self._settings, "seconds": self.seconds, "running": running}
            write_whole(self._file, json.dumps(state))


def _until_killed(file: Path) -> float:
    """Return the seconds from the start of a part that never ended to its last checkpoint."""
    if not json.loads(file.read_text()).get("running", False):
        return 0.0
    began = file.stat().st_mtime  # written as the part started, and not since
    return max(one.stat().st_mtime for one in file.parent.iterdir()) - began
