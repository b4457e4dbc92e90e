"""The decision chart quotes measurements: of the arms that it advises, as the ledger has them."""

import re

import pytest

from tools.build import decision_rule, ledger, templates

RULE = decision_rule.PAGE.read_text()
STEPS = re.findall(r"^::::\{div\} syre-step\n.*?^::::$", RULE, re.DOTALL | re.MULTILINE)


def test_the_page_and_the_files_agree():
    assert decision_rule.page() == RULE, "run `make ledger`"


def test_every_step_asks_and_has_a_way_out():
    assert [int(re.search(r"\*\*(\d+) · ", step)[1]) for step in STEPS] == list(range(1, 12))
    for step in STEPS:
        ask, way_out = (
            step.partition(f":::{{div}} {name}\n")[2] for name in ("syre-ask", "syre-exit")
        )
        assert "?" in ask.partition("\n:::")[0], step
        assert way_out.startswith(("**No", "**Yes", "**Then")), step


def test_no_number_is_written_by_hand():
    template = templates.FOLDER / "decision_rule.md.j2"
    by_hand = re.sub(r"\{\{.*?\}\}", "", template.read_text())
    assert not re.search(r"\d\.\d+ |±|\[-?\d", by_hand)


def test_every_quoted_number_stands_in_the_section_of_the_ledger_that_it_links():
    page = ledger.PAGE.read_text()
    sections = {
        part.partition("\n")[0].strip().lower().replace(" ", "-"): part
        for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    }
    number = r"(-?[\d.,]+ (?:\[[^]]*\]|in all)[^(]*?seeds)"
    quoted = re.findall(number + r" \(\[[^]]*\]\(paper-against-book.md#([\w-]+)\)\)", RULE)
    assert len(quoted) >= 25
    for number, section in quoted:
        assert number in sections[section], (number, section)


def test_every_verdict_on_a_rival_stands_below_its_number_in_the_ledger():
    page = ledger.PAGE.read_text()
    verdicts = re.findall(r"\*\*([a-z ]+)\*\*, (.*?seeds) \(\[([^]]*)\]", RULE)
    assert len(verdicts) >= 15
    for word, number, run in verdicts:
        assert f'data-word="{word}">{word}</span> {run}: {number}\n' in page, (word, number)


def test_a_claim_that_measures_no_arm_is_quoted_without_one():
    begins = "Low symmetry costs less objective under syre than under any rival: structured"
    assert "seeds" in decision_rule.quote("symmetry_degree", "full-size", begins)
    with pytest.raises(ValueError, match="measures"):
        decision_rule.quote("symmetry_degree", "full-size", begins, method="dropout")


@pytest.mark.parametrize(
    ("preset", "begins", "advised", "words"),
    [
        ("quick", "Half dead at the start", {}, "2 claims"),
        ("quick", "No such claim", {}, "0 claims"),
        ("quick", "Where zeros are the optimum", {}, "about"),
        ("quick", "syre's test error", {"method": "vanilla"}, "measures"),
        ("quick", "syre's test error", {"method": "syre", "sigma_ratio": 0.3}, "measures"),
        ("quick", "Half dead at the start, syre", {"method": "W-fix"}, "measures"),
    ],
)
def test_a_number_of_another_arm_or_run_is_refused(preset, begins, advised, words):
    with pytest.raises(ValueError, match=words):
        decision_rule.quote("dead_neurons", preset, begins, **advised)
