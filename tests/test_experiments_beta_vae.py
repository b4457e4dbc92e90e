"""The beta-VAE: what its quick run shows, and that the paper's preset runs, stops and goes on."""

import dataclasses

import pandas as pd
import pytest
import torch

from syre_helpers import data as datasets
from syre_helpers import experiments
from syre_helpers.experiments import beta_vae, record


@pytest.fixture(scope="module")
def quick():
    table = experiments.run("beta_vae")
    return table[table.step == table.step.max()]


def test_it_collapses_at_beta_10_under_every_arm(quick):
    collapsed = quick[quick.beta == 10]
    assert (collapsed.active == 0).all()
    assert (quick[quick.beta == 1].active >= 3).all()
    # A matrix of nearly nothing has full rank all the same.
    assert (collapsed["rank"] == 8).all()


def test_syre_by_default_is_plain_decay(quick):
    wide = quick.set_index(["method", "beta", "seed"]).loss
    assert (wide["syre 0.01"] / wide["plain decay"] - 1).abs().max() < 0.01
    assert (wide["syre 0.01"] - wide["plain decay"]).abs().max() > 0, "not the same run"


def test_loss_and_bound_fit_together(quick):
    assert (quick.loss - quick.reconstruction / 2 - quick.beta * quick.kl).abs().max() < 1e-6
    first = quick[quick.beta == 1]
    assert (first.loss + first.elbo).abs().max() < 1e-6


def test_claims(quick):
    table = quick.assign(step=1)
    verdicts = [claim.verdict(claim.values(table)) for claim in beta_vae.CLAIMS]
    assert verdicts[0] == "reproduced", "collapse"
    assert verdicts[1] == "not", "a lower loss"
    assert verdicts[3] == "reproduced", "the control"


def test_only_the_encoder_is_pulled():
    """With an enormous decay the encoder ends near zero, and the decoder learns the mean image."""
    config = beta_vae.Config(seeds=1, steps=60, weight_decay=1e3, betas=(1.0,))
    table = beta_vae.run(config)
    last = table[table.step == 60].set_index("method")
    assert last.kl["plain decay"] < 0.01 < last.kl["vanilla"]
    assert last.reconstruction["plain decay"] < 40


def test_seeds_may_be_split_into_groups():
    config = beta_vae.Config(seeds=3, steps=4, betas=(1.0,), stacked=2)
    table = beta_vae.run(config)
    assert sorted(table.seed.unique()) == [0, 1, 2]
    together = beta_vae.run(dataclasses.replace(config, stacked=3, seeds=2))
    pd.testing.assert_frame_equal(
        table[table.seed < 2].sort_values(["step", "arm", "seed"], ignore_index=True),
        together.sort_values(["step", "arm", "seed"], ignore_index=True),
        rtol=1e-4,
    )


@pytest.mark.parametrize("preset", ["mnist", "paper"])
def test_image_presets_go_on_after_an_interruption(preset, tmp_path, monkeypatch, interrupted_at):
    """On small images of the right form, with a short schedule."""
    x = 3 * torch.rand(200, 784, generator=torch.Generator().manual_seed(0)) - 0.5
    split = datasets.DataSplit(x, torch.zeros(200).long(), x[:50], torch.zeros(50).long())
    name = {"mnist": "mnist", "paper": "fashion_mnist"}[preset]
    monkeypatch.setattr(datasets, name, lambda: split)
    config = experiments.configure(beta_vae, preset, steps=10, seeds=2, hidden=8)
    config = dataclasses.replace(config, betas=(1.0, 4.0, 10.0))
    whole = beta_vae.run(config)
    assert whole.notna().all(axis=None)
    for claim in beta_vae.CLAIMS:
        assert len(claim.values(whole)) == 2, claim.text
    calls = interrupted_at(16)
    with pytest.raises(KeyboardInterrupt):
        record.run_recorded("beta_vae", preset, config, beta_vae.run, tmp_path)
    resumed = record.run_recorded("beta_vae", preset, config, beta_vae.run, tmp_path)
    assert len(calls) - 16 == 5
    pd.testing.assert_frame_equal(whole, resumed.table, check_exact=True)
