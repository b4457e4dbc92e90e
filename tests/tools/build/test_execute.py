"""What is executed again, what an execution records, and what a failure says."""

import json

import nbformat

from small_book import execute_really, executed, notebook, save
from tools.build import execute


def test_prose_costs_nothing_and_code_and_tags_and_pins_do(book):
    executed("trap/one")
    assert execute.load_record("trap/one")
    save("trap/one", notebook("# One\n\nOther prose.", ("print(6 * 7)",), "More."))
    assert execute.load_record("trap/one")
    save("trap/one", notebook("# One", ("print(6 * 7)", "raises-exception")))
    assert execute.load_record("trap/one") is None
    save("trap/one", notebook("# One", ("print(6 * 8)",)))
    assert execute.load_record("trap/one") is None
    save("trap/one", notebook("# One", ("print(6 * 7)",)))
    assert execute.load_record("trap/one")
    (book / "constraints.txt").write_text("torch==2.1\n")
    assert execute.load_record("trap/one") is None


def test_only_files_of_the_package_that_were_loaded_count(book):
    executed("trap/one")
    (book / "syre_helpers" / "other.py").write_text("B = 3\n")
    assert execute.load_record("trap/one")
    (book / "syre_helpers" / "__init__.py").write_text("A = 2\n")
    assert execute.load_record("trap/one") is None
    (book / "syre_helpers" / "__init__.py").unlink()
    assert execute.load_record("trap/one") is None


def test_a_failed_execution_is_reported_and_fails(book, monkeypatch, capsys):
    monkeypatch.setattr(execute, "execute_apart", lambda name: (1.0, "ValueError: no"))
    assert not execute.execute(["trap/one"], jobs=1)
    out = capsys.readouterr().out
    assert "[1/1] trap/one: FAILED after 1.0 s\nValueError: no" in out
    assert "These chapters failed: trap/one" in out


def test_a_warning_is_a_note_and_in_a_strict_build_an_error(book, capsys):
    executed("trap/one", stderr=["code cell 1: UserWarning: odd"])
    assert execute.execute(["trap/one"], jobs=1)
    assert "note: trap/one wrote to stderr in code cell 1" in capsys.readouterr().out
    assert not execute.execute(["trap/one"], jobs=1, strict=True)


def test_execution_records_outputs_memory_and_dependencies(book):
    code = "import sys\nimport syre_helpers\nprint(syre_helpers.A)\nprint('odd', file=sys.stderr)"
    save("trap/one", notebook("# One\n\nWhy?", (code,)))
    done = execute_really("trap/one")
    assert done.returncode == 0, done.stdout + done.stderr
    target, record_file = execute.paths("trap/one")[1:]
    record = json.loads(record_file.read_text())
    assert list(record["package"]) == ["syre_helpers/__init__.py"], "other.py was not loaded"
    assert record["stderr"] == ["code cell 1: odd"]
    assert 20 < record["peak_mb"] < 1000
    cells = nbformat.read(target, as_version=4).cells
    assert len(cells) == 2, "the question about dependencies leaves no cell behind"
    assert cells[1].outputs[0].text == "1\n"
    assert "execution" not in cells[1].metadata


def test_a_failing_cell_is_named_with_its_traceback(book):
    save("trap/one", notebook("# One\n\nWhy?", ("a = 1",), ("assert a == 2, 'a is not two'",)))
    done = execute_really("trap/one")
    assert done.returncode == 1
    assert "In book/trap/one.ipynb" in done.stdout
    assert "assert a == 2" in done.stdout
    assert "AssertionError" in done.stdout
    assert "a is not two" in done.stdout
    assert not execute.paths("trap/one")[1].exists(), "nothing half-done is left"
