"""Which chapters there are, and how files are written."""

import os

import pytest

from tools.build import chapters, files


def test_chapters_come_in_the_order_of_the_table_of_contents(book):
    assert chapters.pages(book / "_toc.yml") == ["book/intro", "book/trap/one", "book/trap/two"]
    assert chapters.chapters() == ["trap/one", "trap/two"]


def test_a_chapter_can_be_named_in_several_ways():
    for wanted in ("trap/two", "book/trap/two", "book/trap/two.ipynb"):
        assert chapters.select(["trap/one", "trap/two"], [wanted]) == ["trap/two"]
    assert chapters.select(["trap/one"], []) == ["trap/one"]
    with pytest.raises(SystemExit, match=r"No chapter trap/three.*There are: trap/one"):
        chapters.select(["trap/one"], ["trap/three"])


def test_write_leaves_an_unchanged_file_alone(tmp_path):
    file = tmp_path / "a" / "b.txt"
    assert files.write(file, "x")
    os.utime(file, (1, 1))
    assert not files.write(file, "x")
    assert file.stat().st_mtime == 1
    assert files.write(file, "y")
    assert [f.name for f in file.parent.iterdir()] == ["b.txt"], "no temporary file stays"
