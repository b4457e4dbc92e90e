"""The experiment that a page shows is one: put where the page says, it runs as the page says."""

import importlib.util
import sys

import page_blocks
import syre_helpers as sh
from syre_helpers.__main__ import main
from tools.build import chapters

PAGE = chapters.BOOK / "reference" / "what-an-experiment-is.md"


def test_the_example_is_an_experiment(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SYRE_PROGRESS", "0")
    (module, _), (use, shown) = page_blocks.blocks(PAGE)
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "all_dead.py").write_text(module)
    # As if the file lay beside the others: found by its name, and removed afterwards.
    monkeypatch.setattr(sh.experiments, "__path__", [*sh.experiments.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, "syre_helpers.experiments.all_dead", raising=False)
    assert importlib.util.find_spec("syre_helpers.experiments.all_dead")
    out = tmp_path / "table.csv"
    assert main(["run", "all_dead", "--seeds", "2", "--set", "steps=5", "--out", str(out)]) == 0
    assert out.exists()
    capsys.readouterr()
    namespace = {"sh": sh}
    exec(use, namespace)
    said = capsys.readouterr().out
    assert page_blocks.same(said, shown), said
    assert set(namespace["table"].method) == {"vanilla", "plain decay", "W-fix", "syre"}
