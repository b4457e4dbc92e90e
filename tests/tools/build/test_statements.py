"""Statements read well in a notebook, and become numbered boxes on the site."""

from collections import Counter

import nbformat

from notebooks import NOTEBOOKS
from small_book import executed, notebook, save
from tools.build import assemble, chapters, statements

STATEMENT = """Before.

> **Theorem 1 (no reflection is left).** Let it be.
> With probability one
>
> $$ a = b . \\tag{1} $$

> *Proof.* By [Lemma 2](#lemma-2) and equation (1),
> it is.

After, see [Theorem 1](what-is-proved.ipynb#theorem-1).
"""
BOXED = """Before.

:::{prf:theorem} no reflection is left
:label: theorem-1

Let it be.
With probability one

$$ a = b . \\tag{1} $$
:::

:::{prf:proof}
By {prf:ref}`lemma-2` and equation (1),
it is.
:::

After, see {prf:ref}`theorem-1`.
"""


def test_statements_and_proofs_become_boxes_and_links_get_numbers():
    assert statements.boxed(STATEMENT) == BOXED
    assert statements.numbered(STATEMENT) == [("Theorem", 1)]


def test_a_statement_needs_no_name_and_other_quotes_stay():
    quote = "> Whoever said so.\n> *Proof.* Here it is not.\n"
    assert statements.boxed(quote) == quote
    assert statements.boxed("> **Lemma 2.** So.") == ":::{prf:lemma}\n:label: lemma-2\n\nSo.\n:::\n"
    assert statements.boxed("[a page](x.ipynb#theorem-1)") == "[a page](x.ipynb#theorem-1)"


def test_the_site_gets_the_boxes(book):
    save("trap/one", notebook("# One\n\nA page.", STATEMENT))
    executed("trap/one")
    assemble.assemble(["trap/one"])
    page = nbformat.read(chapters.SOURCE / "book" / "trap" / "one.ipynb", as_version=4)
    assert page.cells[-1].source == BOXED


def test_the_typed_numbers_are_those_that_the_site_gives():
    count = Counter()
    order = [chapters.BOOK / f"{name}.ipynb" for name in chapters.chapters()]
    assert sorted(order) == sorted(NOTEBOOKS)
    for file in order:
        for cell in nbformat.read(file, as_version=4).cells:
            if cell.cell_type == "markdown":
                for kind, number in statements.numbered(cell.source):
                    count[kind] += 1
                    assert number == count[kind], f"{file.name}: {kind} {number}"
    assert set(count) == set(statements.KINDS)


def test_every_link_to_a_statement_has_its_target():
    sources = [
        cell.source
        for file in NOTEBOOKS
        for cell in nbformat.read(file, as_version=4).cells
        if cell.cell_type == "markdown"
    ]
    text = "\n\n".join(map(statements.boxed, sources))
    labels = set(statements.LABEL.findall(text))
    assert len(labels) >= 8
    assert set(statements.REFERENCE.findall(text)) <= labels
