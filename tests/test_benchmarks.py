"""The benchmark programs run, write what they say, and the pages show what was recorded.

Nothing here asserts a time.
"""

import dataclasses
import importlib.util
import json
import subprocess
import sys

import nbformat
import pytest

import chapters

PROGRAM = chapters.ROOT / "benchmarks" / "step_cost.py"
BYTES = {"attach": 4, "attach + D": 8, "parametrize": 4, "penalty": 4}


@pytest.fixture(scope="module")
def step_cost():
    spec = importlib.util.spec_from_file_location("step_cost", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    sys.modules["step_cost"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["step_cost"]


def complete(step_cost, rows):
    """Check that every form of every optimizer is there, with the bytes that it holds."""
    steps = {(r.optimizer, r.form): r for r in rows if r.what == "step"}
    assert list(steps) == [(o, f) for o in step_cost.OPTIMIZERS for f in step_cost.FORMS]
    for (_, form), row in steps.items():
        assert row.bytes_per_parameter == pytest.approx(BYTES.get(form, 0), abs=0.05)
    assert [r.form for r in rows if r.what == "start"] == ["torch.randn", "theta_0", "D"]
    for row in rows:
        assert row.ms_low <= row.ms <= row.ms_high
        assert row.ratio_low <= row.ratio <= row.ratio_high
        assert row.rounds >= 3


def test_quick_run_prints_a_table_and_writes_both_files(step_cost, tmp_path):
    done = subprocess.run(
        [sys.executable, PROGRAM, "--quick", "--seconds", "0.5", "--out", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {f.name for f in tmp_path.iterdir()} == {"step_cost.csv", "step_cost.json"}
    rows, source = step_cost.read(tmp_path)
    complete(step_cost, rows)
    assert step_cost.table(rows) in done.stdout
    assert source["preset"] == "quick"
    assert source["settings"]["threads"] == 1
    assert set(source) >= {"command", "date", "machine", "seconds", "settings", "versions"}


def test_an_unknown_device_is_named():
    done = subprocess.run(
        [sys.executable, PROGRAM, "--quick", "--device", "abacus"], capture_output=True, text=True
    )
    assert done.returncode
    assert "'abacus' is no device" in done.stderr


def test_what_is_written_can_be_read_and_an_interrupted_run_spoils_nothing(
    step_cost, tmp_path, monkeypatch
):
    row = step_cost.Row("step", "SGD", "attach", 2.0, 1.5, 2.5, 1.1, 1.0, 1.2, 4.0, 7)
    start = dataclasses.replace(row, what="start", optimizer="", bytes_per_parameter=None)
    step_cost.write(tmp_path, [row, start], {"date": "2026-01-02"})
    assert step_cost.read(tmp_path) == ([row, start], {"date": "2026-01-02"})
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def fail(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(step_cost.os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        step_cost.write(tmp_path, [start], {"date": "2027-01-02"})
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_the_page_shows_the_recorded_table(step_cost):
    rows, source = step_cost.read(chapters.ROOT / "results")
    complete(step_cost, rows)
    assert source["preset"] == "full"
    assert source["command"] == "python benchmarks/step_cost.py"
    settings = json.loads(json.dumps(dataclasses.asdict(step_cost.Settings())))
    assert settings.items() <= source["settings"].items(), "the program has changed: record again"
    page = nbformat.read(chapters.BOOK / "remedy" / "what-it-costs.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    assert step_cost.table(rows) in text
    for fact in (source["date"], source["machine"]["cpu"], source["versions"]["torch"]):
        assert fact in text
