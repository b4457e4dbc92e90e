"""The deliberate faults fit the present code; the program that tries them tells its outcomes."""

import ast
import dataclasses

import pytest

from tools.mutants import run
from tools.mutants.faults import FAULTS, Fault

# One fault of each, caught by a test of a second.
QUICK = ("_checks.py", "removal/names.py")
WRONG = Fault("doubled.py", "2 * x", "3 * x", ("test_doubled.py",), "it triples")


@pytest.fixture
def folder(tmp_path):
    """A function of one line, and its test."""
    (tmp_path / "doubled.py").write_text("def double(x):\n    return 2 * x  # twice\n")
    test = "from doubled import double\n\ndef test_double():\n    assert double(3) == 6\n"
    (tmp_path / "test_doubled.py").write_text(test)
    return tmp_path


def test_there_are_many_faults_all_different():
    assert len(FAULTS) >= 80
    assert len({(fault.file, fault.before, fault.after) for fault in FAULTS}) == len(FAULTS)
    assert len({fault.what for fault in FAULTS}) == len(FAULTS)
    assert len({fault.file for fault in FAULTS}) >= 25


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_applies_once_and_its_tests_exist(fault):
    assert not run.is_stale(fault, run.ROOT), "write it anew for the present code"
    assert fault.before != fault.after
    ast.parse((run.ROOT / fault.file).read_text().replace(fault.before, fault.after))
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        assert (run.ROOT / file).is_file(), file
        assert not name or f"def {name}(" in (run.ROOT / file).read_text(), test


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "caught"),
        ({"after": "2 * x +"}, "caught"),
        ({"before": "# twice", "after": "# 2 x"}, "SURVIVED"),
        ({"before": "no such text"}, "stale"),
        ({"before": "double", "file": "test_doubled.py"}, "stale"),
        ({"tests": ("test_gone.py",)}, "stale"),
    ],
)
def test_what_becomes_of_a_fault_is_told_and_it_is_taken_out_again(folder, changes, word):
    fault = dataclasses.replace(WRONG, **changes)
    sound = (folder / "doubled.py").read_bytes()
    assert run.try_fault(fault, folder).word == word
    assert (folder / "doubled.py").read_bytes() == sound


def test_a_sample_is_caught(tmp_path, capsys):
    chosen = [next(f for f in FAULTS if f.file.endswith(file)) for file in QUICK]
    table = tmp_path / "mutants.csv"
    assert run.main(["--jobs", "2", "--out", str(table)], chosen) == 0
    assert "2 of 2 faults caught" in capsys.readouterr().out
    header, *rows = table.read_text().splitlines()
    assert header == "fault,file,tests,caught,seconds"
    assert [row.split(",")[3] for row in rows] == ["yes", "yes"]


def test_a_survivor_and_tests_that_fail_anyway_end_in_an_error(folder, monkeypatch, capsys):
    monkeypatch.setattr(
        run, "copy_to", lambda other: run.shutil.copytree(folder, other, dirs_exist_ok=True)
    )
    survivor = dataclasses.replace(WRONG, after="2 * x * 1", what="nothing")
    assert run.main(["--only", "nothing"], [survivor, WRONG]) == 1
    assert "SURVIVED" in capsys.readouterr().out
    assert run.main(["--sample", "1", "--only", "triples"], [survivor, WRONG]) == 0
    (folder / "test_doubled.py").write_text("def test_double():\n    assert False\n")
    assert run.main([], [WRONG]) == 1
    assert "without any fault" in capsys.readouterr().err
