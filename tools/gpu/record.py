"""Record an experiment on a GPU, some seeds at a time: `python -m tools.gpu.record NAME PRESET`.

What is done is on disk after every group of seeds: that group's own record in ``cells/``, and the
record of all seeds so far. A run that is cut off goes on with the next group, in the middle of it
where checkpoints are left.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from syre_helpers import data, experiments
from syre_helpers.data import DataSplit
from syre_helpers.data.sets import SETS
from syre_helpers.experiments import Record, read_record, write_record
from syre_helpers.experiments.record import run_recorded
from syre_helpers.training.speed import at_speed
from tools.gpu.recordings import RECORDINGS, Recording

Group = tuple[int, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and record; return 1 if some seeds could not be."""
    parser = argparse.ArgumentParser(
        prog="tools.gpu.record", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("experiment")
    parser.add_argument("preset")
    parser.add_argument("--device", default="cuda", help="cpu: a rehearsal on false images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the record")
    parser.add_argument("--seeds", type=int, nargs="+", help="this group alone")
    options = parser.parse_args(arguments)
    wanted = options.experiment, options.preset
    recording = next(r for r in RECORDINGS if (r.experiment, r.preset) == wanted)
    if options.device == "cpu":
        groups = tuple(group[:1] for group in recording.groups[:2])
        recording = dataclasses.replace(recording, groups=groups)
    elif not torch.cuda.is_available():
        parser.error(f"--device {options.device} is not there; --device cpu rehearses")
    if options.seeds is not None:
        one(recording, tuple(options.seeds), options.device, options.out)
        return 0
    return every(recording, options.device, options.out)


def every(recording: Recording, device: str, out: Path) -> int:
    """Record all groups of seeds, several at once where the recording says so."""
    for group in recording.groups:
        record = kept(recording, group, out)
        wanted = json.loads(json.dumps(dataclasses.asdict(_config(recording, group, device))))
        if record is not None and record.provenance["config"] != wanted:
            print(f"{out / _cell(recording, group)} was recorded with other settings; delete it")
            return 1
    left = [group for group in recording.groups if kept(recording, group, out) is None]
    if recording.processes == 1:
        for group in left:
            one(recording, group, device, out)
            gather(recording, out)
    else:
        with ThreadPoolExecutor(recording.processes) as pool:
            for _ in pool.map(lambda group: _apart(recording, group, device, out), left):
                gather(recording, out)
    return int(gather(recording, out) < len(recording.groups))


def one(recording: Recording, group: Group, device: str, out: Path) -> None:
    """Record one group of seeds."""
    module, config = experiments.load(recording.experiment), _config(recording, group, device)
    how = dataclasses.asdict(recording.speed)
    checkpoints = out / "checkpoints" / _cell(recording, group).stem
    loader: AbstractContextManager[object] = nullcontext()
    if device == "cpu" and config.data in SETS:  # each machine has the sources of its Python
        loader = mock.patch.object(data, config.data, _false)
    with at_speed(recording.speed), loader:
        record = run_recorded(
            recording.experiment, recording.preset, config, module.run, checkpoints, speed=how
        )
    write_record(record, out / _cell(recording, group))


def gather(recording: Recording, out: Path) -> int:
    """Write the record of all groups that are done, and return how many they are."""
    import pandas as pd

    found = [kept(recording, group, out) for group in recording.groups]
    done = [record for record in found if record is not None]
    if done:
        facts = dict(done[0].provenance)
        seeds = [s for record in done for s in record.provenance["config"]["seeds"]]
        counted = len(seeds) if seeds == list(range(len(seeds))) else seeds
        facts["config"] = facts["config"] | {"seeds": counted}
        facts["seconds"] = round(sum(record.provenance["seconds"] for record in done), 1)
        facts["side_by_side"] = recording.processes
        facts["command"] = f"python -m tools.gpu --only {recording.name}"
        table = pd.concat([record.table for record in done], ignore_index=True)
        write_record(Record(table, facts), out / f"{recording.name}.csv")
    return len(done)


def kept(recording: Recording, group: Group, out: Path) -> Record | None:
    """Return the record of a group of seeds, or None where it is not there."""
    file = out / _cell(recording, group)
    return read_record(file) if file.with_suffix(".json").exists() else None


def _config(recording: Recording, group: Group, device: str) -> Any:
    """Return the settings of a group of seeds; on the CPU those of a rehearsal."""
    changes: dict[str, Any] = {"seeds": group, "device": device}
    if device == "cpu":
        changes |= recording.small
    module = experiments.load(recording.experiment)
    return experiments.configure(module, recording.preset, **changes)


def _cell(recording: Recording, group: Group) -> Path:
    return Path("cells", f"{recording.name}-seeds-{'-'.join(map(str, group))}.csv")


def _apart(recording: Recording, group: Group, device: str, out: Path) -> None:
    """Record one group in a process of its own; another group's failure is not this one's."""
    command = [sys.executable, "-m", "tools.gpu.record", recording.experiment, recording.preset]
    command += ["--device", device, "--out", str(out), "--seeds", *map(str, group)]
    subprocess.run(command, check=False)


def _false(n_train: int | None = None, n_test: int | None = None) -> DataSplit:
    """Return random images for a rehearsal."""
    generator = torch.Generator().manual_seed(0)
    parts = []
    for n in (min(n_train or 60, 60), min(n_test or 40, 40)):
        parts += [torch.randn(n, 3, 32, 32, generator=generator), torch.arange(n) % 10]
    return DataSplit(*parts)


if __name__ == "__main__":
    sys.exit(main())
