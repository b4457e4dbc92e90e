"""The page "From laptop to cluster" runs, and its curves are those of `results/growth.csv`."""

import dataclasses
import importlib.util
import re
import sys
import types

import pandas as pd
import pytest

from tools.build import assemble, chapters, cost_curves

PAGE = chapters.BOOK / "reference" / "laptop-to-cluster.md"
PROGRAMS = chapters.ROOT / "benchmarks"


@pytest.fixture(scope="module")
def growth():
    """Return the benchmark as a module; it imports `step_cost`, which lies beside it."""
    sys.path.insert(0, str(PROGRAMS))
    spec = importlib.util.spec_from_file_location("growth", PROGRAMS / "growth.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["growth"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(PROGRAMS))
    for name in ("growth", "step_cost"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def recorded():
    return cost_curves.load()


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    pytest.importorskip("accelerate")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    # A module, since functions of a module are what a process can be sent.
    page = types.ModuleType("page")
    for number, block in enumerate(blocks):
        exec(compile(block, f"block {number}", "exec"), vars(page))
    assert "4 cells; the first has the seeds (0, 1)" in capsys.readouterr().out
    assert {f.name for f in tmp_path.iterdir()} == {"cells", "dask-cells"}
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def test_what_is_not_run_says_so():
    captions = re.findall(r"^```\{code-block\} python\n:caption: (.*)$", PAGE.read_text(), re.M)
    assert len(captions) == 3
    assert all(re.match("Not run|A sketch", caption) for caption in captions)


def test_the_page_has_a_place_for_the_curves():
    assert PAGE.read_text().count(assemble.MARK) == 1


def test_every_recorded_number_is_on_the_page(recorded):
    rows, facts = recorded
    text = cost_curves.text(rows, facts)
    table = [line for line in text.splitlines() if re.match(r"\| (para|mod|see|arm)", line)]
    assert len(table) == len(rows)
    for line, row in zip(table, rows.itertuples(), strict=True):
        assert line.startswith(f"| {row.curve} | {row.size:,} |")
        assert cost_curves.number(row.step_ms) in line
        assert ("extrapolated" in line) == (row.kind == "extrapolated")
    assert facts["date"] in text
    assert facts["machine"]["cpu"] in text
    assert 'class="syre-figure dark-light" alt="Four panels' in text
    other = rows.assign(step_ms=rows.step_ms * 7)
    assert cost_curves.text(other, facts) != text


def test_the_record_is_a_full_run_of_the_program(growth, recorded):
    rows, facts = recorded
    assert facts["preset"] == "full"
    settings = growth.Settings()
    now = dataclasses.asdict(settings)
    assert {k: v for k, v in facts["settings"].items() if k in now and k != "device"} == {
        k: list(v) if isinstance(v, tuple) else v for k, v in now.items() if k != "device"
    }
    measured = rows[rows.kind == "measured"]
    expected = [(p.curve, p.size, p.arms, p.seeds) for p in growth.points(settings)]
    found = measured[["curve", "size", "arms", "seeds"]].itertuples(index=False)
    assert [tuple(row) for row in found] == expected
    assert (measured.steps >= growth.FEWEST).all()
    assert (measured.step_ms_low <= measured.step_ms).all()
    assert (measured.step_ms <= measured.step_ms_high).all()
    # What is extrapolated has no spread, nor any steps.
    beyond = rows[rows.kind == "extrapolated"]
    assert beyond[["step_ms_low", "step_ms_high", "start_s"]].isna().all(axis=None)
    assert (beyond.steps == 0).all()
    assert beyond.groupby("curve").size().to_dict() == dict.fromkeys(cost_curves.WHAT, 2)


def test_a_power_law_is_found_and_continued(growth):
    made = [
        growth.Row("arms", n, "measured", 1, n, 1, 3.0 * n**1.5, 0, 0, 0, 8.0 * n, 5)
        for n in (2, 4, 8, 32)
    ]
    near, far = growth.extrapolated(made)
    assert (near.size, far.size) == (128, 512)
    assert near.step_ms == pytest.approx(3.0 * 128**1.5, rel=1e-2)
    assert far.memory_mb == pytest.approx(8.0 * 512, rel=1e-2)
    rows = pd.DataFrame([dataclasses.asdict(r) for r in (*made, near, far)])
    assert cost_curves.power(rows, "step_ms") == pytest.approx(1.5, abs=0.01)
    # The first points, where overhead rules, do not count.
    flat = dataclasses.replace(made[0], step_ms=1e6)
    assert growth.extrapolated([flat, *made[1:]]) == [near, far]


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
    measured = [r for r in rows if r.kind == "measured"]
    assert [(r.curve, r.size, r.step_ms) for r in measured] == [
        (p.curve, p.size, p.size) for p in points
    ]
    assert "extrapolated: " in growth.table(rows)


def test_a_point_is_measured_in_a_process_of_its_own(growth):
    point = growth.Point("parameters", (64, 256, 256, 10), 2, 2)
    parameters = 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
    assert point.size == parameters
    found = growth.in_a_process(point, dataclasses.replace(growth.QUICK, seconds=0.01))
    assert len(found["steps"]) >= growth.FEWEST
    assert min(found["steps"]) > 0
    # Parameters, gradients, momenta and theta_0 of four models, at the least.
    assert found["memory_mb"] > 4 * 4 * 4 * parameters / 1e6
    with pytest.raises(RuntimeError, match="failed"):
        growth.in_a_process(dataclasses.replace(point, arms=0), growth.QUICK)
