"""The beta-VAE: what its quick run shows, and that the paper's preset runs, stops and goes on."""

import pandas as pd
import pytest

from syre_helpers.experiments import beta_vae


@pytest.fixture
def last(quick):
    table = quick("beta_vae")
    return table[table.step == table.step.max()]


def test_it_collapses_at_beta_10_under_every_arm(last):
    collapsed = last[last.beta == 10]
    assert (collapsed.active == 0).all()
    assert (last[last.beta == 1].active >= 3).all()
    # A matrix of nearly nothing has full rank all the same.
    assert (collapsed["rank"] == 8).all()


def test_syre_by_default_is_plain_decay_at_every_beta(last):
    wide = last.set_index(["arm", "beta", "seed"]).loss
    assert 0 < (wide["syre 1%"] / wide["plain decay"] - 1).abs().max() < 0.01


def test_loss_and_bound_fit_together(last):
    assert (last.loss - last.reconstruction / 2 - last.beta * last.kl).abs().max() < 1e-6
    first = last[last.beta == 1]
    assert (first.loss + first.elbo).abs().max() < 1e-6


def test_only_the_encoder_is_pulled():
    """With an enormous decay the encoder ends near zero, and the decoder learns the mean image."""
    config = beta_vae.Config(seeds=1, steps=60, weight_decay=1e3, betas=(1.0,))
    table = beta_vae.run(config)
    last = table[table.step == 60].set_index("arm")
    assert last.kl["plain decay"] < 0.01 < last.kl["vanilla"]
    assert last.reconstruction["plain decay"] < 40


def test_seeds_may_be_split_into_groups(small):
    config = small("beta_vae", steps=4, seeds=3, stacked=2)
    table = beta_vae.run(config)
    assert sorted(table.seed.unique()) == [0, 1, 2]
    together = beta_vae.run(small("beta_vae", steps=4, seeds=2, stacked=3))
    pd.testing.assert_frame_equal(
        table[table.seed < 2].sort_values(["step", "arm", "seed"], ignore_index=True),
        together.sort_values(["step", "arm", "seed"], ignore_index=True),
        rtol=1e-4,
    )
