"""The parts of the run on a GPU, in their order, with estimated seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.gpu import estimate
from tools.gpu.recordings import RECORDINGS, Recording

ROOT = Path(__file__).resolve().parents[2]
# Seconds that are enough for a tiny part on a slow processor with other work.
_REHEARSED = 900.0


@dataclass(frozen=True)
class Part:
    """A part of the run: a process of its own, with a limit of its own.

    Parameters
    ----------
    name : str
        Short; its log and its line in the summary bear it.
    what : str
        What it does.
    command : tuple of str
        The arguments of Python; ``{out}`` stands for the folder of results.
    seconds : float
        Estimated.
    limit : float
        It is ended after so many.
    least : float
        It is begun only where so many are left. Default: the estimate.
    environment : mapping of str to str
        Added to the variables of this process.
    """

    name: str
    what: str
    command: tuple[str, ...]
    seconds: float
    limit: float
    least: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def needed(self) -> float:
        """The seconds that must be left to begin it."""
        return self.seconds if self.least is None else self.least


def parts(*, rehearse: bool = False) -> list[Part]:
    """Return all parts in their order.

    Parameters
    ----------
    rehearse : bool
        Tiny ones, for the CPU and without a compiler. Default False.

    Returns
    -------
    list of Part
        Smoke test, tests, speed, recordings.
    """
    device = "cpu" if rehearse else "cuda"
    found = [_smoke(device), _tests(device), *_speed(device)]
    found += [_recording(one, device) for one in RECORDINGS]
    found.append(_tests(device, "benchmarks_run", "tests of benchmarks", 120))
    if not rehearse:
        return found
    # As on a machine without a compiler: nothing may need one, and nothing waits for one.
    without = {"TORCHDYNAMO_DISABLE": "1", "OMP_NUM_THREADS": "1", "SYRE_PROGRESS": "0"}
    return [
        Part(p.name, p.what, p.command, 5.0, _REHEARSED, 0.0, {**p.environment, **without})
        for p in found
    ]


def _smoke(device: str) -> Part:
    command = ("-m", "tools.gpu.smoke", "--device", device, "--out", "{out}")
    return Part("smoke", "every way through the package, small", command, 45, 100)


def _tests(
    device: str, which: str = "not benchmarks_run", name: str = "tests", seconds: float = 70
) -> Part:
    if device == "cpu":  # only quick ones: those of the compiler take minutes there
        which = f"({which}) and (theta_0 or scaler or single or pinned or network)"
    # What a compiler on a GPU warns of is no failure.
    lenient = () if device == "cpu" else ("-W", "default")
    program = ("-m", "pytest", "tests/test_on_a_gpu.py", "-v", "-p", "no:cacheprovider", *lenient)
    environment = {"SYRE_TESTED_ON": device}
    return Part(
        name, "tests that need a GPU", (*program, "-k", which), seconds, 2 * seconds,
        environment=environment,
    )  # fmt: skip


def _speed(device: str) -> list[Part]:
    def program(name: str, what: str, seconds: float, *more: str) -> Part:
        how = ("--quick", "--seconds", "0") if device == "cpu" else ("--brief",)
        path = f"benchmarks/{name}.py"
        command = (path, *how, "--device", device, "--out", "{out}", *more)
        return Part(f"speed {name}", what, command, seconds, 2 * seconds)

    none = ("--no-compile",) if device == "cpu" else ()
    return [
        program("many_models", "256 models as one against a loop", 45, *none),
        program("computed_cost", "a whole step, plain decay against nothing stored", 25),
        program("step_alone", "the pull alone, 1e9 parameters", 30),
        program("graphs", "fit_many with CUDA graphs and without", 30),
    ]


def _recording(one: Recording, device: str) -> Part:
    program = ("-m", "tools.gpu.record", one.experiment, one.preset)
    command = (*program, "--device", device, "--out", "{out}")
    seconds = estimate.seconds(one)
    # Seeds are written one group after the other: what is cut off has recorded some of them.
    least = seconds * min(1.0, one.processes / len(one.groups))
    what = f"recording, seeds in {len(one.groups)} groups"
    return Part(f"record {one.name}", what, command, seconds, 4 * seconds, least)
