"""Checks of arguments name the argument, the value and what is allowed."""

import numpy as np
import pytest

from syre_helpers import _checks as checks


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whole_numbers_come_back_as_ints(value):
    for check in (checks.check_int, checks.check_positive_int):
        assert type(check("n", value)) is int
    assert type(checks.check_nonnegative("x", value)) is float


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5)])
def test_fractions_come_back_as_floats(value):
    assert type(checks.check_fraction("x", value)) is float


@pytest.mark.parametrize(
    ("check", "values", "error", "words"),
    [
        (checks.check_int, (True, np.True_, 1.0, "1", None), TypeError, "n must be an int"),
        (checks.check_positive_int, (True, 0, -1, 1.5, "1"), ValueError, "1 or more"),
        (checks.check_nonnegative, (True, "1", None), TypeError, "n must be a number"),
        (checks.check_nonnegative, (-1, float("nan"), np.inf), ValueError, "finite number >= 0"),
        (checks.check_fraction, (1.1, np.float64(2)), ValueError, "between 0 and 1; 0.1 means 10%"),
    ],
)
def test_all_else_is_refused(check, values, error, words):
    for value in values:
        with pytest.raises(error, match=words) as caught:
            check("n", value)
        assert repr(value) in str(caught.value)
