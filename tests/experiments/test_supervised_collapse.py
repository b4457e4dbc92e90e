"""Supervised collapse: measures, what the quick run must show, and runs that go on."""

import pytest
import torch

from syre_helpers import data
from syre_helpers.experiments import supervised_collapse
from syre_helpers.measures import numerical_rank
from syre_helpers.models import mlp


@pytest.fixture
def strongest(quick):
    """Return the function `strongest(label)`: an arm's rows at the largest decay, by seed."""
    table = quick("supervised_collapse").set_index("seed")
    largest = table[table.weight_decay == table.weight_decay.max()]
    return lambda label: largest[largest.arm == label]


@pytest.mark.slow
def test_at_the_default_strength_nothing_is_higher(strongest):
    plain, syre = map(strongest, ("plain decay", "syre 1%"))
    for column in ("accuracy", "effective_rank"):
        assert syre[column].mean() == pytest.approx(plain[column].mean(), rel=0.05), column
    assert syre["rank"].mean() == pytest.approx(plain["rank"].mean(), abs=5), "of 64 directions"
    assert syre.used_rank.mean() == pytest.approx(plain.used_rank.mean(), abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("strength", [" 30%", ", sigma_0 = 0.1"])
def test_strong_syre_does_more_than_the_control(strongest, quick, strength):
    arms = "plain decay", f"syre{strength}", f"bias added after{strength}"
    plain, syre, control = map(strongest, arms)
    assert (syre["rank"] - plain["rank"]).mean() > 20
    assert (syre.effective_rank > plain.effective_rank).all()
    assert (syre.accuracy > control.accuracy).all()
    assert control.accuracy.mean() < plain.accuracy.mean() + 0.01
    vanilla = quick("supervised_collapse").query("method == 'vanilla'").set_index("seed")
    assert (vanilla.accuracy > syre.accuracy).all(), "less decay would do more"


def test_features_are_what_the_last_layer_reads():
    torch.manual_seed(0)
    model, x = mlp([5, 4, 3, 2], "relu"), torch.randn(6, 5)
    params = dict(model.named_parameters())
    read = supervised_collapse.features(params, model, x)
    assert read.shape == (6, 3)
    assert torch.equal(read @ params["4.weight"].T + params["4.bias"], model(x))


def test_the_parameters_of_each_arm_give_its_row(small):
    config = small("supervised_collapse", steps=2)
    table, trained = supervised_collapse.train(config)
    assert len(trained) == len(table)
    decay, ratio = config.decays[0], config.sigma_ratios[-1]
    plain, added = (
        trained[arm, 1]
        for arm in (
            supervised_collapse.arms.plain_decay(decay),
            supervised_collapse.arms.bias_added_after(decay, ratio),
        )
    )
    bias = supervised_collapse.arms.syre(decay, ratio).pull(plain, 1).centre
    for name, p in plain.items():
        torch.testing.assert_close(added[name] - p, bias[name])


def test_the_rank_has_the_tolerance_of_the_settings(small):
    images = data.digits().x_test
    config = small("supervised_collapse", steps=2, seeds=1, tolerance=0.05)
    table, trained = supervised_collapse.train(config)
    model = mlp([64, *config.hidden, 10], "relu")
    for (_, params), found in zip(trained.items(), table["rank"], strict=True):
        x = supervised_collapse.features(params, model, images[: config.rank_samples])
        assert numerical_rank(x, 0.05) == found
        assert numerical_rank(x.repeat(100, 1), 0.05) == found, "whatever the number of images"
