"""What a page gets: outputs, a banner, timings, and words that stand without a kernel."""

import os
import re

import nbformat
import pandas as pd
import pytest

from notebooks import NOTEBOOKS, code_cells
from small_book import PLACEHOLDER, REAL, executed, notebook, save
from tools.build import assemble, chapters, execute


def test_outputs_go_into_the_new_prose_and_a_banner_after_the_title(book):
    executed("trap/one")
    save("trap/one", notebook("# One\n\nNew prose.", "More.", ("print(6 * 7)",)))
    assemble.assemble(["trap/one", "trap/two"])
    page = nbformat.read(chapters.SOURCE / "book" / "trap" / "one.ipynb", as_version=4)
    assert [c.cell_type for c in page.cells] == ["markdown", "markdown", "markdown", "code"]
    assert page.cells[0].source == "# One\n\nNew prose."
    assert "12 s" in page.cells[1].source
    assert "457 MB" in page.cells[1].source
    assert page.cells[3].outputs[0].text == "42\n"
    other = nbformat.read(chapters.SOURCE / "book" / "trap" / "two.ipynb", as_version=4)
    assert "not executed" in other.cells[1].source


def test_a_cell_that_only_imports_is_folded(book):
    save(
        "trap/one", notebook("# One", ("import math\nfrom os import path",), ("import re\nx = 1",))
    )
    _, _, imports, other = nbformat.reads(assemble.chapter("trap/one"), 4).cells
    assert imports.metadata["tags"] == ["hide-input"]
    assert not other.metadata.get("tags")
    assert not assemble.is_imports("%matplotlib inline")
    assert not assemble.is_imports("")


def test_assembling_again_touches_nothing_and_forgets_what_is_gone(book):
    executed("trap/one")
    (book / "book" / "old.md").write_text("# Old\n")
    assemble.assemble(["trap/one"])
    files = [f for f in chapters.SOURCE.rglob("*") if f.is_file()]
    for file in files:
        os.utime(file, (1, 1))
    (book / "book" / "old.md").unlink()
    assemble.assemble(["trap/one"])
    left = [f for f in chapters.SOURCE.rglob("*") if f.is_file()]
    assert {f.name for f in files} - {f.name for f in left} == {"old.md"}
    assert all(f.stat().st_mtime == 1 for f in left)


def test_banner_names_data_and_links_only_to_a_real_address():
    facts = {"data": "MNIST", "download_mb": 11}
    record = {"seconds": 9.6, "peak_mb": 512.3}
    hidden = assemble.banner("trap/one", facts, record, PLACEHOLDER)
    assert "**10 s** and **512 MB**" in hidden
    assert "data: MNIST, 11 MB to download" in hidden
    assert "http" not in hidden
    shown = assemble.banner("trap/one", facts, record, REAL)
    assert "someone/their-book/blob/main/book/trap/one.ipynb" in shown
    assert "someone/their-book/main?labpath=book/trap/one.ipynb" in shown


def test_timings_list_each_executed_chapter_by_its_title(book):
    assert "No chapter" in assemble.timings(["trap/one"])
    executed("trap/one")
    text = assemble.timings(["trap/one", "trap/two"])
    assert "| [One](../trap/one.ipynb) | 12.3 | 457 | 2026-01-02 |" in text
    assert "Two" not in text


def test_an_empty_corner_of_a_table_is_no_heading():
    html = "<tr><th></th><th>arm</th></tr>"
    output = nbformat.v4.new_output("display_data", {"text/html": html})
    assert assemble.readable(output).data["text/html"] == "<tr><td></td><th>arm</th></tr>"
    stream = nbformat.v4.new_output("stream", text="<th></th>")
    assert assemble.readable(stream).text == "<th></th>"


def test_a_page_without_a_kernel_shows_no_dead_controls():
    view = {assemble.WIDGET: {"model_id": "1"}, "text/plain": "VBox()"}
    shown = assemble.readable(nbformat.v4.new_output("display_data", view))
    assert set(shown.data) == {"text/html"}
    assert "no kernel" in shown.data["text/html"]


@pytest.mark.parametrize(
    ("table", "head"),
    [
        (pd.DataFrame({"a": [1]}, index=pd.Index([2], name="k")), ["k", "a"]),
        (pd.DataFrame({"a": [1]}, index=pd.Index([2], name="k")).style, ["k", "a"]),
        (pd.DataFrame({"a": [1], "b": [2]}), ["", "a", "b"]),
        (pd.DataFrame({"a": [1], "b": [2]}).style, ["", "a", "b"]),
        (pd.DataFrame([[1]], pd.Index([2], name="k"), pd.Index(["a"], name="c")), ["k \\ c", "a"]),
        (pd.DataFrame({"k": [1], "l": [2], "a": [3]}).set_index(["k", "l"]), ["k", "l", "a"]),
    ],
)
def test_a_table_has_one_row_of_headings(table, head):
    output = nbformat.v4.new_output("display_data", {"text/html": table._repr_html_()})
    (row,) = re.findall(r"<thead>(.*?)</thead>", assemble.readable(output).data["text/html"], re.S)
    assert row.count("<tr") == 1
    assert re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) == head


def test_headings_of_several_levels_stay():
    table = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_product([["a"], ["x", "y"]]))
    table.index.name = "k"
    output = nbformat.v4.new_output("display_data", {"text/html": table._repr_html_()})
    assert assemble.readable(output).data["text/html"].count("<tr") == 4


def test_the_front_page_opens_with_the_figure_of_a_chapter_that_was_executed(book):
    (book / "book" / "intro.md").write_text(f"# Book\n\n{assemble.OPENING}\n")
    save("trap/one", notebook("# One\n\nA page.", ("draw()", assemble.OPENING_TAG)))
    target = chapters.SOURCE / "book" / "intro.md"
    assemble.assemble(["trap/one"])
    assert target.read_text() == "# Book\n\n\n"
    executed("trap/one")
    file = execute.paths("trap/one")[1]
    done = nbformat.read(file, as_version=4)
    picture = {"text/html": '<figure id="figure-1"><img alt="A figure."><p>Caption.</p></figure>'}
    done.cells[-1].outputs = [nbformat.v4.new_output("execute_result", picture)]
    nbformat.write(done, file)
    assemble.assemble(["trap/one"])
    assert target.read_text() == '# Book\n\n<img alt="A figure.">\n'


def test_the_front_page_and_one_chapter_agree_on_the_opening_figure():
    front = chapters.ROOT / "book" / "intro.md"
    assert front.read_text().count(assemble.OPENING) == 1
    tagged = [
        f
        for f in NOTEBOOKS
        for c in code_cells(f)
        if assemble.OPENING_TAG in c.metadata.get("tags", [])
    ]
    assert [f.stem for f in tagged] == ["reflections"]
