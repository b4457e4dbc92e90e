"""Dimensional collapse in SimCLR: the measures, what the quick run must show, and resumption."""

import dataclasses
import math

import pandas as pd
import pytest
import torch
from torch.nn import functional

from syre_helpers import data, experiments
from syre_helpers.experiments import simclr


def test_contrastive_loss_is_a_cross_entropy():
    z = torch.randn(10, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    partner = torch.arange(10).roll(5)
    cosine = torch.nn.functional.cosine_similarity(z[:, None], z[None], dim=-1) / 0.2
    expected = functional.cross_entropy(cosine.fill_diagonal_(-math.inf), partner)
    assert simclr.nt_xent(z, partner, 0.2).item() == pytest.approx(expected.item(), rel=1e-12)


def test_contrastive_loss_of_equal_outputs():
    # Constant embeddings: the partner is one of n - 1 equal views.
    equal = torch.ones(12, 3)
    loss = simclr.nt_xent(equal, torch.arange(12).roll(6))
    assert loss.item() == pytest.approx(math.log(11), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_contrastive_loss_ignores_rotations_and_scale(temperature):
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(16, 5, generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))
    partner = torch.arange(16).roll(8)
    loss = simclr.nt_xent(z, partner, temperature)
    assert torch.isfinite(loss)
    for changed in (z @ turn, 3 * z):
        assert abs(simclr.nt_xent(changed, partner, temperature) - loss) < 1e-12


def test_views_are_shifts_of_the_image():
    images = torch.arange(1.0, 26).repeat(40, 1)
    views = simclr.moved_and_noisy(images, torch.Generator().manual_seed(0), shift=1, noise=0.0)
    padded = functional.pad(images[0].reshape(5, 5), [1] * 4, value=1.0)
    possible = [padded[i : i + 5, j : j + 5].flatten() for i in range(3) for j in range(3)]
    which = [[bool(torch.equal(view, p)) for p in possible] for view in views]
    assert all(sum(row) == 1 for row in which)
    assert len({row.index(True) for row in which}) == 9


def test_noise_has_the_given_size():
    images = torch.zeros(200, 64)
    views = simclr.moved_and_noisy(images, torch.Generator().manual_seed(0), noise=0.3)
    assert views.std().item() == pytest.approx(0.3, rel=0.03)


def test_partners_are_two_views_of_one_image():
    images = torch.arange(30.0).repeat_interleave(64).reshape(30, 64)
    config = simclr.Config(shift=0, noise=0.0)
    x, partner = simclr._views(config, images, step=5, batch_size=8)
    assert x.shape == (16, 64)
    assert len(x[:8, 0].unique()) == 8
    assert torch.equal(x, x[partner])
    assert torch.equal(partner[partner], torch.arange(16))
    assert not (partner == torch.arange(16)).any()
    again, _ = simclr._views(config, images, step=5, batch_size=8)
    other, _ = simclr._views(config, images, step=6, batch_size=8)
    assert torch.equal(x, again)
    assert not torch.equal(x, other)


def test_probe_is_ridge_regression_in_closed_form():
    split = data.digits(dtype=torch.float64)
    x, x_test = split.x_train[:, 20:40], split.x_test[:, 20:40]
    found = simclr.probe_accuracy(x, split.y_train, x_test, split.y_test, ridge=0.1)
    centred, target = x - x.mean(0), functional.one_hot(split.y_train).double()
    # Ridge regression is least squares with some more rows.
    root = (0.1 * centred.square().mean() * len(x)).sqrt()
    rows = torch.cat([centred, root * torch.eye(20)])
    targets = torch.cat([target - target.mean(0), torch.zeros(20, 10)])
    weights = torch.linalg.lstsq(rows, targets).solution
    predicted = ((x_test - x.mean(0)) @ weights + target.mean(0)).argmax(1)
    assert found.item() == pytest.approx((predicted == split.y_test).double().mean().item())


def test_probe_does_not_see_scale_and_rotation_and_bears_constant_features():
    split = data.digits()
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(64, 64, generator=generator))
    plain = simclr.probe_accuracy(*split)
    turned = simclr.probe_accuracy(
        5 * split.x_train @ turn, split.y_train, 5 * split.x_test @ turn, split.y_test
    )
    assert plain > 0.9
    assert abs(plain - turned) <= 1 / len(split.y_test)
    constant = simclr.probe_accuracy(
        torch.ones(len(split.y_train), 3), split.y_train, torch.ones(450, 3), split.y_test
    )
    assert 0.05 < constant < 0.15


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_missing_share_counts_directions_without_variance(rank):
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(50, rank, generator=generator)
    z = left @ torch.randn(rank, 6, generator=generator) + 100
    assert simclr.missing_share(z).item() == pytest.approx(1 - rank / 6)
    assert simclr.missing_share(torch.full((50, 6), 0.5)).item() == 1
    batch = simclr.missing_share(torch.stack([z, z]))
    assert batch.shape == (2,)


