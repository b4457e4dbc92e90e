"""Definitions, theorems and proofs: block quotes in a notebook, numbered boxes on the site.

A notebook is read in JupyterLab, Colab and on GitHub too, where a directive would show as raw text.
So a statement is written as a block quote that begins with its kind, number and name in bold, and a
proof as one that begins with the word in italics:

    > **Theorem 1 (no reflection is left).** With probability one ...

    > *Proof.* The random vector ...

Here they become the directives of sphinx-proof. Links to them, `[Theorem 1](#theorem-1)`, get the
numbers that Sphinx gives.
"""

from __future__ import annotations

import re

KINDS = ("Definition", "Assumption", "Lemma", "Theorem", "Proposition", "Corollary")
_KIND = "|".join(KINDS)
_QUOTE = re.compile(r"(?:^>.*\n?)+", re.MULTILINE)
_STATEMENT = re.compile(rf"\*\*({_KIND}) (\d+)(?: \(([^)]+)\))?\.\*\*\s*")
_PROOF = re.compile(r"\*Proof\.\*\s*")
_TO_STATEMENT = re.compile(rf"\[(?:{_KIND}) \d+\]\((?:[\w./-]+\.ipynb)?#([\w-]+)\)")
# What can be referred to, and what is, in the Markdown that Sphinx reads.
LABEL = re.compile(r"^:label: ([\w-]+)", re.MULTILINE)
REFERENCE = re.compile(r"\{prf:ref\}`([\w-]+)`")


def boxed(source: str) -> str:
    """Return the Markdown of a cell with its statements, proofs and links to them as directives."""
    source = _QUOTE.sub(lambda quote: _box(quote[0]), source)
    return _TO_STATEMENT.sub(r"{prf:ref}`\1`", source)


def numbered(source: str) -> list[tuple[str, int]]:
    """Return kind and number of the statements in the Markdown of a cell, in order."""
    found = (_STATEMENT.match(_unquoted(quote)) for quote in _QUOTE.findall(source))
    return [(statement[1], int(statement[2])) for statement in found if statement]


def _box(quote: str) -> str:
    """Return a block quote as a directive, or as it is."""
    text = _unquoted(quote)
    if proof := _PROOF.match(text):
        return f":::{{prf:proof}}\n{text[proof.end() :]}:::\n"
    if statement := _STATEMENT.match(text):
        kind, number, name = statement.groups()
        head = f":::{{prf:{kind.lower()}}} {name or ''}".rstrip()
        label = f":label: {kind.lower()}-{number}"
        return f"{head}\n{label}\n\n{text[statement.end() :]}:::\n"
    return quote


def _unquoted(quote: str) -> str:
    lines = (re.sub("^> ?", "", line) for line in quote.splitlines())
    return "\n".join(lines).rstrip() + "\n"
