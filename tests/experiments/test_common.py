"""What the experiments share: the schedule of the learning rate."""

import pytest

from syre_helpers.experiments._common import cosine


def test_the_cosine_warms_up_and_falls_to_zero():
    factor = cosine(14, 4)
    assert [factor(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [factor(4), factor(9), factor(14)] == pytest.approx([1.0, 0.5, 0.0])
    assert cosine(10)(0) == 1.0
