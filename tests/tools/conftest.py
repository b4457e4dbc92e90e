"""The book that the tests of the tools work on."""

import pytest

from small_book import PLACEHOLDER, notebook, save
from tools.build import chapters


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A repository with two chapters that need no package, so that a kernel starts fast."""
    for name, value in {
        "ROOT": tmp_path,
        "BOOK": tmp_path / "book",
        "PACKAGE": tmp_path / "syre_helpers",
        "BUILD": tmp_path / "_build",
        "EXECUTED": tmp_path / "_build" / "executed",
        "SOURCE": tmp_path / "_build" / "source",
    }.items():
        monkeypatch.setattr(chapters, name, value)
    (tmp_path / "book" / "trap").mkdir(parents=True)
    (tmp_path / "syre_helpers").mkdir()
    (tmp_path / "syre_helpers" / "__init__.py").write_text("A = 1\n")
    (tmp_path / "syre_helpers" / "other.py").write_text("B = 2\n")
    (tmp_path / "constraints.txt").write_text("torch==2.0\n")
    (tmp_path / "pyproject.toml").write_text(f'[project.urls]\nRepository = "{PLACEHOLDER}"\n')
    (tmp_path / "_config.yml").write_text("title: A book\n")
    (tmp_path / "_toc.yml").write_text(
        "root: book/intro\nparts:\n- chapters:\n  - file: book/trap/one\n  - file: book/trap/two\n"
    )
    (tmp_path / "book" / "intro.md").write_text("# Hello\n")
    save("trap/one", notebook("# One\n\nWhy?", ("print(6 * 7)",)))
    save("trap/two", notebook("# Two\n\nHow?", ("x = 1",)))
    return tmp_path
