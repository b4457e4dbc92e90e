"""The cheat sheet stays one printed page, and each of its lines leads to where it is derived."""

import math
import re

from tools.build import chapters

PAGE = chapters.BOOK / "reference" / "cheat-sheet.md"
TEXT = PAGE.read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in TEXT.splitlines()
    if line.startswith("|") and not line.startswith(("| ---", "| The law", "| To decide"))
]
# Characters in a line of each column, and lines on a page of A4, at the size of print.
WIDTHS, LINES = (40, 44, 22), 62


def shown(cell):
    """Return about what is printed of a cell: links by their words, formulas without commands."""
    words = re.sub(r"\]\([^)]*\)|[\[\]`*$]", "", cell)
    return re.sub(r"\\(?:operatorname|mathbb|lVert|rVert|lvert|rvert|[a-z]+)|[{}^]", "", words)


def test_it_is_one_printed_page():
    assert len(re.findall(r"\w+", "\n".join(" ".join(map(shown, row)) for row in ROWS))) <= 450
    heights = [
        max(math.ceil(len(shown(c)) / w) for c, w in zip(row, WIDTHS, strict=True)) for row in ROWS
    ]
    head = 12  # title, the paragraph below it, and the heads of two tables
    assert head + sum(heights) <= LINES, (sum(heights), heights)


def test_every_line_leads_to_a_page_that_is_there():
    assert len(ROWS) >= 16
    for row in ROWS:
        links = re.findall(r"\]\(([^)#]+)", row[-1])
        assert links, row
        assert all((PAGE.parent / link).exists() for link in links), row


def test_the_laws_are_all_there():
    laws = (
        r"P \nabla \ell = 0", r"\rvert > \lambda", r"\nu > \beta", r"\ln (1 / \gamma \sigma_0)",
        r"\lambda / (\lambda + h)", "k > a + b", "`attach`", "When not?", "How strong?",
    )  # fmt: skip
    assert [law for law in laws if law not in TEXT] == []
