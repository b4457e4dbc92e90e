"""ReDo: which units are made anew, from what, and that the rest stays as it is."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from small_task import values
from syre_helpers.models import mlp
from syre_helpers.removal import redo
from syre_helpers.removal.redo import recycled


def draw():
    return torch.Generator().manual_seed(1)


@pytest.fixture
def perceptron():
    """A network whose second hidden unit of four is silent, its parameters, and a batch."""
    torch.manual_seed(0)
    model, x = mlp([5, 4, 3, 2], "relu"), torch.randn(20, 5)
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = -1
    return model, values(model), x


def outputs_of(params, x):
    first = torch.relu(x @ params["0.weight"].mT + params["0.bias"])
    second = torch.relu(first @ params["2.weight"].mT + params["2.bias"])
    return {("0", "2"): first, ("2", "4"): second}


def test_a_silent_unit_is_made_anew_and_nothing_else_changes(perceptron):
    model, params, x = perceptron
    first = {("0", "2"): outputs_of(params, x)["0", "2"]}
    after = recycled(params, first, 0.0, draw())
    kept = [0, 2, 3]
    assert torch.equal(after["0.weight"][kept], params["0.weight"][kept])
    assert torch.equal(after["2.weight"][:, kept], params["2.weight"][:, kept])
    assert (after["2.weight"][:, 1] == 0).all()
    assert (after["0.weight"][1] != params["0.weight"][1]).all()
    assert after["0.weight"][1].abs().max() <= 5**-0.5
    assert after["0.bias"][1].abs() <= 5**-0.5
    # A silent unit gave nothing, and the new one gives nothing yet.
    torch.testing.assert_close(*(functional_call(model, p, (x,)) for p in (params, after)))
    # The score is relative to the layer's mean: with a threshold above the largest, all go.
    loud = {layer: 1000 * outputs for layer, outputs in outputs_of(params, x).items()}
    everything = recycled(params, loud, 10.0, draw())
    assert (everything["4.weight"] == 0).all()
    assert everything["0.weight"].mean().abs() < 0.25 * 5**-0.5, "weights of both signs"
    assert torch.equal(params["2.weight"], model[2].weight), "the given ones are not touched"


def test_channels_that_are_flattened_own_several_columns():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4, 2))
    with torch.no_grad():
        model[0].weight[2] = 0
        model[0].bias[2] = -1
    params, x = values(model), torch.randn(6, 1, 4, 4)
    after = recycled(params, {("0", "3"): model[:2](x).detach()}, 0.0, draw())
    assert (after["3.weight"][:, 8:] == 0).all()
    assert torch.equal(after["3.weight"][:, :8], params["3.weight"][:, :8])
    assert after["0.weight"][2].abs().max() > 0


def test_the_arm_is_an_event_that_depends_on_seed_and_step(perceptron):
    _, params, x = perceptron
    arm = redo(0.0, 10, lambda params, step: outputs_of(params, x))
    assert (arm.event_every, arm.settings()["tau"], arm.label) == (10, 0.0, "ReDo")
    first, again, later = (arm.event(params, 0, step) for step in (10, 10, 20))
    assert torch.equal(first["0.weight"], again["0.weight"])
    assert not torch.equal(first["0.weight"], later["0.weight"])


@pytest.mark.parametrize(("tau", "every", "words"), [(-1, 5, "tau"), (0.1, 0, "every")])
def test_bad_settings_are_named(tau, every, words):
    with pytest.raises(ValueError, match=words):
        redo(tau, every, outputs_of)
