"""The programs that time the pull, steps without memory, start-up and PPO write whole tables.

Nothing here asserts a time.
"""

import csv
import importlib
import json
import subprocess
import sys

import nbformat
import pytest

import chapters

PROGRAMS = chapters.ROOT / "benchmarks"


@pytest.fixture
def program(monkeypatch):
    """Import a program by name; they import one another as neighbours."""
    monkeypatch.syspath_prepend(PROGRAMS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (PROGRAMS / f"{name}.py").exists():
            del sys.modules[name]


def ran(name, folder):
    done = subprocess.run(
        [sys.executable, PROGRAMS / f"{name}.py", "--quick", "--seconds", "0", "--out", folder],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {f.name for f in folder.iterdir()} == {f"{name}.csv", f"{name}.json"}
    source = json.loads((folder / f"{name}.json").read_text())
    assert (source["experiment"], source["preset"]) == (name, "quick")
    assert source["command"].startswith(f"python benchmarks/{name}.py --quick")
    with (folder / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert f"| {row['form']} |" in done.stdout
        assert int(row["rounds"]) >= 3
    return rows


@pytest.mark.slow
def test_the_pull_alone(program, tmp_path):
    step_alone = program("step_alone")
    rows = ran("step_alone", tmp_path)
    for size in step_alone.QUICK.sizes:
        there = {(r["what"], r["form"]): r for r in rows if int(r["parameters"]) == size}
        plain = {key for key in there if key[1] in ("computed, no compiler", "Syre.bias")}
        assert len(plain) == (2 if size <= step_alone.QUICK.plain_up_to else 0)
        assert len(there) - len(plain) == 11
        for what, form in step_alone.BASELINE.items():
            assert float(there[what, form]["ratio"]) == 1
        assert there["pull", "stored"]["bytes"] == there["pull", "p + q"]["bytes"]
        assert there["pull", "stored + D"]["bytes"] == there["pull", "p + q r"]["bytes"]


def test_forms_of_the_pull_leave_the_parameters_finite(program, monkeypatch):
    step_alone = program("step_alone")
    monkeypatch.setattr(step_alone.recompute, "_kernel", lambda *_: None)
    timed = step_alone.forms(1000, step_alone.QUICK)
    for (_, form, _), work in timed.items():
        if form != "compiled":
            work()
    p = timed["pull", "read and write once", 8]()
    assert 0 < p.abs().max() < 0.1


@pytest.mark.slow
def test_an_iteration_of_ppo(program, tmp_path):
    rows = ran("ppo_cost", tmp_path)
    assert [r["form"] for r in rows] == list(program("ppo_cost").FORMS)
    # Porter's 64 pixels, two networks of two hidden layers, ten buttons and one value.
    expected = 2 * (64 * 64 + 64 + 64 * 64 + 64) + 64 * 10 + 10 + 64 + 1
    assert {int(r["parameters"]) for r in rows} == {expected}


@pytest.mark.slow
def test_whole_steps_that_store_nothing(program, tmp_path):
    rows = ran("computed_cost", tmp_path)
    names = list(program("network_cost").NETWORKS)
    forms = program("computed_cost").FORMS
    assert [(r["network"], r["form"]) for r in rows] == [(n, f) for n in names for f in forms]
    memory = {(r["network"], r["form"]): float(r["memory"]) - 1 for r in rows}
    for name in names:
        stored = memory[name, "attach"]
        assert stored > 0.01
        assert memory[name, "attach + D"] == pytest.approx(2 * stored, rel=0.05)
        # Some bytes for each array, not for each of its elements; arrays are tiny here.
        assert abs(memory[name, "attach, computed"]) < 0.1 * stored
        assert abs(memory[name, "attach + D, computed"]) < 0.1 * stored


def test_start_up_compares_within_a_round(program, monkeypatch, tmp_path):
    startup = program("startup")
    assert startup.start("pass") > 0
    clock = iter(range(10**6))

    def later_and_later(code):
        """Every process takes longer than the one before; what is imported adds to it."""
        return next(clock) / 1000 + 10 * code.count("import") + 5 * code.count("syre_helpers")

    monkeypatch.setattr(startup, "start", later_and_later)
    rows = {r.form: r for r in startup.measure(startup.Settings(seconds=0.0))}
    assert list(rows) == list(startup.FORMS)
    spread = len(rows) / 1000
    for form, extra in ((startup.BASELINE, 0), ("nothing", -10), ("import syre_helpers", 5)):
        assert rows[form].extra == pytest.approx(extra, abs=spread)
        assert rows[form].extra_low <= rows[form].extra <= rows[form].extra_high
    assert "| import torch |" in startup.table(list(rows.values()))


def test_the_page_shows_the_recorded_whole_steps(program):
    with (chapters.ROOT / "results" / "computed_cost.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    page = nbformat.read(chapters.BOOK / "remedy" / "what-it-costs.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    for form in program("computed_cost").FORMS[1:]:
        cells = [
            f" {float(r['ratio']):.2f} ({float(r['ratio_low']):.2f}–{float(r['ratio_high']):.2f}) "
            f"| {float(r['memory']):.2f} |"
            for r in rows
            if r["form"] == form
        ]
        assert f"| {form} |" + "".join(cells) in text


# ---- the book --------------------------------------------------------------------------------


def test_the_book_is_built_in_a_copy_and_changed_there(program, monkeypatch, tmp_path):
    book_build = program("book_build")
    built = []

    def build(place, settings):
        """Leave behind what an execution does, and note what is in the changed chapter."""
        record = place / "_build" / "executed" / "trap" / "reflections.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"seconds": 12.34, "peak_mb": 456.7}))
        cells = nbformat.read(place / "book" / "trap" / "reflections.ipynb", as_version=4).cells
        kinds = ("markdown", "code")
        built.append([[c.source for c in cells if c.cell_type == kind][-1] for kind in kinds])
        assert (place / "syre_helpers" / "__init__.py").exists()
        assert not (place / ".git").exists()
        return 10.0 * len(built)

    monkeypatch.setattr(book_build, "build", build)
    original = (chapters.BOOK / "trap" / "reflections.ipynb").read_bytes()
    rows = book_build.measure(book_build.QUICK)
    assert (chapters.BOOK / "trap" / "reflections.ipynb").read_bytes() == original
    assert [r.seconds for r in rows if r.what == "build"] == [10, 20, 30, 40]
    assert rows[-1] == book_build.Row("chapter", "trap/reflections", 12.3, 457)
    assert built[0] == built[1]
    assert [built[1][0] != built[2][0], built[1][1] != built[2][1]] == [True, False]
    assert [built[2][0] != built[3][0], built[2][1] != built[3][1]] == [False, True]
    assert "slowest of 1 chapters, trap/reflections | 12 |" in book_build.table(rows)


def test_a_book_that_cannot_be_built_is_said_to_be(program, tmp_path):
    book_build = program("book_build")
    (tmp_path / "book" / "_tools").mkdir(parents=True)
    (tmp_path / "book" / "_tools" / "build.py").write_text("raise SystemExit('no chapter')")
    with pytest.raises(SystemExit, match=r"(?s)the book was not built.*no chapter"):
        book_build.build(tmp_path, book_build.QUICK)


def test_the_page_shows_the_recorded_builds(program):
    book_build = program("book_build")
    with (chapters.ROOT / "results" / "book_build.csv").open(newline="") as file:
        rows = [
            book_build.Row(r["what"], r["name"], float(r["seconds"]), None)
            for r in csv.DictReader(file)
        ]
    source = json.loads((chapters.ROOT / "results" / "book_build.json").read_text())
    text = (chapters.BOOK / "reference" / "timings.md").read_text()
    assert book_build.table(rows) in text
    assert source["date"] in text
    assert source["machine"]["cpu"] in text
