"""Persistence: its theories against float64 recursions, and what the waits are made of."""

import math

import numpy as np
import pytest
import torch

from syre_helpers.experiments import persistence


def test_the_cost_of_waiting_is_that_of_one_eigendirection():
    """One number u shrinks by decay for n steps and grows again: the extra steps per step of n."""
    config = persistence.Config()
    lr, decay = config.lr, config.weight_decay

    def steps_to_grow(first):
        u = 1e-3
        for _ in range(first):
            u -= lr * decay * u
        count = 0
        while u < 1e-2:  # linear: far below 1, where the cubic term would count
            u += lr * (2 - decay) * u
            count += 1
        return count

    measured = (steps_to_grow(12_000) - steps_to_grow(2_000)) / 10_000
    assert measured == pytest.approx(persistence.cost_of_waiting(config), rel=2e-3)


def test_the_cost_of_resampling_is_that_of_the_spread_it_leaves():
    config = persistence.Config()
    lr, decay = config.lr, config.weight_decay
    rng = np.random.default_rng(0)
    u = np.zeros(20_000)
    for _ in range(1500):
        u += lr * decay * (rng.standard_normal(u.shape) - u)
    steps = math.log(1 / u.std()) / math.log1p(lr * (2 - decay))
    assert steps == pytest.approx(persistence.cost_of_resampling(config), abs=0.3)
    assert persistence.cost_of_resampling(config) == pytest.approx(30.7, abs=0.05)


def test_the_symmetric_bias_lies_on_the_planes_of_all_swaps_and_has_syres_norm():
    config = persistence.Config()
    params = {"factor": torch.randn(6, 3, dtype=torch.float64)}
    compared = {arm.method: arm for arm in persistence.compared_arms(config)}
    symmetric, syre = (
        compared[m].pull(params, 5).centre["factor"] for m in ("symmetric bias", "syre")
    )
    assert (symmetric == symmetric[:, :1]).all()
    assert symmetric.norm().item() == pytest.approx(syre.norm().item())


def test_waits_are_counted_from_the_change_of_the_target(small):
    config = small("persistence", lengths=(40, 70), steps=120, kick_every=150)
    table = persistence.run(config)
    assert sorted(table["first"].unique()) == [40, 70]
    assert (table.step == 120).all()
    assert len(table) == 2 * 2 * len(persistence.compared_arms(config))
    assert table.wait.between(1, 120).all()
    assert (table.train_loss < config.learned).all()
    never = persistence.run(small("persistence", lengths=(40,), steps=5))
    assert never.wait.isna().all(), "what is not learned has no wait"
    with pytest.raises(ValueError, match="measures"):
        persistence.CLAIMS[1].values(never)


def test_no_kick_falls_on_a_change():
    for config in persistence.PRESETS.values():
        assert all(first % config.kick_every for first in config.lengths)
        assert len(config.lengths) % 2, "there is a middle one"
