"""Kill trainings at random moments, and see whether they resume to the last bit.

`python -m tools.kills [--times N] [--seed S] [--jobs J] [--only TEXT]`

Each training runs once without a kill. Then it is started, killed (SIGKILL) at a random moment
after its first checkpoint was begun, and started again, until it ends; and that again until it has
been killed its share of times. Each time that it ends, its table and parameters must be those of
the first run, and its folder must hold the same files, apart from temporary ones that a kill left
and that nobody reads. Anything else ends the program with exit code 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from syre_helpers.training import Moment, listening
from tools.kills.runs import RUNS, Pieces, Run

# A resumed run may wait for ever.
LONGEST = 120
# Starts per kill that is wanted, after which a run is held to be too short to be killed.
_STARTS = 20
# Pieces that are named of those that differ.
_NAMED = 4
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{32}\.(part|probe)")
# Its server has done all imports, so that a start takes milliseconds.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tools.kills.warm"])


@dataclass
class Report:
    """What became of a training: how often it was killed, and what was not as without kills.

    `resumed` counts the starts that took a step after those of a start before; others were killed
    earlier, or were to begin the next training of several.
    """

    name: str
    wanted: int
    kills: int = 0
    resumed: int = 0
    ended: int = 0
    temporary: int = 0
    amiss: set[str] = field(default_factory=set)

    @property
    def sound(self) -> bool:
        """Test whether it was killed as often as wanted and always ended the same."""
        return not self.amiss and self.kills == self.wanted

    def __str__(self) -> str:
        first, more = sorted(self.amiss)[:_NAMED], len(self.amiss) - _NAMED
        named = ", ".join(first + [f"and {more} more"] * (more > 0))
        words = f"NO ({named})" if self.amiss else "yes"
        short = "" if self.kills == self.wanted else f", {self.wanted} wanted"
        return (
            f"{self.name:30} {self.kills:3} kills{short}, {self.resumed:3} resumed, "
            f"{self.ended:3} ended, {self.temporary:2} temporary files left, "
            f"equal to the last bit: {words}"
        )


def digests(found: Pieces) -> dict[str, str]:
    """Return a checksum of each piece of an outcome, which one other bit would change."""
    return {name: hashlib.sha256(_bytes(value)).hexdigest() for name, value in found.items()}


def _bytes(value: object) -> bytes:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    words = f"{array.dtype} {array.shape} "
    content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return words.encode() + content


def work(run: Run, place: Path) -> None:
    """Do a training in a folder, in a process of its own, and write the checksums last."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    first: list[int] = []

    def note(moment: Moment) -> None:
        if not first and moment.step:
            with (place / "resumed").open("a") as file:
                file.write(f"{moment.step}\n")
        first.append(moment.step)

    with listening(note):
        found = digests(run(place / "kept"))
    (place / "unfinished").write_text(json.dumps(found))
    os.replace(place / "unfinished", place / "outcome")


def start(run: Run, place: Path, delay: float = LONGEST) -> tuple[bool, float]:
    """Start a training in a process, and kill it so many seconds after its first checkpoint.

    Returns
    -------
    bool
        True where it was killed, False where it ended before, well or not.
    float
        Seconds that it went on after its first checkpoint; one that resumes has that already.
    """
    place.mkdir(exist_ok=True)
    process = _PROCESSES.Process(target=work, args=(run, place))
    process.start()
    end = time.monotonic() + LONGEST
    while not _begun(place / "kept") and process.is_alive() and time.monotonic() < end:
        time.sleep(0.0005)
    begun = time.monotonic()
    process.join(delay)
    killed = process.is_alive()
    process.kill()
    process.join()
    return killed and not (place / "outcome").exists(), time.monotonic() - begun


def _begun(folder: Path) -> bool:
    """Test whether a checkpoint is there, or a part of one; a test whether one can be written."""
    return any(p.is_file() and ".probe" not in p.name for p in folder.rglob("*"))


def _files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def _outcome(place: Path) -> dict[str, str] | None:
    """Return the checksums of a training that ended; None where it failed."""
    file = place / "outcome"
    return json.loads(file.read_text()) if file.exists() else None


def kill_often(name: str, run: Run, times: int, seed: int) -> Report:
    """Kill a training so many times in all, and compare it each time that it ends."""
    report, draw = Report(name, times), random.Random(f"{seed} {name}")
    with tempfile.TemporaryDirectory() as name_of_home:
        home, starts = Path(name_of_home), 0
        seconds = start(run, home / "whole")[1]
        while report.kills < times and starts < _STARTS * times and not report.amiss:
            place, killed = home / str(report.ended), True
            while killed:
                starts += 1
                last = report.kills == times
                killed, _ = start(run, place, LONGEST if last else draw.uniform(0, seconds))
                if killed and last:
                    report.amiss.add("it does not end")
                    break
                report.kills += killed
            _compare(report, home / "whole", place)
    return report


def _compare(report: Report, whole: Path, place: Path) -> None:
    """Add to a report what a training came to that was killed."""
    report.ended += 1
    noted = place / "resumed"
    report.resumed += len(noted.read_text().splitlines()) if noted.exists() else 0
    expected, found = _outcome(whole), _outcome(place)
    if expected is None or found is None:
        report.amiss.add("it fails" if expected is None else "it fails after a kill")
        return
    report.amiss |= _differing(expected, found)
    more = _files(place / "kept") - _files(whole / "kept")
    temporary = {file for file in more if _TEMPORARY.fullmatch(Path(file).name)}
    report.temporary += len(temporary)
    report.amiss |= {f"left behind: {file}" for file in more - temporary}
    report.amiss |= {f"missing: {file}" for file in _files(whole / "kept") - _files(place / "kept")}


def _differing(expected: Mapping[str, str], found: Mapping[str, str]) -> set[str]:
    return {name for name in {**expected, **found} if expected.get(name) != found.get(name)}


def main(arguments: Sequence[str] | None = None, runs: Mapping[str, Run] = RUNS) -> int:
    """Read the command line and kill; return 1 if a training was not the same after it."""
    parser = argparse.ArgumentParser(prog="tools.kills", description=__doc__)
    parser.add_argument("--times", type=int, default=100, help="how many kills in all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--jobs", type=int, default=2, help="how many trainings side by side")
    parser.add_argument("--only", default="", help="those whose name holds this text")
    options = parser.parse_args(arguments)
    chosen = [name for name in runs if options.only in name]
    if not chosen:
        parser.error(f"--only {options.only!r} is in no name; there are {'; '.join(runs)}")

    def one(k: int) -> Report:
        share = options.times // len(chosen) + (k < options.times % len(chosen))
        report = kill_often(chosen[k], runs[chosen[k]], share, options.seed)
        print(report, flush=True)
        return report

    with ThreadPoolExecutor(options.jobs) as pool:
        reports = list(pool.map(one, range(len(chosen))))
    kills, ended = sum(r.kills for r in reports), sum(r.ended for r in reports)
    sound = sum(r.sound for r in reports)
    print(
        f"{kills} kills; {sound} of {len(reports)} trainings equal to the last bit, "
        f"each of the {ended} times that they ended"
    )
    return 0 if sound == len(reports) else 1
