"""The benchmark programs compare what they say, and write whole tables.

Nothing here asserts a time.
"""

import dataclasses
import importlib.util
import itertools
import json
import subprocess
import sys

import nbformat
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tools.build import chapters

BYTES = {"attach": 4, "attach + D": 8, "parametrize": 4, "penalty": 4}


def ran(harness, name, folder, *more):
    """Run a program for a moment; return its rows."""
    program = chapters.ROOT / "benchmarks" / f"{name}.py"
    done = subprocess.run(
        [sys.executable, program, "--quick", "--seconds", "0", "--out", folder, *more],
        capture_output=True,
        text=True,
        check=True,
    )
    rows, source = harness.read(folder, name)
    assert source["experiment"] == name
    for row in rows:
        assert str(row.get("form", row.get("curve"))) in done.stdout
        assert row.get("rounds", 3) >= 3
        assert row.get("ratio_low", 0) <= row.get("ratio", 0) <= row.get("ratio_high", 0)
    return rows


# ---- training steps ----------------------------------------------------------------------------


def test_steps_of_all_forms(step_cost, harness, tmp_path):
    """Every form of every optimizer is there, with the bytes that it holds."""
    rows = ran(harness, "step_cost", tmp_path)
    steps = {(r["optimizer"], r["form"]): r for r in rows if r["what"] == "step"}
    assert list(steps) == list(itertools.product(step_cost.OPTIMIZERS, step_cost.FORMS))
    for (_, form), row in steps.items():
        assert row["bytes_per_parameter"] == pytest.approx(BYTES.get(form, 0), abs=0.05)
    assert [r["form"] for r in rows if r["what"] == "start"] == ["torch.randn", "theta_0", "D"]


@pytest.mark.parametrize(
    "name", ["network_cost", pytest.param("computed_cost", marks=pytest.mark.slow)]
)
def test_steps_of_three_networks(program, harness, tmp_path, name):
    """Every form of every network is there, and memory grows as it must."""
    rows = ran(harness, name, tmp_path)
    extra = {(r["network"], r["form"]): r["memory"] - 1 for r in rows}
    networks = program("network_cost").NETWORKS
    assert list(extra) == list(itertools.product(networks, program(name).FORMS))
    for (network, form), more in extra.items():
        stored = extra[network, "attach"]
        if form.endswith("computed"):
            # Some bytes for each array, not for each of its elements; arrays are tiny here.
            assert abs(more) < 0.1 * stored
        elif form.startswith("built-in"):
            assert more == pytest.approx(0, abs=1e-3)
        elif form == "attach + D":
            assert more == pytest.approx(2 * stored, rel=0.05), "two arrays"
        else:
            assert more > (0.01 if form == "attach" else 0.001)


def test_what_a_forward_pass_keeps_is_counted_once(network_cost):
    """A layer keeps its input, which exists already; the loss keeps what goes into it."""
    settings = dataclasses.replace(network_cost.QUICK, widths=(50, 30, 10), mlp_batch=20)
    training = network_cost.training("MLP", network_cost.BASELINE, settings)
    training.step()
    # The hidden layer's output, once though a ReLU and a layer keep it, and the ten log
    # probabilities; float32. What the loss notes about its classes is a few bytes more.
    kept = network_cost.kept_bytes(training)
    assert 4 * 20 * (30 + 10) <= kept <= 4 * 20 * (30 + 10) + 100


def test_the_full_run_has_the_networks_that_it_says(network_cost):
    models = {n: network_cost.network(n, network_cost.FULL) for n in network_cost.NETWORKS}
    sizes = {n: sum(p.numel() for p in model.parameters()) for n, (model, _) in models.items()}
    assert sizes["MLP"] == 976_110
    assert 2.7e6 < sizes["ResNet-18"] < 2.9e6
    assert 0.7e6 < sizes["ViT"] < 0.9e6
    assert {len(x) for _, x in models.values()} == {128, 32}


@pytest.mark.slow
def test_an_iteration_of_ppo(program, harness, tmp_path):
    rows = ran(harness, "ppo_cost", tmp_path)
    assert [r["form"] for r in rows] == list(program("ppo_cost").FORMS)
    # Porter's 64 pixels, two networks of two hidden layers, ten buttons and one value.
    expected = 2 * (64 * 64 + 64 + 64 * 64 + 64) + 64 * 10 + 10 + 64 + 1
    assert {r["parameters"] for r in rows} == {expected}


# ---- the pull alone ----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_pull_alone(step_alone, harness, tmp_path):
    rows = ran(harness, "step_alone", tmp_path)
    for size in step_alone.QUICK.sizes:
        there = {(r["what"], r["form"]): r for r in rows if r["parameters"] == size}
        plain = {key for key in there if key[1] in ("computed, no compiler", "Syre.bias")}
        assert len(plain) == (2 if size <= step_alone.QUICK.plain_up_to else 0)
        assert len(there) - len(plain) == 11
        for what, form in step_alone.BASELINE.items():
            assert there[what, form]["ratio"] == 1
        assert there["pull", "stored"]["bytes"] == there["pull", "p + q"]["bytes"]
        assert there["pull", "stored + D"]["bytes"] == there["pull", "p + q r"]["bytes"]


