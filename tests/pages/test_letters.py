"""A letter of the symbol table means one thing on all pages, as far as a test can tell.

The table of the glossary says what each letter means. Three kinds of places are read, in the prose
and the formulas of the chapters and in the words of the exercises: a noun beside a letter ("the
eigenvalue $h$"), whose meaning must then be the letter's; indices that a letter never has; and
indices or words in strings that figures show.
"""

import re

import nbformat
import pytest

from notebooks import NOTEBOOKS, each_notebook, prose
from tools.build import chapters

GLOSSARY = (chapters.BOOK / "reference" / "glossary.md").read_text().partition("## Symbols")[2]
ROW = re.compile(r"^\| (\$.*?) \|.*?\| ([^|]+) \|$", re.MULTILINE)
FORMULA = re.compile(r"\$\$(.+?)\$\$|\$([^$]+)\$", re.DOTALL)
# Nouns that name a quantity, with the words of the table that mean the same.
NOUNS = {
    r"eigenvalues?": ("eigenvalue",),
    r"curvatures?": ("curvature",),
    r"singular values?": ("singular value",),
    r"variances?": ("variance",),
    r"standard deviations?": ("standard deviation", "how far"),
    r"learning rates?": ("learning rate",),
    r"(?:weight )?decays?": ("decay", "PyTorch counts"),
    r"batch sizes?": ("in a batch",),
    r"temperatures?": ("temperature",),
    r"momentum": ("momentum",),
    r"gains?": ("gain",),
}
# What is counted, before or after the letter: "$m$ hidden units".
COUNTED = {
    r"(?:hidden |dead |living )?units": ("hidden units", "twins"),
    r"(?:samples|images|examples|inputs|data points)": ("samples", "in a batch"),
    r"(?:weights|parameters)": ("the number of parameters",),
}
# Indices that would make another thing of a letter.
NEVER = {
    r"\lambda": re.compile(r"\\lambda\s*(?:_|'|\^\{?\((?!\d))"),
    r"\gamma": re.compile(r"\\gamma\s*(?:_|')"),
    r"\eta": re.compile(r"\\eta\s*_\s*(?:\{?(?:ij?|j)\b)"),
    r"\sigma_0": re.compile(r"\\sigma_0\^\{?(?![2}])"),
}
IN_STRINGS = re.compile(r"lambda_|λ_|λ[₀-₉ᵢ]|eigenvalue[^\"']{0,20}(?:lambda|λ)")


def meanings():
    """The letters of the table, each with what it means."""
    found = {}
    for symbols, meaning in ROW.findall(GLOSSARY):
        for symbol in re.findall(r"\$([^$]+)\$", symbols):
            for letter in re.split(r" \\times ", symbol):
                found[letter] = f"{found.get(letter, '')} {meaning}".strip()
    return found


MEANINGS = meanings()


def own(page):
    """The letters with a meaning of this page's own."""
    found = {}
    for part in GLOSSARY[GLOSSARY.rindex("|\n") :].split(";"):
        for letter in re.findall(r"\$([^$]+)\$", part):
            found.setdefault(letter, []).append(part)
    return {letter: " ".join(p) for letter, p in found.items() if any(page in q for q in p)}


def beside(text):
    """Pairs of a noun and the letter beside it, with the words of the table that would fit."""
    for noun, fits in NOUNS.items():
        for match in re.finditer(rf"\b{noun}\s+\$([^$]+)\$", text, re.IGNORECASE):
            yield match[0], match[1], fits
    for noun, fits in COUNTED.items():
        for match in re.finditer(rf"\$([^$]+)\$\s+{noun}\b", text):
            yield match[0], match[1], fits
        for match in re.finditer(rf"\bnumber of {noun}\s+\$([^$]+)\$", text):
            yield match[0], match[1], fits


def second_meanings(text, page):
    """The places of a text where a letter of the table means something else."""
    here = own(page)
    for words, formula, fits in beside(text):
        letter = re.match(r"\\?[A-Za-z]+(?:_(?:\w|\{[^}]*\}))?", formula.strip())
        if not letter or re.match(r"\s*[_^(\\]", formula.strip()[letter.end() :]):
            continue
        said = f"{MEANINGS.get(letter[0], '')} {here.get(letter[0], '')}".strip()
        if said and not any(fit in said for fit in fits):
            yield f"{' '.join(words.split())!r}: {letter[0]} is {said!r}"
    for formula in (a or b for a, b in FORMULA.findall(text)):
        for letter, pattern in NEVER.items():
            if letter not in here and pattern.search(formula):
                yield f"{' '.join(formula.split())[:80]!r}: {letter} with an index"


def test_the_table_has_the_letters_that_this_file_is_about():
    assert {r"\lambda", r"\gamma", r"\eta", "h", "m", "N", "B", "n", r"\sigma_0"} <= set(MEANINGS)
    assert "eigenvalue" in MEANINGS["h"]
    assert set(NEVER) <= set(MEANINGS)
    assert "s" in own("trap/sign-and-rescaling")
    assert "s" not in own("trap/rotation")


@pytest.mark.parametrize(
    "wrong",
    [
        r"the eigenvalue $\lambda$",
        r"eigenvalues $\lambda_i$",
        r"with variance $\lambda$",
        r"for $n$ hidden units",
        r"the number of samples $n$",
        r"$$ \lambda_{\min}(H) $$",
        r"the curvature $g$",
        r"a learning rate $h$",
    ],
)
def test_a_second_meaning_is_found(wrong):
    assert list(second_meanings(wrong, "trap/reflections"))


@pytest.mark.parametrize(
    "right",
    [
        r"the eigenvalue $h$",
        r"an eigenvalue $h_{\min}$ of $P H P$",
        r"$m$ hidden units and $N$ samples, a weight decay $\lambda$, a learning rate $\eta$",
        r"a variance $\nu$",
        r"$$ 2 \gamma = \lambda $$",
    ],
)
def test_the_meaning_of_the_table_is_not_found(right):
    assert not list(second_meanings(right, "trap/reflections"))


@each_notebook
def test_no_letter_of_the_table_has_a_second_meaning(file):
    page = str(file.relative_to(chapters.BOOK).with_suffix(""))
    found = list(second_meanings(prose(file), page))
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "code":
            found += [f"{m[0]!r} in code" for m in IN_STRINGS.finditer(cell.source)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("file", sorted((chapters.PACKAGE / "exercises").glob("[!_]*.py")), ids=str)
def test_nor_in_the_words_of_an_exercise(file):
    text = file.read_text()
    page = next(
        (
            str(f.relative_to(chapters.BOOK).with_suffix(""))
            for f in NOTEBOOKS
            if f.stem.replace("-", "_") == file.stem
        ),
        "",
    )
    assert not [*second_meanings(text, page), *IN_STRINGS.findall(text)]
