"""Recorded runs: a tidy table beside a JSON file that says where it comes from."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
        Experiment, preset, configuration, data with checksums, device, versions, date, wall time,
        peak memory, command.
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
    """Run an experiment and note where and how it ran.

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
    **more
        What else tells this run from others, such as in how many processes it ran; for the record.

    Returns
    -------
    Record
        The table and its provenance; the time is that of all parts of an interrupted run.

    Raises
    ------
    ValueError
        If the folder holds the state of a run with other settings.
    """
    settings = {"experiment": experiment, "config": dataclasses.asdict(config), **more}
    clock = _Clock(checkpoints, settings)
    with clock:
        table = run(config, checkpoints)
    return Record(
        table,
        {
            **settings,
            "preset": preset,
            "data": origin(getattr(config, "data", "generated")),
            "device": _device(getattr(config, "device", "cpu")),
            "versions": {"python": platform.python_version()}
            | {package: metadata.version(package) for package in _PACKAGES},
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "seconds": round(clock.seconds, 1),
            "peak_memory_mb": peak_memory_mb(),
            "command": _command(sys.argv[1:]),
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
    path.parent.mkdir(parents=True, exist_ok=True)
    provenance = json.dumps(record.provenance, indent=2, sort_keys=True) + "\n"
    write_whole(path, record.table.to_csv(index=False, float_format="%.9g"))
    write_whole(path.with_suffix(".json"), provenance)


def read_record(path: Path) -> Record:
    """Read what `write_record` wrote.

    Parameters
    ----------
    path : Path
        The CSV file.

    Returns
    -------
    Record
        Table and provenance.

    Raises
    ------
    FileNotFoundError
        If the table or its provenance is missing: a number without provenance is no result.
    """
    import pandas as pd

    provenance = json.loads(path.with_suffix(".json").read_text())
    return Record(pd.read_csv(path), provenance)


def _command(arguments: list[str]) -> str:
    """Return the command without the places of files, which are this machine's own."""
    kept: list[str] = []
    places = ("--out", "--checkpoints")
    for k, word in enumerate(arguments):
        follows = k > 0 and arguments[k - 1] in places
        if not follows and word.partition("=")[0] not in places:
            kept.append(word)
    return " ".join(["python -m syre_helpers", *kept])


class _Clock:
    """Counts the seconds of a run, and keeps them with its settings beside its checkpoints."""

    def __init__(self, folder: Path | None, settings: dict[str, Any]) -> None:
        self._file = None if folder is None else folder / "run.json"
        # As they read back from the file, where a tuple has become a list.
        self._settings = json.loads(json.dumps(settings))
        self.seconds = 0.0
        if self._file is not None and self._file.exists():
            kept = json.loads(self._file.read_text())
            if kept["settings"] != self._settings:
                raise ValueError(
                    f"checkpoints={str(folder)!r} holds a run with other settings: "
                    f"{kept['settings']}; name another folder or delete it"
                )
            self.seconds = kept["seconds"]

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        self._keep()

    def __exit__(self, *exception: object) -> None:
        self.seconds += time.perf_counter() - self._started
        self._keep()

    def _keep(self) -> None:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(
                self._file, json.dumps({"settings": self._settings, "seconds": self.seconds})
            )


def write_whole(path: Path, text: str) -> None:
    """Write a file under a temporary name and rename it: it is there whole, or not at all."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.chmod(part, 0o644)  # mkstemp lets only the owner read
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def _device(device: str) -> str:
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(torch.device(device))
    return f"{device}, {platform.machine()}, {os.cpu_count()} cores"


def peak_memory_mb() -> float:
    """Return the largest resident size of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        # What `getrusage` says begins, on Linux, with the size of the process that started this.
        if line.startswith("VmHWM:"):
            peak = int(line.split()[1])
    # Linux counts in KB, macOS in bytes.
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)
