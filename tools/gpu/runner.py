"""Parts of the run on a GPU, one after the other, within a time budget; nothing done is lost.

Each part is a process with a limit of its own, and writes its results itself, whole or not at all.
After each part ``status.json``, ``summary.md`` and the archive are written anew. A part that is
done is not done again by the same code.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from syre_helpers._provenance import describe_versions, write_whole
from tools.gpu.plan import ROOT, Part
from tools.gpu.report import summary

Status = dict[str, dict[str, Any]]
DONE, FAILED, CUT_OFF, WAITING = "done", "failed", "cut off", "not begun"
# What is left of the budget when the last part is ended: for the summary and the archive.
_RESERVE = 6.0
_GRACE = 5.0
_PR_SET_PDEATHSIG = 1
# Large, and of use only on the machine that wrote them.
_NOT_ARCHIVED = ("checkpoints",)


class Stopped(BaseException):
    """The program was told to end."""


class Runner:
    """Runs parts within a time budget.

    Parameters
    ----------
    plan : sequence of Part
        In their order.
    out : Path
        Folder of results, made where it is missing.
    seconds : float
        The budget.
    archive : Path, optional
        A zip of the results, rewritten after every part. Default: none.
    again : bool
        Do parts again that are done. Default False.
    """

    def __init__(
        self,
        plan: Sequence[Part],
        out: Path,
        seconds: float,
        archive: Path | None = None,
        again: bool = False,
    ) -> None:
        self._plan, self._out, self._archive = plan, out, archive
        self._end = time.monotonic() + seconds
        self._code = code_version()
        self._status = {} if again else self._remembered()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        """Run what fits; return 0 where nothing failed, 1 where a part did, 143 when stopped."""
        before = {s: signal.signal(s, _stop) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            for part in self._plan:
                self._one(part)
                self._write()
        except Stopped:
            for number in before:
                signal.signal(number, signal.SIG_IGN)  # what follows takes seconds
            self._end_process()
            for entry in self._status.values():
                if entry["state"] == "running":
                    entry["state"] = CUT_OFF
            self._write()
            return 143
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        print((self._out / "summary.md").read_text())
        return int(any(self._status[p.name]["state"] == FAILED for p in self._plan))

    def _one(self, part: Part) -> None:
        """Run a part, where it is not done and there is time."""
        known = self._status.get(part.name, {})
        if known.get("state") == DONE and known.get("code") == self._code is not None:
            return
        left = self._end - time.monotonic() - _RESERVE
        entry = {"state": WAITING, "estimated": part.seconds, "code": self._code}
        self._status[part.name] = entry
        if left < max(1.0, part.needed):
            entry["reason"] = f"{max(0, left):.0f} s left, {part.needed:.0f} s needed"
            return
        entry["state"] = "running"
        self._write()
        print(f"{part.name} (about {part.seconds:.0f} s) ...", flush=True)
        begin = time.monotonic()
        entry["state"], entry["reason"] = self._outcome(part, min(part.limit, left))
        entry["seconds"] = round(time.monotonic() - begin, 1)
        print(f"  {entry['state']} after {entry['seconds']} s  {entry['reason']}", flush=True)

    def _outcome(self, part: Part, limit: float) -> tuple[str, str]:
        """Run a part to its end or its limit; return its state, and the reason in words."""
        log = self._out / "logs" / f"{part.name.replace(' ', '-')}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, *(word.format(out=self._out) for word in part.command)]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment(part),
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
            try:
                code = self._process.wait(limit)
            except subprocess.TimeoutExpired:
                self._end_process()
                return CUT_OFF, f"at its limit of {limit:.0f} s"
            self._process = None
        if code == 0:
            return DONE, ""
        return FAILED, f"exit status {code}: {last_line(log)}"

    def _environment(self, part: Part) -> dict[str, str]:
        own = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        own |= {"PYTHONUNBUFFERED": "1", "SYRE_PROGRESS": "0"}
        if self._code is not None:
            own["SYRE_COMMIT"] = self._code
        return {**os.environ, **own, **part.environment}

    def _end_process(self) -> None:
        """End the process of a part, and all that it has started."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(_GRACE)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._process = None

    def _remembered(self) -> Status:
        """Return the states of an earlier run; one that was running then was cut off."""
        file = self._out / "status.json"
        if not file.exists():
            return {}
        found: Status = json.loads(file.read_text())
        for entry in found.values():
            if entry["state"] == "running":
                entry["state"] = CUT_OFF
        return found

    def _write(self) -> None:
        """Write the states, the summary and the archive."""
        write_whole(self._out / "status.json", json.dumps(self._status, indent=1) + "\n")
        write_whole(self._out / "summary.md", summary(self._status, self._out))
        if self._archive is not None:
            write_whole(self._archive, self._pack)

    def _pack(self, target: Path) -> None:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted(self._out.rglob("*")):
                name = file.relative_to(self._out)
                if file.is_file() and name.parts[0] not in _NOT_ARCHIVED and name.suffix != ".part":
                    packed.write(file, name)


def code_version() -> str | None:
    """Return the commit of the code; of a copy without its history, that which was packed."""
    commit = describe_versions(())["commit"]
    packed = ROOT / ".gpu" / "commit"
    if commit is None and packed.exists():
        commit = packed.read_text().strip()
    return commit


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "nothing was printed")[:300]


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


def _die_with_parent() -> None:
    """Let the kernel end this process when the program that started it is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
