"""Rules of claims: the interval of a mean, and what it says."""

import math

import numpy as np
import pandas as pd
import pytest

from syre_helpers.experiments import _rules as rules

# Two numbers, 1 to either side: Student's t with one degree of freedom is 12.706 at 97.5%.
WIDE = 12.7062


def outcome(rule, *values):
    return rule.outcome(rules.interval(pd.Series(values, dtype=float)))


def test_the_interval_is_that_of_student_and_covers_95_percent():
    found = rules.interval(pd.Series([1.0, 3.0]))
    assert found.mean == 2
    assert (found.low, found.high) == pytest.approx((2 - WIDE, 2 + WIDE), rel=1e-5)
    draws = pd.DataFrame(np.random.default_rng(0).normal(3, 2, (2000, 5)))
    inside = [
        one.low < 3 < one.high for one in (rules.interval(row) for _, row in draws.iterrows())
    ]
    assert sum(inside) / len(inside) == pytest.approx(0.95, abs=0.015)


def test_the_mean_of_ratios_is_geometric():
    found = rules.interval(pd.Series([0.1, 10.0]), geometric=True)
    assert found.mean == pytest.approx(1)
    half = WIDE * math.log(10)
    assert (math.log(found.low), math.log(found.high)) == pytest.approx((-half, half), rel=1e-5)
    with pytest.raises(ValueError, match="ratios above 0"):
        rules.interval(pd.Series([0.0, 1.0]), geometric=True)


@pytest.mark.parametrize("geometric", [False, True])
def test_one_seed_shows_nothing(geometric):
    found = rules.interval(pd.Series([5.0]), geometric)
    assert found.mean == pytest.approx(5)
    assert found.high == math.inf
    assert rules.above(0).outcome(found) == "not shown"


@pytest.mark.parametrize(
    ("rule", "values", "word"),
    [
        (rules.below(1), (0.4, 0.5, 0.6), "reproduced"),
        (rules.below(1), (1.4, 1.5, 1.6), "not"),
        (rules.below(1), (0.9, 1.0, 1.1), "not shown"),
        (rules.below(1, partly=2), (1.4, 1.5, 1.6), "partly"),
        (rules.below(1, partly=2), (0.9, 1.0, 1.1), "partly"),
        (rules.below(1, partly=2), (1.9, 2.0, 2.1), "not shown"),
        (rules.below(1, partly=2), (2.4, 2.5, 2.6), "not"),
        (rules.above(1), (1.4, 1.5, 1.6), "reproduced"),
        (rules.above(1), (0.4, 0.5, 0.6), "not"),
        (rules.above(1, partly=0), (0.4, 0.5, 0.6), "partly"),
        (rules.above(1, partly=0), (-0.4, -0.5, -0.6), "not"),
        (rules.between(-1, 1), (0.1, 0.0, -0.1), "reproduced"),
        (rules.between(-1, 1), (3, -3, 0), "not shown"),  # measured too badly to say
        (rules.between(-1, 1), (-3.0, -2.9, -3.1), "not"),
        # Numbers without any spread: a bound itself is neither above nor below, and within.
        (rules.above(0), (0, 0, 0), "not"),
        (rules.below(0), (0, 0, 0), "not"),
        (rules.between(0.5, 0.5), (0.5, 0.5), "reproduced"),
        (rules.between(0.5, 0.5), (0.4, 0.4), "not"),
    ],
)
def test_words_follow_the_interval(rule, values, word):
    assert outcome(rule, *values) == word


def test_rules_and_intervals_in_words():
    assert str(rules.below(0.5, partly=0.8)) == "below 0.5 (partly: below 0.8)"
    assert str(rules.above(0)) == "above 0"
    assert str(rules.between(-1, 1)) == "between -1 and 1"
    assert str(rules.between(4, 4)) == "at 4"
    assert str(rules.interval(pd.Series([0.5, 0.5]))) == "0.5 in all 2 seeds"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 3.0], "2 [-11, 15], 2 seeds"),
        ([1.0, 1.0001], "1.00005 [0.99941, 1.00069], 2 seeds"),
        ([18900, 19100], "19,000 [17,700, 20,300], 2 seeds"),
        ([1.0, -1.0 + 1e-9], "0 [-13, 13], 2 seeds"),  # far below the width a mean is rounding
        ([-0.1, -0.3], "-0.2 [-1.5, 1.1], 2 seeds"),
    ],
)
def test_an_interval_has_the_digits_that_its_width_allows(values, text):
    assert str(rules.interval(pd.Series(values, dtype=float))) == text
