"""The page "From laptop to cluster" runs, and its curves are those of `results/growth.csv`."""

import re
import types

import pandas as pd
import pytest

from notebooks import run_blocks
from tools.build import assemble, chapters, cost_curves

PAGE = chapters.BOOK / "reference" / "laptop-to-cluster.md"


@pytest.fixture(scope="module")
def recorded():
    return cost_curves.load()


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    pytest.importorskip("accelerate")
    monkeypatch.chdir(tmp_path)
    # A module, since functions of a module are what a process can be sent.
    assert run_blocks(PAGE, vars(types.ModuleType("page"))) == 6
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


def test_the_exponent_on_the_page_is_that_of_the_extrapolation():
    kinds = ["measured"] * 4 + ["extrapolated"] * 2
    rows = pd.DataFrame({"size": [2, 4, 8, 32, 128, 512], "kind": kinds})
    rows["step_ms"] = 3.0 * rows["size"] ** 1.5
    assert cost_curves.power(rows, "step_ms") == pytest.approx(1.5, abs=0.01)
