"""A verdict is the same word on a page and in the ledger: both get it from `Claim.verdict`."""

import re

import pytest

from notebooks import code_cells
from syre_helpers import experiments
from tools.build import chapters, ledger

WORD = re.compile(r'"(?:partly reproduced|reproduced|partly|not|not shown|holds|does not hold)"')
SHOWN = sorted(
    chapter
    for chapter in set(ledger.CHAPTERS.values())
    if "verdicts(" in (chapters.BOOK / f"{chapter}.ipynb").read_text()
)


def test_most_chapters_show_verdicts_and_the_ledger_uses_the_same_function():
    assert len(SHOWN) >= 7
    record = ledger.records("dead_neurons")["quick"]
    for claim in experiments.load("dead_neurons").CLAIMS:
        if claim.is_about("quick"):
            (judged,) = ledger.judge(claim, {"quick": record})
            assert judged["verdict"] == claim.verdict(claim.values(record.table))


@pytest.mark.parametrize("chapter", SHOWN)
def test_no_verdict_is_written_by_hand(chapter):
    for cell in code_cells(chapters.BOOK / f"{chapter}.ipynb"):
        lines = cell.source.splitlines()
        by_hand = [
            line for line in lines if WORD.search(line) and not re.search("==|!=| in ", line)
        ]
        assert not by_hand or "assert" in cell.source, by_hand
