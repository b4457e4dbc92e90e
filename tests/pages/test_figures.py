"""Figures and equations have numbers in order, and what the text names is there."""

import ast
import functools
import re

import pytest

from notebooks import code_cells, each_notebook, prose
from tools.build import chapters, references

FIGURES = {"Picture", "FrameSlider"}
FORMULA = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
CODE = re.compile(r"```.*?```|`[^`\n]+`|^#[^\n]*$", re.DOTALL | re.MULTILINE)
# The link to another chapter that follows "Figure 2 of".
OTHER = re.compile(r"\s+of\s+\*?\[[^]]+\]\(([^)#\s]+)\.ipynb")
VAGUE = re.compile(r"\b(?:figure|picture|plot|slider) (?:above|below)\b", re.IGNORECASE)


def figures(source):
    """The calls that make the figures of a cell, in order; those of a panel are made elsewhere."""
    tree = ast.parse(source)
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.Lambda))
        for node in ast.walk(outer)
    }
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    made = [
        call
        for call in calls
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in FIGURES
        and id(call) not in inside
    ]
    return sorted(made, key=lambda call: (call.lineno, call.col_offset))


@functools.cache
def numbers(file):
    """The numbers of a notebook's figures and of its equations, as they stand."""
    calls = [call for cell in code_cells(file) for call in figures(cell.source)]
    words = [{k.arg: k.value for k in call.keywords} for call in calls]
    given = [getattr(word.get("number"), "value", None) for word in words]
    tags = [
        int(n) for formula in FORMULA.findall(prose(file)) for n in references.TAG.findall(formula)
    ]
    return {"figure": given, "equation": tags}


def named(file):
    """What the text of a notebook names: the file meant, and the kind and number there."""
    text = CODE.sub("", FORMULA.sub("", prose(file)))
    for mention in references.mentions(text):
        other = OTHER.match(mention.after)
        if not other and references.OF.match(mention.after):
            continue  # somebody else's
        target = (file.parent / f"{other[1]}.ipynb").resolve() if other else file
        kind, number = mention.place.split("-")
        yield target, kind, int(number)


@each_notebook
def test_every_figure_has_a_caption_and_its_number_in_order(file):
    calls = [call for cell in code_cells(file) for call in figures(cell.source)]
    assert calls
    without = [
        f"line {call.lineno} of {ast.unparse(call)[:60]}"
        for call in calls
        if not {"alt", "caption", "number"} <= {k.arg for k in call.keywords}
    ]
    assert not without
    assert numbers(file)["figure"] == list(range(1, len(calls) + 1))


@each_notebook
def test_numbered_equations_are_in_order_and_carry_no_label_of_the_site(file):
    tags = numbers(file)["equation"]
    assert tags == list(range(1, len(tags) + 1))
    assert not re.findall(r"\$\$ *\([a-zA-Z]", prose(file))


@each_notebook
def test_what_the_text_names_is_there(file):
    for target, kind, number in named(file):
        assert number in numbers(target)[kind], f"{kind} {number} of {target.stem}"


@each_notebook
def test_a_figure_is_named_by_its_number(file):
    assert not VAGUE.findall(prose(file))


@pytest.mark.parametrize("page", sorted(chapters.BOOK.rglob("*.md")), ids=lambda f: f.stem)
def test_pages_without_code_name_figures_that_are_there(page):
    text = CODE.sub("", page.read_text())
    for mention in references.mentions(text):
        if other := OTHER.match(mention.after):
            kind, number = mention.place.split("-")
            assert int(number) in numbers((page.parent / f"{other[1]}.ipynb").resolve())[kind]


def test_figures_are_found_as_cells_make_them():
    source = (
        "def again(n):\n    return sh.plots.Picture(draw(n), alt='In a panel.')\n"
        "show(Picture(fig, alt='Words.', caption='More.', number=1))\n"
        "sh.interactive.FrameSlider(lambda n: draw(n), [1, 2], alt='Words.', number=2)"
    )
    assert [call.lineno for call in figures(source)] == [3, 4]
