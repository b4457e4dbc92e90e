"""Identical units: who parts them, who learns, and a run that goes on after an interruption."""

import dataclasses
import math

import pandas as pd
import pytest
import torch

from syre_helpers.experiments import identical_units
from syre_helpers.measures import duplicate_fraction


@pytest.mark.slow
def test_groups_stay_identical_under_decay_and_part_under_syre(quick, end):
    last = end(quick("identical_units"))
    for arm in ("vanilla", "plain decay", "symmetric bias 1%"):
        # Some processors part equal units in the last digit, which grows near a saddle.
        assert (last.within_groups[arm] < 1e-3).all(), arm
    assert (last.distinct["plain decay"] == 4).all()
    strengths = (" 0.1%", " 1%", " 10%", ", sigma_0 = 0.01", ", sigma_0 = 0.1")
    for arm in (*(f"syre{strength}" for strength in strengths), "perturbed once 1%"):
        assert (last.within_groups[arm] > 0.1).all(), arm
        assert (last.distinct[arm] == 32).all(), arm


@pytest.mark.slow
def test_the_start_costs_plain_decay_and_a_symmetric_bias_the_same(quick, end):
    error = end(quick("identical_units")).train_loss
    assert (error["plain decay"] / error["plain decay, generic start"]).min() > 3
    ratios = error["symmetric bias 1%"] / error["plain decay"]
    assert math.exp(ratios.map(math.log).mean()) == pytest.approx(1, abs=0.02)


def test_teacher_and_samples_belong_to_the_seed(small):
    config = small("identical_units", steps=2)
    first, other = (identical_units.data_of(config, seed) for seed in (0, 1))
    assert not torch.equal(first.x_train, other.x_train)
    assert torch.equal(first.y_train, identical_units.data_of(config, 0).y_train)
    both = identical_units.run(config)
    alone = identical_units.run(dataclasses.replace(config, seeds=(1,)))
    of_seed = both[both.seed == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_seed, alone, check_exact=True)


def test_units_are_tied_by_group():
    config = identical_units.Config(width=10, groups=2, identical_share=0.7)
    groups = identical_units.group_of(config)
    assert groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 3, 4]
    torch.manual_seed(0)
    params = {"0.weight": torch.randn(10, 3), "0.bias": torch.randn(10)}
    params |= {"2.weight": torch.randn(1, 10), "2.bias": torch.randn(1)}
    units = identical_units.rows_of_units(identical_units.tie(groups)(params))
    assert units.shape == (10, 5)
    assert torch.equal(units[:4], units[:1].expand(4, 5))
    assert torch.equal(units[7:], identical_units.rows_of_units(params)[7:])
    assert identical_units.distinct(units) == 5
    assert duplicate_fraction(units) == pytest.approx(1 - 5 / 10)


def test_every_arm_starts_tied_but_those_that_say_otherwise(small):
    config = small("identical_units", steps=1)
    start = identical_units.run(config)
    start = start[start.step == 0].set_index("arm").distinct
    loose = {"W-fix 10%", "perturbed once 1%", "plain decay, generic start"}
    for arm in identical_units.compared_arms(config):
        distinct = start[arm.label]
        assert (distinct > 4).all() if arm.label in loose else (distinct == 4).all(), arm.label
