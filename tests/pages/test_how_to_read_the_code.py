"""The page "how to read the code" runs in order, and names arms and files that are there."""

import re

import page_blocks
import syre_helpers as sh
from tools.build import chapters

PAGE = chapters.BOOK / "reference" / "how-to-read-the-code.md"


def test_the_page_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(page_blocks.blocks(PAGE)) >= 7
    page = {"__name__": "__main__"}
    said = page_blocks.run(PAGE, page)
    assert "120 rows: 3 arms, 8 seeds, 5 steps" in said
    assert 'id="figure-1"' in page["picture"]._repr_html_()
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_every_name_in_a_figure_is_the_method_of_its_arm():
    rows = re.findall(r"^\| ([^|]+) \| `(arms\.\w+\(.*?\))`", PAGE.read_text(), re.MULTILINE)
    assert len(rows) >= 12
    for name, made in rows:
        arm = eval(made, {"arms": sh.arms, "λ": 0.1, "symmetrise": dict})
        assert name.replace(", with D", " + D").startswith(arm.method), (name, arm.method)


def test_every_file_that_it_names_is_there():
    _, _, where = PAGE.read_text().partition("## Where things are")
    for path in re.findall(r"^\|[^|]*\| `([\w/.]+)`", where, re.MULTILINE):
        package = chapters.ROOT / "syre_helpers" / path
        assert package.exists() or (chapters.ROOT / path).exists(), path


def test_the_landing_page_and_the_first_chapter_lead_here():
    assert "reference/how-to-read-the-code.md" in (chapters.BOOK / "intro.md").read_text()
    first = (chapters.BOOK / "trap" / "reflections.ipynb").read_text()
    assert "reference/how-to-read-the-code.md" in first
