"""The words of the glossary on the pages: which uses are marked, and what they tell."""

import pytest
from docutils import nodes
from sphinx.testing.util import SphinxTestApp

from tools.build import terms

GLOSSARY = """
Words
=====

.. glossary::

   mirror plane
      What a :term:`reflection` leaves, :math:`R x = x`.

   reflection
      Done twice, it is *nothing* :cite:p:`someone`.

   dead units
      Their output is constant.

   symmetry
      A change that changes nothing.

   collapse
      Bad.

   posterior collapse
      Worse.
"""
PAGE = """
A mirror plane in the title
===========================

No link in ``mirror plane``, none in the mirror planeness or non-collapse. Two *mirror
planes* and a mirror plane; Symmetries; a dead unit. A posterior collapse, then a collapse.

+--------------+
| reflection   |
+--------------+

:doc:`a reflection <words>`

See the :term:`reflection`, another reflection, and :term:`that <collapse>` collapse.
"""


@pytest.fixture
def site(tmp_path):
    """A small site: its pages' documents as they are written, by name."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "conf.py").write_text(
        "extensions = ['sphinx.ext.mathjax', 'tools.build.terms']\nroot_doc = 'page'\n"
        "suppress_warnings = ['toc.not_included']\n"
        # Stands in for the bibliography: a citation is a reference of the domain `cite`.
        "def setup(app):\n"
        "    from sphinx import addnodes\n"
        "    def cite(name, raw, text, *_, **__):\n"
        "        node = addnodes.pending_xref('', refdomain='cite', reftype='p', reftarget=text)\n"
        "        node += __import__('docutils').nodes.inline(text, text)\n"
        "        return [node], []\n"
        "    app.add_role('cite:p', cite)\n"
    )
    (folder / "words.rst").write_text(GLOSSARY)
    (folder / "page.rst").write_text(PAGE)
    return folder


def build(folder):
    app = SphinxTestApp("html", srcdir=folder, freshenv=False)
    app.build()
    app.cleanup()
    return app


def page(folder, name="page"):
    return (folder / "_build" / "html" / f"{name}.html").read_text()


def marked(text):
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(text, "html.parser")
    found = soup.select("a.reference.internal:has(> .std-term)")
    return [(" ".join(a.get_text().split()), a["href"]) for a in found], soup


def test_the_first_use_of_each_word_is_a_link_to_its_meaning(site):
    build(site)
    links, soup = marked(page(site))
    assert links == [
        ("mirror planes", "words.html#term-mirror-plane"),
        ("Symmetries", "words.html#term-symmetry"),
        ("dead unit", "words.html#term-dead-units"),
        ("posterior collapse", "words.html#term-posterior-collapse"),
        ("collapse", "words.html#term-collapse"),
        # The author's own marks stay; the word after the first of them is none.
        ("reflection", "words.html#term-reflection"),
        ("that", "words.html#term-collapse"),
    ]
    ids = {tag["id"] for tag in soup.select(".syre-meaning[role=tooltip][hidden]")}
    assert ids == {"about-" + href.partition("#")[2] for _, href in links}
    assert not marked(page(site, "words"))[1].select(".syre-meaning"), "it has the words themselves"


def test_a_meaning_holds_no_links_and_brings_its_formulas_along(site):
    build(site)
    text = page(site)
    _, soup = marked(text)
    plane = soup.find(id="about-term-mirror-plane")
    assert plane.get_text().startswith("mirror plane What a reflection leaves,")
    assert plane.select_one(".math")
    assert "mathjax" in text.lower(), "the page has no formula of its own"
    reflection = soup.find(id="about-term-reflection")
    assert reflection.get_text() == "reflection Done twice, it is nothing."
    assert not plane.select("a")
    assert not reflection.select("a")


def test_a_changed_glossary_reaches_pages_that_did_not_change(site):
    build(site)
    (site / "words.rst").write_text(GLOSSARY.replace("Bad.", "Less than it could be."))
    build(site)
    _, soup = marked(page(site))
    assert "Less than it could be." in soup.find(id="about-term-collapse").get_text()


@pytest.mark.parametrize(
    ("name", "other"),
    [("saddle", "saddles"), ("symmetry", "symmetries"), ("dead units", "dead unit")],
)
def test_words_are_found_in_both_numbers(name, other):
    assert terms.inflected(name) == [other]
    assert terms.pattern([name]).fullmatch(other.upper())


def test_a_word_in_a_fold_that_may_stay_closed_is_no_first_use(site):
    fold, end = "<details><summary>Why</summary>", "</details>"
    raw = ".. raw:: html\n\n   {}\n\n"
    text = f"Dead units.\n\n{raw.format(fold)}A reflection.\n\n{raw.format(end)}The *reflection*.\n"
    (site / "page.rst").write_text(f"Page\n====\n\n{text}")
    build(site)
    links, soup = marked(page(site))
    assert [word for word, _ in links] == ["Dead units", "reflection"]
    assert soup.select("em a"), "the second one, which all can see"


def test_a_page_without_a_glossary_is_left_alone():
    document = nodes.document("", "")
    terms.mark(None, document, "page", {})
    assert terms.MEANINGS not in document
