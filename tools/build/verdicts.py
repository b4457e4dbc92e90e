"""Compare the verdicts that the executed chapters print with those of the ledger.

`python -m tools.build.verdicts [practice/dead-neurons ...]`

A page judges the run that it has just made, the ledger judges the recorded one. Both ask
`Claim.verdict`. Where the two words differ, a reader meets two answers to one question.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import nbformat
from bs4 import BeautifulSoup

from syre_helpers import experiments
from tools.build import chapters, execute, ledger


def main() -> int:
    """Read the command line, compare, and name what differs."""
    options = chapters.parser("Compare verdicts.", jobs=False).parse_args()
    names = chapters.select(chapters.chapters(), options.names)
    known = recorded()
    shown = [(name, *found) for name in names for found in printed(name)]
    # A table whose columns go by other names would pass unread.
    wrong = [
        f"{name}: asks for verdicts, and shows none in a table with the columns verdict and claim"
        for name in names
        if ".verdicts(" in execute.paths(name)[0].read_text() and name not in {s[0] for s in shown}
    ]
    for name, claim, preset, word in shown:
        words = [w for run, w in known.get(claim, []) if is_run(run, preset)]
        if word not in words:
            wrong.append(f"{name}: {word!r} on the page, {words} in the ledger: {claim} {preset}")
    print(*wrong, f"{len(shown)} verdicts on pages, {len(wrong)} that differ.", sep="\n")
    return 1 if wrong else 0


def recorded() -> dict[str, list[tuple[str, str]]]:
    """Return the ledger's pairs of a preset and a word for each claim, by the claim's text."""
    words: dict[str, list[tuple[str, str]]] = {}
    for name in ledger.CHAPTERS:
        runs = ledger.records(name)
        for claim in experiments.load(name).CLAIMS:
            for one in ledger.judge(claim, runs):
                words.setdefault(claim.text, []).append((one["preset"], one["verdict"]))
    return words


def is_run(preset: str, named: str) -> bool:
    """Test whether a page's row is about a run; a page that names none has made a quick one."""
    return preset == named if named else preset.startswith("quick")


def printed(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield claim, preset ("" where none is named) and verdict of each row that a chapter shows."""
    _, executed, _ = execute.paths(name)
    for cell in nbformat.read(executed, as_version=4).cells:
        for output in cell.get("outputs", []):
            yield from in_html(output.get("data", {}).get("text/html", ""))


def in_html(html: str) -> Iterator[tuple[str, str, str]]:
    """Yield the same of the tables in a piece of HTML."""
    for table in BeautifulSoup(html, "html.parser").find_all("table"):
        rows = [
            [cell.get_text(strip=True) for cell in row.find_all(["th", "td"])]
            for row in table.find_all("tr")
        ]
        # The index's name may stand below those of the columns, in a row that is empty else.
        depth = len(table.select("thead tr"))
        heads = zip(*rows[:depth], strict=False)
        columns = [next((word for word in reversed(words) if word), "") for words in heads]
        if {"verdict", "claim"} <= set(columns):
            for row in rows[depth:]:
                cells = dict(zip(columns, row, strict=False))
                yield cells["claim"], cells.get("preset", ""), cells["verdict"]


if __name__ == "__main__":
    sys.exit(main())
