"""What claims measure: the rows of one arm, at the last step."""

import pandas as pd
import pytest

from syre_helpers import arms
from syre_helpers.experiments import _rules as rules
from syre_helpers.experiments._claims import (
    Claim,
    difference,
    of,
    ratio,
    rows_of,
    value,
    verdicts,
)

TABLE = pd.DataFrame(
    {
        "arm": ["syre 10%", "syre 10%", "syre 30%", "syre 30%", "vanilla", "vanilla"],
        "method": ["syre"] * 4 + ["vanilla"] * 2,
        "weight_decay": [0.1] * 4 + [None] * 2,
        "sigma_ratio": [0.1, 0.1, 0.3, 0.3, None, None],
        "seed": [1, 0] * 3,
        "step": 9,
        "x": [1.0, 2.0, 3.0, 4.0, 8.0, 16.0],
    }
)
STRONG, VANILLA = of(method="syre", sigma_ratio=max), of(arm="vanilla")


def test_rows_are_those_of_one_arm_by_seed():
    assert STRONG(TABLE).x.to_dict() == {0: 4.0, 1: 3.0}
    assert of(method="syre", sigma_ratio=min)(TABLE).x.to_dict() == {0: 2.0, 1: 1.0}
    with pytest.raises(ValueError, match=r"must fit one arm, and fits \['syre 10%', 'syre 30%'\]"):
        of(method="syre")(TABLE)


def test_two_arms_are_compared_seed_by_seed():
    assert value(VANILLA, "x")(TABLE).to_dict() == {0: 16.0, 1: 8.0}
    assert ratio(STRONG, VANILLA, "x")(TABLE).to_dict() == {0: 0.25, 1: 0.375}
    assert difference(STRONG, VANILLA, "x")(TABLE).to_dict() == {0: -12.0, 1: -5.0}


def test_rows_of_an_arm_have_its_settings_whatever_its_label():
    other = TABLE.assign(weight_decay=0.2, x=0.0)
    assert rows_of(pd.concat([TABLE, other]), arms.syre(0.1, 0.3)).x.tolist() == [3.0, 4.0]


def test_a_claim_is_about_the_last_step():
    early = TABLE.assign(step=0, x=-1.0)
    claim = Claim("A.", value(VANILLA, "x"), "x", rules.above(0), "C.")
    assert claim.values(pd.concat([early, TABLE])).tolist() == [16.0, 8.0]


def test_the_mean_of_a_ratio_is_geometric_unless_it_may_be_0():
    for geometric, mean in ((True, (0.25 * 0.375) ** 0.5), (False, (0.25 + 0.375) / 2)):
        measure = ratio(STRONG, VANILLA, "x", geometric=geometric)
        claim = Claim("A.", measure, "x", rules.above(0), "C.")
        assert claim.interval(claim.values(TABLE)).mean == pytest.approx(mean)
    assert ratio(STRONG, VANILLA, "x", "sigma_ratio", geometric=False).other_column == "sigma_ratio"


@pytest.mark.parametrize(
    ("paper", "rule", "word"),
    [
        ("22%", rules.between(8, 16), "not shown"),
        ("22%", rules.above(-100), "reproduced"),
        ("22%", rules.below(-100), "not"),
        ("22%", rules.above(100, partly=-100), "partly"),
        ("no such control", rules.above(-100), "holds"),
        ("not tried", rules.below(-100), "does not hold"),
        ("not tried", rules.above(100, partly=-100), "partly"),
    ],
)
def test_verdicts_are_those_of_the_rule_in_the_words_for_a_claim_or_a_control(paper, rule, word):
    claim = Claim("A.", value(VANILLA, "x"), "share", rule, "C.", paper, ("quick",))
    found = verdicts([claim], {"quick": TABLE, "other": TABLE})
    assert found.to_dict("records") == [
        {
            "verdict": word,
            "claim": "A.",
            "paper": paper,
            "here": "12 [-39, 63], 2 seeds",
            "unit": "share",
            "rule": str(rule),
            "preset": "quick",
        }
    ]
