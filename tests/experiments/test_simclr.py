"""Dimensional collapse in SimCLR: the measures, what the quick run must show, and resumption."""

import dataclasses
import math

import pandas as pd
import pytest
import torch
from torch.nn import functional

from syre_helpers import data, experiments
from syre_helpers.experiments import simclr
from syre_helpers.experiments._contrastive import make_network, nt_xent, views
from syre_helpers.measures import missing_fraction


def test_contrastive_loss_is_a_cross_entropy():
    z = torch.randn(10, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    partner = torch.arange(10).roll(5)
    cosine = torch.nn.functional.cosine_similarity(z[:, None], z[None], dim=-1) / 0.2
    expected = functional.cross_entropy(cosine.fill_diagonal_(-math.inf), partner)
    assert nt_xent(z, partner, 0.2).item() == pytest.approx(expected.item(), rel=1e-12)


def test_contrastive_loss_of_equal_outputs():
    # Constant embeddings: the partner is one of n - 1 equal views.
    equal = torch.ones(12, 3)
    loss = nt_xent(equal, torch.arange(12).roll(6))
    assert loss.item() == pytest.approx(math.log(11), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_contrastive_loss_ignores_rotations_and_scale(temperature):
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(16, 5, generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))
    partner = torch.arange(16).roll(8)
    loss = nt_xent(z, partner, temperature)
    assert torch.isfinite(loss)
    for changed in (z @ turn, 3 * z):
        assert abs(nt_xent(changed, partner, temperature) - loss) < 1e-12


def test_partners_are_two_views_of_one_image():
    images = torch.arange(30.0).repeat_interleave(64).reshape(30, 64)
    config = simclr.Config(shift=0, noise=0.0, batch_size=8)
    x, partner = views(config, images, "train", 5)
    assert x.shape == (16, 64)
    assert len(x[:8, 0].unique()) == 8
    assert torch.equal(x, x[partner])
    assert torch.equal(partner[partner], torch.arange(16))
    assert not (partner == torch.arange(16)).any()
    again, _ = views(config, images, "train", 5)
    other, _ = views(config, images, "train", 6)
    assert torch.equal(x, again)
    test, _ = views(config, images, "test")
    assert not torch.equal(x, other)
    assert not torch.equal(views(config, images, "train", 0)[0], test), "the test has its own"
    assert not torch.equal(views(config, images, "train", 5, seed=1)[0], x)


def test_each_seed_trains_on_views_of_its_own(small, monkeypatch):
    seen = set()

    def recorded(config, images, *purpose, seed=0):
        seen.add((*purpose, seed))
        return views(config, images, *purpose, seed=seed)

    monkeypatch.setattr(simclr, "views", recorded)
    config = small("simclr", steps=3)
    both = simclr.run(config)
    assert {("train", step, seed) for step in range(3) for seed in (0, 1)} <= seen
    alone = simclr.run(dataclasses.replace(config, seeds=(1,)))
    of_seed = both[both.seed == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_seed, alone, check_exact=True)


def test_a_reflection_of_the_last_layer_is_a_symmetry():
    from syre_helpers import rotation_reflection

    model = make_network((64, 64), 32).double()
    x, partner = views(simclr.Config(batch_size=16), data.digits().x_train, "train", 0)
    n = torch.randn(32, generator=torch.Generator().manual_seed(0))
    mirror = rotation_reflection("last.weight", "last.bias", n / n.norm(), left_axis=0)

    def loss(params):
        output = torch.func.functional_call(model, params, (x.double(),))
        return nt_xent(output[:, -32:], partner)

    params = dict(model.named_parameters())
    assert mirror.violation(loss, params) < 1e-12
    assert mirror.rank(params) == 64 + 1
    assert mirror.distance(mirror.nearest(params)) < 1e-12
    missing = model.encoder(x.double()) @ mirror.nearest(params)["last.weight"].T
    assert missing_fraction(missing.detach(), 1e-9) >= 1 / 32


@pytest.mark.slow
def test_what_the_quick_run_must_show_beside_its_claims(quick, end):
    last = end(quick("simclr"))
    missing, probe = last.missing_fraction, last.probe_last
    assert missing["vanilla"].mean() < 0.05
    gain = probe["syre 30%"] - probe["plain decay"]
    assert gain.mean() > 2 * gain.std()
    for strength in (" 1%", " 10%", " 30%", ", sigma_0 = 0.01", ", sigma_0 = 0.1"):
        arm, control = f"syre{strength}", f"bias added after{strength}"
        assert missing[control].mean() < missing[arm].mean() + 0.05
        assert probe[control].mean() > probe[arm].mean() - 0.03
    assert probe["fresh last layer"].mean() > probe["syre 10%"].mean()


@pytest.mark.slow
def test_adam_hides_the_collapse():
    table = experiments.run("simclr", "quick-adam", sigma_ratios=(0.1,), seeds=4)
    (claim,) = (claim for claim in simclr.CLAIMS if claim.is_about("quick-adam"))
    assert claim.verdict(claim.values(table)) == "holds"


def test_views_of_photographs_depend_on_step_and_seed_only():
    images = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    config = dataclasses.replace(simclr.PRESETS["full-size"], batch_size=6)
    before = torch.random.get_rng_state()
    x, _ = views(config, images, "train", 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(views(config, images, "train", 3)[0], x)
    assert not torch.equal(views(config, images, "train", 3, seed=1)[0], x)
    assert not torch.equal(x[:6], x[6:])
    assert x.shape == (12, 3, 32, 32)
    # Pixels stay within the range of the data.
    assert images.amin() - 1e-4 <= x.min()
    assert x.max() <= images.amax() + 1e-4
