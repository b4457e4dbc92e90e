"""A chapter that runs a second time prints the same."""

import sys

from small_book import execute_really, notebook, save
from tools.build import nbval


def test_a_chapter_that_prints_something_else_the_second_time_fails(book, monkeypatch, capfd):
    save("trap/one", notebook("# One\n\nWhy?", ("import os\nprint(os.getpid())",)))
    save("trap/two", notebook("# Two\n\nHow?", ("print(object())\nprint(6 * 7)",)))
    for name in ("trap/one", "trap/two"):
        assert execute_really(name).returncode == 0
    monkeypatch.setattr(sys, "argv", ["nbval.py", "--jobs", "1"])
    assert nbval.main() == 1
    out = capfd.readouterr().out
    assert "Cell outputs differ" in out
    assert "1 failed, 1 passed" in out, "an address in memory may differ, a number may not"


def test_repeating_without_chapters_is_no_failure(book, monkeypatch, capsys):
    (book / "_toc.yml").write_text("root: book/intro\n")
    monkeypatch.setattr(sys, "argv", ["nbval.py"])
    assert nbval.main() == 0
    assert "No chapters" in capsys.readouterr().out
