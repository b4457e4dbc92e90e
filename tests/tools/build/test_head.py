"""The head of a page describes it, by its first words."""

from types import SimpleNamespace

import pytest
from docutils import nodes

from tools.build import head


def page(*paragraphs):
    section = nodes.section("", nodes.title("", "Title"), *paragraphs)
    document = nodes.document(None, None)
    document += section
    return document


def words(text):
    return nodes.paragraph("", text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One  line\nand more.", "One line and more."),
        ("A sentence of some eighty letters, so that it is long enough to be kept whole. " * 3,
         "A sentence of some eighty letters, so that it is long enough to be kept whole. "
         "A sentence of some eighty letters, so that it is long enough to be kept whole."),
        ("word " * 100, "word " * 39 + "word …"),
    ],
)  # fmt: skip
def test_a_description_ends_after_a_sentence_or_a_word(text, found):
    description = head.first_sentences(page(words(text), words("Another.")))
    assert description == found
    assert len(description) <= head.LONGEST + 2


def test_what_is_no_prose_is_passed_over():
    formula = nodes.paragraph("", "", nodes.Text("Take "), nodes.math("", "x^2"))
    note = nodes.note("", words("A note."))
    assert head.first_sentences(page(note, formula, words("Prose."))) == "Prose."
    assert head.first_sentences(page()) == ""


def test_tags_are_escaped_and_added_to_those_of_others():
    config = SimpleNamespace(root_doc="book/intro", html_title="The book", project="")
    context = {"title": "Signs", "metatags": "<meta other>"}
    head.describe(
        SimpleNamespace(config=config), "book/a", "", context, page(words('Say "a < b".'))
    )
    assert context["metatags"].startswith("<meta other>")
    for tag in (
        '<meta name="description" content="Say &quot;a &lt; b&quot;.">',
        '<meta property="og:title" content="Signs">',
        '<meta property="og:type" content="article">',
        '<meta property="og:site_name" content="The book">',
    ):
        assert tag in context["metatags"]
    empty = {}
    head.describe(SimpleNamespace(config=config), "search", "", empty, None)
    assert empty == {}
