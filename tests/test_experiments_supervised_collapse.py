"""Supervised collapse: measures, what the quick run must show, and runs that go on."""

import dataclasses

import pandas as pd
import pytest
import torch

from syre_helpers.data import DataSplit
from syre_helpers.experiments import supervised_collapse
from syre_helpers.models import mlp
from syre_helpers.training import checkpoint


def last(table):
    return table[table.step == table.step.max()].set_index(["arm", "seed"])


@pytest.fixture(scope="module")
def strong():
    """The quick run, at its largest decay only."""
    config = dataclasses.replace(supervised_collapse.PRESETS["quick"], decays=(0.1,))
    return supervised_collapse.run(config)


@pytest.mark.slow
def test_at_the_default_strength_the_control_explains_the_rank(strong):
    end = last(strong)
    plain, syre, control = (
        end.loc[f"{arm}, 0.1"] for arm in ("plain decay", "syre 0.01", "bias added after 0.01")
    )
    assert (syre["rank"] - plain["rank"]).mean() > 5
    assert control["rank"].mean() > 0.9 * syre["rank"].mean()
    for column in ("accuracy", "effective_rank"):
        assert syre[column].mean() == pytest.approx(plain[column].mean(), rel=0.05), column
    assert syre.used.mean() == pytest.approx(plain.used.mean(), abs=1), "of 64 directions"


@pytest.mark.slow
def test_at_0_3_syre_does_more_than_the_control(strong):
    end = last(strong)
    plain, syre, control = (
        end.loc[f"{arm}, 0.1"] for arm in ("plain decay", "syre 0.3", "bias added after 0.3")
    )
    for rival in (plain, control):
        assert (syre.effective_rank > rival.effective_rank).all()
        assert (syre.accuracy > rival.accuracy).all()
    assert (control.accuracy.mean()) < plain.accuracy.mean() + 0.01
    assert (end.accuracy["vanilla"] > syre.accuracy).all(), "less decay would do more"


@pytest.mark.slow
def test_claims_are_measured(strong):
    verdicts = [c.verdict(c.values(strong)) for c in supervised_collapse.CLAIMS]
    found, no = "reproduced", "not"
    assert verdicts == [found, found, no, no, found, found, no]


def test_used_directions_are_those_the_readout_needs():
    # Four classes in the plane, and twenty directions of noise that the readout hardly reads.
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 4
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    noise = 0.01 * torch.randn(200, 20, generator=generator)
    x = torch.cat([5 * corners[y], noise], 1)
    weight = torch.cat([corners, torch.randn(4, 20, generator=generator)], 1)
    assert supervised_collapse.used_directions(x, weight, torch.zeros(4), y) == 2
    # A bias that gets one class right needs no direction, if that is all there is.
    silent = torch.zeros_like(weight)
    assert supervised_collapse.used_directions(x, silent, torch.arange(4.0), y) == 0
    # The smallest direction may be the one that counts.
    last_one = torch.zeros(4, 22)
    last_one[:, -1] = torch.tensor([-1.0, 1.0, 0.0, 0.0])
    x[:, -1] = torch.where(y == 1, 1e-3, -1e-3)
    x[:, 2:-1] *= 10
    used = supervised_collapse.used_directions(x, last_one, torch.zeros(4), y)
    assert used == torch.linalg.matrix_rank(x)


def test_features_are_what_the_last_layer_reads():
    torch.manual_seed(0)
    model, x = mlp([5, 4, 3, 2], "relu"), torch.randn(6, 5)
    params = dict(model.named_parameters())
    read = supervised_collapse.features(params, model, x)
    assert read.shape == (6, 3)
    assert torch.equal(read @ params["4.weight"].T + params["4.bias"], model(x))


def fake(shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, *shape, generator=generator)
    return DataSplit(x[:40], torch.arange(40) % 10, x[40:], torch.arange(20) % 10)


@pytest.mark.parametrize(
    ("preset", "loader", "shape"),
    [("mnist", "mnist", (784,)), ("paper", "mnist", (784,)), ("paper-vit", "cifar10", (3, 32, 32))],
)
def test_presets_go_on_after_an_interruption(preset, loader, shape, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        supervised_collapse.datasets, loader, lambda *sizes: asked.append(sizes) or fake(shape)
    )
    small = {"hidden": (8, 8), "dim": 8, "depth": 1, "steps": 10, "batch_size": 10, "seeds": 1}
    full = supervised_collapse.PRESETS[preset]
    config = dataclasses.replace(full, **small, decays=full.decays[:1], rank_samples=20)
    whole = supervised_collapse.run(config)
    assert asked == [(full.n_train, full.n_test)]
    names = {arm.name for arm in supervised_collapse.compared_arms(config)}
    assert names < set(whole.arm)
    assert len(set(whole.arm)) == len(names) + len(config.sigma_ratios)
    save = checkpoint.Checkpoint.save
    saved = []

    def save_and_stop(self, state):
        save(self, state)
        saved.append(state["step"])
        if len(saved) == 15:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoint, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        supervised_collapse.run(config, tmp_path)
    assert 0 < saved[-1] < config.steps
    monkeypatch.setattr(checkpoint.Checkpoint, "save", save)
    for _ in range(2):  # the second time everything is there
        resumed = supervised_collapse.run(config, tmp_path)
        pd.testing.assert_frame_equal(resumed, whole, check_exact=True)