def test_a_reflection_of_the_last_layer_is_a_symmetry():
    from syre_helpers import rotation_reflection

    model = simclr.make_network(simclr.Config()).double()
    x, partner = simclr._views(simclr.Config(), data.digits().x_train, 0, 16)
    n = torch.randn(32, generator=torch.Generator().manual_seed(0))
    mirror = rotation_reflection("last.weight", "last.bias", n / n.norm(), left_axis=0)

    def loss(params):
        output = torch.func.functional_call(model, params, (x.double(),))
        return simclr.nt_xent(output[:, -32:], partner)

    params = dict(model.named_parameters())
    assert mirror.violation(loss, params) < 1e-12
    assert mirror.rank(params) == 64 + 1
    assert mirror.distance(mirror.nearest(params)) < 1e-12
    missing = model.encoder(x.double()) @ mirror.nearest(params)["last.weight"].T
    assert simclr.missing_share(missing.detach(), 1e-9) >= 1 / 32


def last(table):
    return table[table.step == table.step.max()].set_index(["arm", "seed"])


@pytest.fixture(scope="module")
def quick():
    return last(experiments.run("simclr"))


@pytest.mark.slow
def test_decay_collapses_and_strong_syre_does_not_in_every_seed(quick):
    assert (quick.missing["vanilla"] == 0).all()
    assert (quick.missing["plain decay"] > 0.6).all()
    assert (quick.missing["syre 0.01"] > 0.6).all(), "the default does not help"
    assert (quick.missing["syre 0.3"] < 0.1).all()
    gain = quick.probe_last["syre 0.3"] - quick.probe_last["plain decay"]
    assert gain.mean() > 2 * gain.std()


@pytest.mark.slow
def test_the_control_after_training_stands_beside_every_ratio(quick):
    for ratio in ("0.01", "0.1", "0.3"):
        arm, control = f"syre {ratio}", f"bias added after {ratio}"
        assert quick.missing[control].mean() < quick.missing[arm].mean() + 0.05
        assert quick.probe_last[control].mean() > quick.probe_last[arm].mean() - 0.03
    # What is left: the loss that was trained for.
    left = quick.test_contrast["syre 0.3"] - quick.test_contrast["bias added after 0.3"]
    assert left.mean() < -2 * left.sem()
    assert quick.probe_last["fresh last layer"].mean() > quick.probe_last["syre 0.1"].mean()


@pytest.mark.slow
def test_claims_are_measured(quick):
    table = quick.reset_index()
    verdicts = {
        claim.text: claim.verdict(claim.values(table))
        for claim in simclr.CLAIMS
        if claim.is_about("quick")
    }
    assert list(verdicts.values())[:3] == ["reproduced", "not", "reproduced"]
    (contrast,) = (v for text, v in verdicts.items() if "contrastive loss" in text)
    assert contrast in ("reproduced", "partly"), "a seed may disagree"


@pytest.mark.slow
def test_adam_hides_the_collapse():
    table = last(experiments.run("simclr", "quick-adam", sigma_ratios=(0.1,), seeds=4))
    assert (table.missing["plain decay"] < 0.05).all()


def fake_photographs(n=24):
    """Images in the format of CIFAR, with some structure."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2 * n) % 4
    x = torch.randn(2 * n, 3, 32, 32, generator=generator) + labels[:, None, None, None]
    return data.DataSplit(x[:n], labels[:n], x[n:], labels[n:])


SMALL = {"width": 2, "out": 6, "batch_size": 6, "warm_up": 2, "measured": 1, "ablation": False}


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_interrupted_runs_go_on_as_if_they_had_not_been(preset, tmp_path, monkeypatch):
    changes = {"steps": 4, "seeds": 1, "sigma_ratios": (0.01,)}
    if preset == "paper":
        pytest.importorskip("kornia")
        monkeypatch.setattr(data, "cifar100", fake_photographs)
        changes |= SMALL
    config = dataclasses.replace(simclr.PRESETS[preset], **changes)
    whole = simclr.run(config)
    assert set(whole.arm) >= {"plain decay", "syre 0.01", "bias added after 0.01", simclr.FRESH}
    assert not whole.isna().any().any()

    real, calls = simclr._views, []

    def interrupted(config, images, step, *rest):
        calls.append(step)
        # The paper's arms are trained one by one: stop within the second.
        if calls.count(3) == (3 if preset == "paper" else 1):
            raise KeyboardInterrupt
        return real(config, images, step, *rest)

    monkeypatch.setattr(simclr, "_views", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simclr.run(config, tmp_path)
    assert len(list(tmp_path.iterdir())) == (2 if preset == "paper" else 1)
    monkeypatch.setattr(simclr, "_views", real)
    pd.testing.assert_frame_equal(simclr.run(config, tmp_path), whole, check_exact=True)


def test_a_missing_kornia_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kornia", None)
    images = fake_photographs().x_train
    with pytest.raises(ImportError, match=r"syre_helpers\[vision\]"):
        simclr._views(simclr.PRESETS["paper"], images, 0, 4)


def test_views_of_photographs_depend_on_step_and_seed_only():
    pytest.importorskip("kornia")
    images = fake_photographs().x_train
    config = simclr.PRESETS["paper"]
    before = torch.random.get_rng_state()
    x, _ = simclr._views(config, images, 3, 6)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(simclr._views(config, images, 3, 6)[0], x)
    assert not torch.equal(simclr._views(config, images, 3, 6, seed=1)[0], x)
    assert not torch.equal(x[:6], x[6:])
    assert x.shape == (12, 3, 32, 32)
    # Pixels stay within the range of the data.
    assert images.amin() - 1e-4 <= x.min()
    assert x.max() <= images.amax() + 1e-4
