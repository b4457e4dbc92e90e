"""The benchmark of many models compares the same trainings, and writes what it says.

Nothing here asserts a time.
"""

import dataclasses
import importlib.util
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import chapters

PROGRAMS = chapters.ROOT / "benchmarks"


@pytest.fixture(scope="module")
def program():
    for name in ("step_cost", "many_models"):
        spec = importlib.util.spec_from_file_location(name, PROGRAMS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    yield sys.modules["many_models"]
    for name in ("step_cost", "many_models"):
        del sys.modules[name]


def test_the_loop_and_the_stacked_models_train_alike(program):
    cell = program.Cell((8, 8, 2), models=3, batch=16, compiled=False)
    loop, many = program.Loop(cell, "cpu"), program.Many(cell, "cpu", False)
    start = [p.clone() for p in many.params()]
    for step in range(200):  # into the second epoch
        loop.step(step)
        many.step(step)
    for p, q, first in zip(loop.params(), many.params(), start, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
        assert (q - first).abs().max() > 0.1, "they have trained"


def test_the_products_are_those_of_a_step(program):
    """As many multiplications as the stacked models' own, by PyTorch's count."""
    cell = program.Cell((5, 7, 4, 3), models=2, batch=6, compiled=False)
    counts = []
    many = program.Many(cell, "cpu", False)
    many.step(0)  # recorded
    for form in (program.Products(cell, "cpu"), many):
        with FlopCounterMode(display=False) as counter:
            form.step(1)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_the_full_run_has_the_cells_that_it_says(program):
    cells = program.cells(program.Settings())
    assert {(c.widths, c.models) for c in cells if c.batch == 32} == {
        (widths, n) for widths in program.Settings().widths for n in (1, 8, 32, 128, 256)
    }
    assert {c.widths for c in cells if c.batch == 128} == set(program.Settings().widths)
    assert all(c.compiled for c in cells if c.models == 32)
    parameters = [
        sum(p.numel() for p in program.network(program.Cell(w, 1, 1, False)).parameters())
        for w in program.Settings().widths
    ]
    assert parameters == [90, 2410, 101_770]


def test_a_quick_run_prints_a_table_and_writes_both_files(program, tmp_path, monkeypatch, capsys):
    tiny = dataclasses.replace(program.QUICK, widths=((3, 2), (4, 3, 2)), models=(2, 3), compared=3)
    monkeypatch.setattr(program, "QUICK", tiny)
    arguments = ["--quick", "--no-compile", "--seconds", "0.1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["many_models.py", *arguments])
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    threads = torch.get_num_threads()
    try:
        assert program.main() == 0
    finally:
        torch.set_num_threads(threads)
    rows, source = program.read(tmp_path)
    assert {f.name for f in tmp_path.iterdir()} == {"many_models.csv", "many_models.json"}
    assert program.table(rows) in capsys.readouterr().out
    assert [(r.widths, r.batch, r.models, r.form) for r in rows] == [
        (widths, batch, models, form)
        for batch, numbers in ((32, (2, 3)), (128, (3,)))
        for widths in ("3-2", "4-3-2")
        for models in numbers
        for form in ("loop", "matrix products", "many")
    ]
    for row in rows:
        assert row.ms_low <= row.ms <= row.ms_high
        assert row.ratio_low <= row.ratio <= row.ratio_high
        assert row.rounds >= 3
    assert all(row.ratio == 1 for row in rows if row.form == "loop")
    assert source["preset"] == "quick"
    assert set(source) >= {"command", "date", "machine", "seconds", "settings", "versions"}


def test_the_time_of_compilation_stands_beside_the_ratio(program, tmp_path):
    row = program.Row("3-2", 8, 32, "loop", 4.0, 3.0, 5.0, 1.0, 1.0, 1.0, None, None, 9)
    rows = [
        row,
        dataclasses.replace(row, form="matrix products", ratio=9.5),
        dataclasses.replace(row, form="many", ms=1.0, ratio=4.0, ratio_low=3.0, ratio_high=5.0),
        dataclasses.replace(
            row, form="many, compiled", ratio=8.0, ratio_low=7.0, ratio_high=9.0, compile_s=11.2,
            compile_again_s=2.4,
        ),
    ]  # fmt: skip
    last = program.table(rows).splitlines()[-1]
    assert last == "| 3-2 | 32 | 8 | 4.00 ms | 9.5 | 4.0 (3.0–5.0) | 8.0 (7.0–9.0) | 11 s, 2 s |"
    program.step_cost.write(tmp_path, rows, {"date": "2026-01-02"}, "many_models")
    assert program.read(tmp_path) == (rows, {"date": "2026-01-02"})


def test_the_page_shows_the_recorded_table(program):
    rows, source = program.read(chapters.ROOT / "results")
    assert source["preset"] == "full"
    page = (chapters.BOOK / "reference" / "laptop-to-cluster.md").read_text()
    assert program.table(rows) in page
    for fact in (source["date"], source["machine"]["cpu"], source["versions"]["torch"]):
        assert fact in page
    of = {(r.widths, r.batch, r.models, r.form): r.ratio for r in rows}
    plain, compiled = (of["64-32-10", 32, 32, form] for form in (program.PLAIN, program.COMPILED))
    assert f"of 32, {plain:.0f} times" in page
    assert f"makes it {compiled:.0f} times" in page
    wide = {batch: of["784-128-10", batch, 32, program.PLAIN] for batch in (32, 128)}
    assert f"a factor of {wide[32]:.1f}, and with batches of 128 only {wide[128]:.1f}" in page
    assert f"those alone would gain {of['784-128-10', 128, 32, program.PRODUCTS]:.1f}." in page
