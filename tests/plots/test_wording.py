"""Numbers in words."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syre_helpers import plots


def test_describe_names_every_arm_its_spread_and_the_seeds(runs):
    words = plots.describe(runs("vanilla", "syre 10%"), "test_loss")
    assert words == "vanilla 4.5 ± 2.4, syre 10% 9.0 ± 4.9 (mean ± sd, 8 seeds)"


@given(mean=st.floats(-1e6, 1e6), sd=st.one_of(st.just(0.0), st.floats(1e-9, 1e6)))
@settings(max_examples=200)
def test_plus_minus_reads_back_to_within_the_spread(mean, sd):
    left, right = plots.plus_minus(mean, sd).split(" ± ")
    assert float(right) == pytest.approx(sd, rel=0.06, abs=1e-6 if abs(mean) > 1e-3 else 0)
    assert float(left) == pytest.approx(mean, rel=6e-3, abs=max(0.06 * sd, 1e-6))
    assert len(left) < 16
