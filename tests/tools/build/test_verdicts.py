"""What a page and the ledger say of one claim is compared word for word."""

import sys

import nbformat
import pandas as pd
import pytest

from tools.build import execute, verdicts

SHOWN = pd.DataFrame(
    {
        "verdict": ["partly", "not shown"],
        "claim": ["Decay kills < 2 units.", "Syre revives them."],
        "here": ["1 [0, 2]", "3"],
    }
)


@pytest.mark.parametrize(
    "table",
    [
        SHOWN,
        SHOWN.set_index("verdict"),
        SHOWN.set_index("verdict").rename_axis(columns="a run"),
        SHOWN[["here", "claim", "verdict"]],
    ],
    ids=["columns", "index", "both named", "order"],
)
def test_pairs_are_read_from_a_table_of_pandas(table):
    other = pd.DataFrame({("a", "mean"): [1.0], ("a", "std"): [2.0]})
    html = table.to_html() if "verdict" not in table else table.to_html(index=False)
    assert list(verdicts.in_html(other.to_html() + html)) == [
        ("Decay kills < 2 units.", "", "partly"),
        ("Syre revives them.", "", "not shown"),
    ]


@pytest.fixture
def page(tmp_path, monkeypatch):
    def write(word, claim, code="", name="verdict", **more):
        html = pd.DataFrame({name: [word], "claim": [claim], **more}).to_html(index=False)
        cell = nbformat.v4.new_code_cell(code, outputs=[])
        cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": html})]
        file = tmp_path / "page.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), file)
        monkeypatch.setattr(execute, "paths", lambda name: (file, file, file))
        monkeypatch.setattr(sys, "argv", ["verdicts", "trap/permutation"])

    return write


def test_page_that_contradicts_the_ledger_is_named(page, capsys):
    known = verdicts.recorded()
    claim, word = next(
        (claim, runs[0][1])
        for claim, runs in known.items()
        if [run for run, _ in runs] == ["quick"]
    )
    page(word, claim)
    assert verdicts.main() == 0
    page("not" if word != "not" else "holds", claim)
    assert verdicts.main() == 1
    assert f"in the ledger: {claim}" in capsys.readouterr().out
    page(word, "A claim that the ledger does not know.")
    assert verdicts.main() == 1
    page(word, claim, code="sh.experiments.verdicts(claims, runs)", name="words")
    assert verdicts.main() == 1
    assert "shows none" in capsys.readouterr().out


def test_a_row_that_names_its_run_is_compared_with_that_run(page):
    claim, runs = next(
        (claim, dict(runs))
        for claim, runs in verdicts.recorded().items()
        if len({word for _, word in runs}) > 1 and {"quick", "full-size"} <= dict(runs).keys()
    )
    page(runs["full-size"], claim, preset=["full-size"])
    assert verdicts.main() == 0
    page(runs["full-size"], claim, preset=["quick"])
    assert verdicts.main() == (runs["quick"] != runs["full-size"])
