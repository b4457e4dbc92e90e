"""What is done is kept, however the run ends; a part that fails or hangs does not end the rest."""

import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tools.gpu.plan import ROOT, Part
from tools.gpu.runner import Runner

QUICK = "import pathlib, sys; pathlib.Path(sys.argv[1], sys.argv[2]).write_text('whole')"
# Ignores the polite signal, as a program in the middle of a kernel may.
HANGS = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def part(name, code=QUICK, limit=60.0, seconds=1.0):
    return Part(name, "", ("-S", "-c", code, "{out}", name), seconds, limit)


def states(out):
    return {n: e["state"] for n, e in json.loads((out / "status.json").read_text()).items()}


def test_a_part_that_fails_or_hangs_does_not_end_the_rest(tmp_path, capsys):
    plan = [
        part("first"),
        part("fails", "print('why'); raise SystemExit('no compiler found')"),
        part("crashes", "import os; os.abort()"),
        part("hangs", "import time; time.sleep(600)", limit=1.0),
        part("too long", seconds=1000.0),
        part("last"),
    ]
    assert Runner(plan, tmp_path, 60, tmp_path / "all.zip").run() == 1
    found = states(tmp_path)
    assert found == {
        "first": "done", "fails": "failed", "crashes": "failed", "hangs": "cut off",
        "too long": "not begun", "last": "done",
    }  # fmt: skip
    said = (tmp_path / "summary.md").read_text()
    assert said in capsys.readouterr().out
    assert "exit status 1: no compiler found" in said
    assert "1000 s needed" in said
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        assert {"first", "last", "summary.md", "logs/fails.txt"} <= set(packed.namelist())


def test_what_is_done_is_not_done_again_unless_asked_or_by_other_code(tmp_path, monkeypatch):
    plan, file = [part("first")], tmp_path / "first"
    for commit, again, runs in (
        ("a", False, True), ("a", False, False), ("a", True, True), ("b", False, True),
        (None, False, True), (None, False, True),
    ):  # fmt: skip
        monkeypatch.setattr("tools.gpu.runner.code_version", lambda commit=commit: commit)
        file.unlink(missing_ok=True)
        assert Runner(plan, tmp_path, 60, again=again).run() == 0
        assert file.exists() is runs, (commit, again)


PROGRAM = """
import sys
sys.path[:0] = [{root!r}, {here!r}]
from pathlib import Path
from test_runner import HANGS, part
from tools.gpu.runner import Runner
out = Path({out!r})
raise SystemExit(Runner([part("first"), part("second", HANGS), part("third")], out, 300,
                        out / "all.zip").run())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_that_is_done_is_lost_when_the_run_is_ended(tmp_path, ending):
    text = PROGRAM.format(root=str(ROOT), here=str(Path(__file__).parent), out=str(tmp_path))
    program = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.DEVNULL)
    pid = wait_for(lambda: running(tmp_path, program))
    program.send_signal(ending)
    assert program.wait(60) == (143 if ending == signal.SIGTERM else -signal.SIGKILL)
    wait_for(lambda: not alive(pid))
    assert (tmp_path / "first").read_text() == "whole"
    with zipfile.ZipFile(tmp_path / "all.zip") as packed:
        assert packed.read("first") == b"whole"
        assert packed.testzip() is None
    assert not list(tmp_path.rglob("*.part"))
    # Another run goes on: what was done is there, what was cut off is done again.
    plan = [part("first"), part("second"), part("third")]
    assert Runner(plan, tmp_path, 60).run() == 0
    assert states(tmp_path) == dict.fromkeys(("first", "second", "third"), "done")


def running(out, program):
    """Return the process of the second part, once it runs."""
    assert program.poll() is None
    file = out / "status.json"
    if not file.exists() or states(out).get("second") != "running":
        return None
    for found in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = found.read_text().rpartition(")")[2].split()
            command = found.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == program.pid and b"SIG_IGN" in command:
            return int(found.parent.name)
    return None


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def wait_for(happens, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := happens():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen")
