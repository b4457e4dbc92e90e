"""A formula and the marks that touch it stay on one line."""

import pytest
from docutils import nodes

from tools.build import punctuation


def joined(*parts):
    paragraph = nodes.paragraph("", "", *parts)
    document = nodes.document(None, None)
    document += paragraph
    punctuation.join(None, document, "page")
    return [
        (node.astext() if isinstance(node, nodes.inline) else None, node.astext())
        for node in paragraph
    ]


def formula(text="x"):
    return nodes.math("", text)


@pytest.mark.parametrize(
    ("before", "after", "together", "rest"),
    [
        ("Take ", ", and", "x,", " and"),
        ("Take (", "); and", "(x);", " and"),
        ("Take ", "-th, and", "x-th,", " and"),
        ("Take ", "’s", "x’s", None),
    ],
)
def test_marks_stay_with_the_formula(before, after, together, rest):
    found = joined(nodes.Text(before), formula(), nodes.Text(after))
    assert found[1][0] == together
    assert [text for _, text in found] == ["Take ", together, *([rest] if rest else [])]


def test_words_are_left_alone():
    for after in (" and", "– so", " (so)"):
        assert all(
            not whole for whole, _ in joined(nodes.Text("Take "), formula(), nodes.Text(after))
        )
    assert joined(formula()) == [(None, "x")]


def test_two_formulas_in_a_row_each_keep_theirs():
    found = joined(formula("x"), nodes.Text(", "), formula("y"), nodes.Text("."))
    assert [whole for whole, _ in found] == ["x,", None, "y."]
