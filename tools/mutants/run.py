"""Put each deliberate fault into a copy of the repository, and see whether a test fails.

`python -m tools.mutants [--only TEXT] [--sample N --seed S] [--jobs J] [--out FILE]`

A fault that no test catches shows a gap in the tests; one whose text is no longer in the code is
stale, and is to be written anew. Either ends the program with exit code 1.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tools.mutants.faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
# A fault may keep a test from ever ending.
LONGEST = 600
# Exit codes of pytest: failures, and errors while the tests were collected.
_FAILED = (1, 2)
_COLUMNS = ("fault", "file", "tests", "caught", "seconds")


@dataclass(frozen=True)
class Outcome:
    """What became of a fault: "caught", "SURVIVED" or "stale", and after how many seconds."""

    fault: Fault
    word: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.word:8} {self.seconds:6.1f} s  {self.fault.file}: {self.fault.what}"


def copy_to(folder: Path) -> None:
    """Copy the tracked files of the repository into a folder."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def is_stale(fault: Fault, folder: Path) -> bool:
    """Test whether the text that a fault replaces no longer stands in its file exactly once."""
    file = folder / fault.file
    return not file.is_file() or file.read_text().count(fault.before) != 1


def run_tests(tests: Sequence[str], folder: Path) -> int:
    """Return the exit code of pytest for some tests in a copy; 1 where they do not end."""
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    # In a place of their own, where no other tests clean up.
    where = f"--basetemp={folder / '_tests'}"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", where, *tests]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=LONGEST,
        )
    except subprocess.TimeoutExpired:
        return 1
    return done.returncode


def try_fault(fault: Fault, folder: Path) -> Outcome:
    """Put one fault into a copy, run the tests that ought to catch it, and take it out again."""
    started = time.perf_counter()
    if is_stale(fault, folder):
        return Outcome(fault, "stale", 0.0)
    file = folder / fault.file
    sound = file.read_text()
    file.write_text(sound.replace(fault.before, fault.after))
    try:
        code = run_tests(fault.tests, folder)
    finally:
        file.write_text(sound)
    # Any other code means that the tests could not be run, as where one has another name by now.
    word = "caught" if code in _FAILED else "SURVIVED" if code == 0 else "stale"
    return Outcome(fault, word, time.perf_counter() - started)


def try_all(faults: Sequence[Fault], jobs: int) -> list[Outcome]:
    """Try faults side by side, each job in a copy of its own, and say what became of each."""
    with ExitStack() as stack:
        folders: SimpleQueue[Path] = SimpleQueue()
        for _ in range(jobs):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            copy_to(folder)
            folders.put(folder)

        def one(fault: Fault) -> Outcome:
            folder = folders.get()
            outcome = try_fault(fault, folder)
            folders.put(folder)
            print(outcome, flush=True)
            return outcome

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(one, faults))


def failing_without_fault(faults: Iterable[Fault]) -> bool:
    """Test whether the tests fail on the code as it is, where to fail shows nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_to(folder)
        tests = {test for fault in faults if not is_stale(fault, folder) for test in fault.tests}
        return bool(tests) and run_tests(sorted(tests), folder) in _FAILED


def write_table(outcomes: Iterable[Outcome], path: Path) -> None:
    """Write one row per fault."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for one in outcomes:
            tests, caught = " ".join(one.fault.tests), "yes" if one.word == "caught" else one.word
            writer.writerow((one.fault.what, one.fault.file, tests, caught, f"{one.seconds:.1f}"))


def main(arguments: Sequence[str] | None = None, faults: Sequence[Fault] = FAULTS) -> int:
    """Read the command line and try the faults; return 1 if one survived or is stale."""
    parser = argparse.ArgumentParser(prog="tools.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="those whose file or words hold this text")
    parser.add_argument("--sample", type=int, help="so many of them, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="how many are tried side by side")
    parser.add_argument("--out", type=Path, help="where to write the table (CSV)")
    options = parser.parse_args(arguments)
    chosen = [f for f in faults if options.only in f.file or options.only in f.what]
    if options.sample is not None:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    if failing_without_fault(chosen):
        print("the tests fail without any fault; mend them first", file=sys.stderr)
        return 1
    outcomes = try_all(chosen, options.jobs)
    if options.out is not None:
        write_table(outcomes, options.out)
    amiss = [one for one in outcomes if one.word != "caught"]
    print(f"{len(outcomes) - len(amiss)} of {len(outcomes)} faults caught", *amiss, sep="\n")
    return 1 if amiss else 0