def test_forms_of_the_pull_leave_the_parameters_finite(step_alone, monkeypatch):
    monkeypatch.setattr(step_alone.recompute, "_kernel", lambda *_: None)
    timed = step_alone.forms(1000, step_alone.QUICK)
    for (_, form, _), work in timed.items():
        if form != "compiled":
            work()
    p = timed["pull", "read and write once", 8]()
    assert 0 < p.abs().max() < 0.1


# ---- many models -------------------------------------------------------------------------------


def test_the_loop_and_the_stacked_models_train_alike(many_models):
    cell = many_models.Cell((8, 8, 2), models=3, batch=16, compiled=False)
    loop, many = many_models.Loop(cell, "cpu"), many_models.Many(cell, "cpu", False)
    start = [p.clone() for p in many.params()]
    for step in range(200):  # into the second epoch
        loop.step(step)
        many.step(step)
    for p, q, first in zip(loop.params(), many.params(), start, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
        assert (q - first).abs().max() > 0.1, "they have trained"


def test_the_products_are_those_of_a_step(many_models):
    """As many multiplications as the stacked models' own, by PyTorch's count."""
    cell = many_models.Cell((5, 7, 4, 3), models=2, batch=6, compiled=False)
    counts = []
    many = many_models.Many(cell, "cpu", False)
    many.step(0)  # traced
    for form in (many_models.Products(cell, "cpu"), many):
        with FlopCounterMode(display=False) as counter:
            form.step(1)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_the_full_run_has_the_cells_that_it_says(many_models):
    full = many_models.FULL
    cells = many_models.cells(full)
    assert {(c.widths, c.models) for c in cells if c.batch == 32} == set(
        itertools.product(full.widths, (1, 8, 32, 128, 256))
    )
    assert {c.widths for c in cells if c.batch == 128} == set(full.widths)
    assert all(c.compiled for c in cells if c.models == 32)
    plain = many_models.cells(dataclasses.replace(full, compile=False))
    assert not any(c.compiled for c in plain)
    networks = [many_models.network(many_models.Cell(w, 1, 1, False)) for w in full.widths]
    assert [sum(p.numel() for p in n.parameters()) for n in networks] == [90, 2410, 101_770]


def test_all_forms_of_a_cell_are_timed(many_models):
    cell = many_models.Cell((4, 3, 2), models=3, batch=16, compiled=False)
    settings = dataclasses.replace(many_models.QUICK, turn=0.001)
    rows = many_models.compare(cell, 0.0, settings)
    forms = ["loop", "matrix products", "many"]
    assert [(r["widths"], r["models"], r["form"]) for r in rows] == [
        ("4-3-2", 3, form) for form in forms
    ]
    assert rows[0]["ratio"] == 1
    compiled = rows[2] | {
        "form": "many, compiled", "ratio": 8.0, "ratio_low": 7.0, "ratio_high": 9.0,
        "compile_s": 11.2, "compile_again_s": 2.4,
    }  # fmt: skip
    last = many_models.table([*rows, compiled]).splitlines()[-1]
    assert last.endswith("| 8.0 (7.0–9.0) | 11 s, 2 s |"), "compilation beside the ratio"


# ---- start-up ----------------------------------------------------------------------------------


def test_start_up_compares_within_a_round(startup, monkeypatch):
    assert startup.start("pass") > 0
    clock = iter(range(10**6))

    def later_and_later(code):
        """Every process takes longer than the one before; what is imported adds to it."""
        return next(clock) / 1000 + 10 * code.count("import") + 5 * code.count("syre_helpers")

    monkeypatch.setattr(startup, "start", later_and_later)
    rows = {r["form"]: r for r in startup.measure(startup.QUICK)}
    assert list(rows) == list(startup.FORMS)
    spread = len(rows) / 1000
    for form, extra in ((startup.BASELINE, 0), ("nothing", -10), ("import syre_helpers", 5)):
        assert rows[form]["extra"] == pytest.approx(extra, abs=spread)
    assert "| import torch |" in startup.report(list(rows.values()))


# ---- the book ----------------------------------------------------------------------------------


def test_the_book_is_built_in_a_copy_and_changed_there(book_build, monkeypatch):
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
    assert [r["seconds"] for r in rows if r["what"] == "build"] == [10, 20, 30, 40]
    assert list(rows[-1].values()) == ["chapter", "trap/reflections", 12.3, 457]
    assert built[0] == built[1]
    assert [built[1][0] != built[2][0], built[1][1] != built[2][1]] == [True, False]
    assert [built[2][0] != built[3][0], built[2][1] != built[3][1]] == [False, True]
    assert "slowest of 1 chapters, trap/reflections | 12 |" in book_build.table(rows)


def test_a_book_that_cannot_be_built_is_said_to_be(book_build, monkeypatch, tmp_path):
    assert importlib.util.find_spec(book_build.BUILDER)
    monkeypatch.setattr(book_build, "BUILDER", "builder")
    (tmp_path / "builder.py").write_text("raise SystemExit('no chapter')")
    with pytest.raises(SystemExit, match=r"(?s)the book was not built.*no chapter"):
        book_build.build(tmp_path, book_build.QUICK)


# ---- growth ------------------------------------------------------------------------------------


def test_a_power_law_is_found_and_continued(growth):
    made = [
        {"curve": "arms", "size": n, "step_ms": 3.0 * n**1.5, "start_s": 1.0, "memory_mb": 8.0 * n}
        for n in (2, 4, 8, 32)
    ]
    near, far = growth.extrapolated(made)
    assert (near["size"], far["size"]) == (128, 512)
    assert near["step_ms"] == pytest.approx(3.0 * 128**1.5, rel=1e-2)
    assert far["memory_mb"] == pytest.approx(8.0 * 512, rel=1e-2)
    assert far["start_s"] is None
    # The first points, where overhead rules, do not count.
    assert growth.extrapolated([made[0] | {"step_ms": 1e6}, *made[1:]]) == [near, far]


def test_points_are_measured_in_a_random_order_and_listed_in_theirs(growth, monkeypatch):
    asked = []

    def fake(point, settings):
        asked.append(point)
        return {"steps": [float(point.size)] * 3, "start_s": 0.1, "memory_mb": 2.0 * point.size}

    monkeypatch.setattr(growth, "in_a_process", fake)
    rows = growth.measure(growth.QUICK)
    points = growth.points(growth.QUICK)
    assert sorted(asked, key=str) == sorted(points, key=str)
    assert asked != points
    assert [(r["curve"], r["step_ms"]) for r in rows if r["kind"] == "measured"] == [
        (p.curve, p.size) for p in points
    ]
    assert "extrapolated: " in growth.report(rows)


def test_a_point_is_measured_in_a_process_of_its_own(growth):
    point = growth.Point("parameters", (64, 256, 256, 10), 2, 2)
    parameters = 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    assert point.size == parameters
    found = growth.in_a_process(point, dataclasses.replace(growth.QUICK, seconds=0.01))
    assert len(found["steps"]) >= growth.FEWEST
    assert min(found["steps"]) > 0
    # Parameters, gradients, momenta and theta_0 of four models, at the least.
    assert found["memory_mb"] > 4 * 4 * 4 * parameters / 1e6
    with pytest.raises(ValueError, match="arms"):
        growth.in_a_process(dataclasses.replace(point, arms=0), growth.QUICK)


def test_a_search_and_a_diagnosis_are_measured_beside_their_limits(program):
    find_cost = program("find_cost")
    row = find_cost.measure_here(
        "ResNet-18", dataclasses.replace(find_cost.QUICK, width=1, batch=4, threads=1)
    )
    assert row["swaps"] == 0 + 3 * (1 + 6 + 28)
    assert all(row[name] > 0 for name in ("find_s", "find_cpu_s", "diagnose_s", "diagnose_cpu_s"))
    assert row["memory"] >= 0
    assert "(10)" in find_cost.report([row])
    sizes = {name: case.make(4) for name, case in find_cost.CASES.items()}
    assert [sum(p.numel() for p in model.parameters()) for model in sizes.values()][1:] == [
        61_824, 537_168,
    ]  # fmt: skip


# ---- on a GPU ----------------------------------------------------------------------------------


def test_calls_of_fit_many_are_timed_by_stretches_of_steps(program, harness, tmp_path, monkeypatch):
    graphs = program("graphs")
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # a compiler would take most of the time
    rows = ran(harness, "graphs", tmp_path)
    assert [r["form"] for r in rows] == list(graphs.FORMS)
    assert {r["rounds"] for r in rows} == {graphs.QUICK.stretches}
    assert all(0 < r["ms_low"] <= r["ms"] <= r["ms_high"] for r in rows)


@pytest.mark.parametrize("name", ["many_models", "computed_cost", "step_alone", "graphs"])
def test_a_brief_run_is_one_comparison(program, name):
    module = program(name)
    on_gpu = getattr(module, "ON_GPU", {}) | module.BRIEF
    settings = dataclasses.replace(module.FULL, **on_gpu)
    if name == "many_models":
        (cell,) = module.cells(settings)
        assert (cell.models, cell.compiled) == (256, True)
    if name == "step_alone":
        assert settings.sizes == (10**9,)
