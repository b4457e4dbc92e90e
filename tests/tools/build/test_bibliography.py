"""The bibliography's labels are authors and year, readable, and never the same twice."""

from pybtex.database import parse_string
from pybtex.plugin import find_plugin

from tools.build import bibliography, chapters

ENTRIES = """
@misc{a, author = {\\c{S}im\\c{s}ek, Berfin and Ged, Fran\\c{c}ois and Jacot, A.},
    title = {A}, year = 2021}
@misc{b, author = {Noether, Emmy}, title = {B}, year = 1918}
@misc{c, author = {Noether, Emmy}, title = {C}, year = 1918}
@misc{d, author = {de la Vall{\\'e}e Poussin, C. and Weyl, Hermann}, title = {D}, year = 1930}
@misc{e, title = {E}}
"""


def labels(text):
    bibliography.setup(None)
    style = find_plugin("pybtex.style.formatting", bibliography.NAME)()
    data = parse_string(text, "bibtex")
    return {e.key: e.label for e in style.format_bibliography(data)}


def test_labels():
    assert labels(ENTRIES) == {
        "a": "Şimşek et al., 2021",
        "b": "Noether, 1918a",
        "c": "Noether, 1918b",
        "d": "Vallée Poussin and Weyl, 1930",
        "e": "e, n.d.",
    }


def test_every_entry_of_the_book_has_a_label_of_its_own_that_can_be_read():
    found = labels((chapters.BOOK / "references.bib").read_text())
    assert len(set(found.values())) == len(found)
    for label in found.values():
        assert not set(label) & set("\\{}$"), label
