"""Pages whose Python blocks run in order, and whose text blocks show what these print."""

import contextlib
import io
import re

import pytest

_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


def blocks(page):
    """Return (code, what the page says that it prints) of each block that runs."""
    return _BLOCK.findall(page.read_text())


def run(page, namespace, skip=lambda code: False):
    """Run a page; what it prints is what it shows, up to the last digits of numbers."""
    everything = ""
    for number, (code, shown) in enumerate(blocks(page)):
        if skip(code):
            continue
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(code, f"{page.name}, block {number}", "exec"), namespace)
        assert same(said.getvalue(), shown), f"{page.name}, block {number}:\n{said.getvalue()}"
        everything += said.getvalue()
    return everything


def same(said, shown):
    """Compare texts: the same words, and the same numbers to a few per cent."""
    if _NUMBER.sub("#", said).split() != _NUMBER.sub("#", shown).split():
        return False
    pairs = zip(_NUMBER.findall(said), _NUMBER.findall(shown), strict=True)
    return all(float(a) == pytest.approx(float(b), rel=0.05, abs=2e-3) for a, b in pairs)
