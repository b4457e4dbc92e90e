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
    shown = [(name, *pair) for name in names for pair in printed(name)]
    wrong = [
        f"{name}: {word!r} on the page, {known.get(claim, [])} in the ledger: {claim}"
        for name, claim, word in shown
        if word not in known.get(claim, [])
    ]
    print(*wrong, f"{len(shown)} verdicts on pages, {len(wrong)} that differ.", sep="\n")
    return 1 if wrong else 0


def recorded() -> dict[str, list[str]]:
    """Return the ledger's words for each claim on the quick runs, by the claim's text."""
    words: dict[str, list[str]] = {}
    for name in ledger.CHAPTERS:
        runs = {p: run for p, run in ledger.records(name).items() if p.startswith("quick")}
        for claim in experiments.load(name).CLAIMS:
            judged = [one["verdict"] for one in ledger.judge(claim, runs)]
            words.setdefault(claim.text, []).extend(judged)
    return words


def printed(name: str) -> Iterator[tuple[str, str]]:
    """Yield each claim and its verdict in the tables that a chapter printed."""
    _, executed, _ = execute.paths(name)
    for cell in nbformat.read(executed, as_version=4).cells:
        for output in cell.get("outputs", []):
            yield from in_html(output.get("data", {}).get("text/html", ""))


def in_html(html: str) -> Iterator[tuple[str, str]]:
    """Yield each claim and its verdict in the tables of a piece of HTML."""
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
                yield row[columns.index("claim")], row[columns.index("verdict")]


if __name__ == "__main__":
    sys.exit(main())
