"""The decision rule quotes measurements: each must stand in the ledger, beside its experiment."""

import re

from tools.build import chapters

REFERENCE = chapters.BOOK / "reference"
RULE = (REFERENCE / "decision-rule.md").read_text()
LEDGER = (REFERENCE / "paper-against-book.md").read_text()


def slug(title):
    return title.strip().lower().replace(" ", "-")


SECTIONS = {
    slug(part.partition("\n")[0]): part
    for part in re.split(r"^## ", LEDGER, flags=re.MULTILINE)[1:]
}


def steps():
    return re.findall(r"^\*\*\d · .*?(?=^\*\*\d · |^\*\*Before|\Z)", RULE, re.DOTALL | re.MULTILINE)


def test_every_step_rests_on_a_measurement():
    assert len(steps()) == 8
    for step in steps():
        assert re.search(r"-?\d[\d.e+-]* ± \d", step), step
        assert "paper-against-book.md#" in step, step


def test_every_figure_stands_in_a_section_of_the_ledger_that_the_step_links():
    count = 0
    for step in steps():
        linked = re.findall(r"paper-against-book\.md#([\w-]+)", step)
        assert set(linked) <= set(SECTIONS), linked
        there = "".join(SECTIONS[name] for name in linked)
        for figure in re.findall(r"-?\d[\d.e+-]* ± \d[\d.e+-]*\d|-?\d[\d.e+-]* ± \d", step):
            assert f"| {figure}, " in there, (figure, linked)
            count += 1
    assert count >= 18


def test_it_is_one_page():
    assert len(RULE.split()) < 800
