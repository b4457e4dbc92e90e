"""The address of the repository reaches every place."""

import nbformat

from small_book import PLACEHOLDER, REAL, notebook
from tools.build import chapters, links


def test_a_new_address_reaches_every_place_and_switches_the_buttons_on(tmp_path):
    for name in ("_config.yml", "README.md", "CITATION.cff"):
        (tmp_path / name).write_bytes((chapters.ROOT / name).read_bytes())
    (tmp_path / "book").mkdir()
    setup = (links.setup_cell(PLACEHOLDER), links.SETUP_TAG)
    nbformat.write(notebook("# One", setup), tmp_path / "book" / "one.ipynb")
    texts = {file.name: text for file, text in links.outdated(tmp_path, REAL).items()}
    assert set(texts) == {"_config.yml", "README.md", "CITATION.cff", "one.ipynb"}
    for text in texts.values():
        assert REAL.removeprefix("https://github.com/") in text
        assert "OWNER" not in text
    assert "use_repository_button: true" in texts["_config.yml"]
    assert "colab_url: https://colab" in texts["_config.yml"]
    assert "someone.github.io/their-book" in texts["README.md"]
    for name, text in texts.items():
        (tmp_path / ("book" if name.endswith("ipynb") else "") / name).write_text(text)
    assert not links.outdated(tmp_path, REAL), "once is enough"
    assert "use_repository_button: false" in links.in_config(texts["_config.yml"], PLACEHOLDER)


def test_links_leave_a_first_cell_alone_that_is_not_the_setup_cell():
    text = nbformat.writes(notebook("# One", ("import torch",)))
    assert links.in_notebook(text, REAL) == text
