"""How much code stands in plain sight, and how soon a chapter shows something."""

import re

import nbformat

from notebooks import NOTEBOOKS, code_cells, each_notebook
from tools.build import assemble, chapters

# Lines of code that a reader meets, in all chapters together.
MOST = 3600
REMOVED = {"remove-input", "remove-cell"}
FOLDED = {"hide-input", "hide-cell", *REMOVED}
# Two screens and five, of 900 pixels with 28 for a line of prose or code, headings included.
FIRST_FIGURE, FIRST_SLIDER = 64, 165
LETTERS = 95  # in a line of prose
FIGURE = 15  # lines that an earlier figure takes
DETAILS = re.compile(r"<details>.*?</details>", re.DOTALL)


def is_folded(cell):
    """Whether a reader sees only a bar in place of a cell's code."""
    return bool(FOLDED & set(cell.metadata.get("tags", [])))


def visible(file):
    """The lines of code of a notebook that a reader sees, without empty ones."""
    lines = (line for c in code_cells(file) if not is_folded(c) for line in c.source.splitlines())
    return sum(1 for line in lines if line.strip())


def lines_before(file, *makers):
    """The lines of prose and code, as the page shows them, before a figure made by one of these."""
    count = 0.0
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "markdown":
            text = DETAILS.sub("", cell.source)
            for paragraph in filter(str.strip, re.split(r"\n\s*\n", text)):
                count += -(-len(paragraph) // LETTERS) + 0.6
            continue
        if not REMOVED & set(cell.metadata.get("tags", [])):
            # The site folds what only imports.
            bar = is_folded(cell) or assemble.is_imports(cell.source)
            count += 2 if bar else cell.source.count("\n") + 2
        if any(f"{maker}(" in cell.source for maker in makers):
            return count
        count += FIGURE * bool(re.search(r"Picture\(|FrameSlider\(", cell.source))
    return None


@each_notebook
def test_a_chapter_soon_shows_a_figure(file):
    before = lines_before(file, "Picture", "FrameSlider")
    assert before <= FIRST_FIGURE, f"{before:.0f} lines come before the first figure"


@each_notebook
def test_a_chapter_soon_has_something_to_move(file):
    before = lines_before(file, "FrameSlider")
    if before is not None:
        assert before <= FIRST_SLIDER, f"{before:.0f} lines come before the first slider"


def test_the_chapters_show_no_more_code_than_a_reader_bears():
    counts = {str(f.relative_to(chapters.BOOK).with_suffix("")): visible(f) for f in NOTEBOOKS}
    listed = "\n".join(f"{n:5} {name}" for name, n in sorted(counts.items(), key=lambda c: -c[1]))
    assert sum(counts.values()) <= MOST, f"{sum(counts.values())} lines in sight:\n{listed}"
