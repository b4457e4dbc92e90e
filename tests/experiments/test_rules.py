"""Rules of claims tell yes, in part and no apart."""

import pandas as pd
import pytest

from syre_helpers.experiments import _rules as rules
from syre_helpers.experiments import compatibility

WITHIN_A_POINT = compatibility.CLAIMS[0].holds


@pytest.mark.parametrize(
    ("rule", "values", "holds"),
    [
        (rules.all_below(1), [0.0, 0.9], True),
        (rules.all_below(1), [0.0, 1.0], False),
        (rules.all_above(1), [2.0, 1.1], True),
        (rules.all_above(1), [2.0, 1.0], False),
        (rules.all_near(4), [4.0, 4.0], True),
        (rules.all_near(4), [4.0, 5.0], False),
        (rules.all_near(1, 0.1), [0.95, 1.05], True),
        (rules.all_near(1, 0.1), [0.85, 1.05], False),
        (rules.mean_above(0), [-1.0, 1.5], True),
        (rules.mean_above(0), [-1.0, 0.5], False),
        (rules.mean_below(0), [1.0, -1.5], True),
        (rules.mean_below(0), [1.0, -0.5], False),
        (rules.clearly_above(0), [1.0, 1.1, 0.9], True),
        (rules.clearly_above(0), [1.0, -1.0, 0.5], False),
        (rules.clearly_above(0), [-1.0, -2.0], False),
        (rules.clearly_below(0), [-1.0, -1.1, -0.9], True),
        (rules.clearly_below(0), [-1.0, 1.0, -0.5], False),
        # No difference has to be shown, and is not assumed.
        (WITHIN_A_POINT, [0.1, -0.1, 0.2, 0.0], True),
        (WITHIN_A_POINT, [3.0, -3.0, 2.0, -2.5], None),  # measured too badly to say
        (WITHIN_A_POINT, [-3.0, -2.9, -3.1, -3.0], False),
        (WITHIN_A_POINT, [2.0, 2.1, 1.9, 2.0], False),
    ],
)
def test_rules(rule, values, holds):
    assert rule(pd.Series(values)) is holds
