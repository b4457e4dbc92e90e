"""ReDo: which units are made anew, from what, and that the rest stays as it is."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.func import functional_call

from small_task import values
from small_training import OPTIMIZERS, assert_same, data, made, part, run, run_one
from syre_helpers.models import mlp
from syre_helpers.removal import continual_backprop, redo


def after_redo(params, outputs, tau):
    return redo(tau, 10, lambda params, step: outputs).event(params, 0, 10)


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
    after = after_redo(params, first, 0.0)
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
    everything = after_redo(params, loud, 10.0)
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
    after = after_redo(params, {("0", "3"): model[:2](x).detach()}, 0.0)
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


def test_continual_backprop_makes_the_units_of_least_use_anew_at_a_constant_rate():
    torch.manual_seed(0)
    model, x = mlp([5, 40, 3], "relu"), torch.randn(20, 5)
    params = values(model)
    params["2.weight"][:, 7] = 0  # active, and of no use
    params["0.weight"][8] *= 1e-3  # of use to the next layer, and hardly active
    params["0.bias"][8] = 0

    def outputs(params, step):
        return {("0", "2"): torch.relu(x @ params["0.weight"].mT + params["0.bias"])}

    arm = continual_backprop(0.005, 10, outputs)
    after = arm.event(params, 0, 10)
    changed = (after["0.weight"] != params["0.weight"]).any(1).nonzero().flatten().tolist()
    assert changed == [7, 8], "two of 40 units in ten steps"
    assert (after["2.weight"][:, [7, 8]] == 0).all()
    kept = [k for k in range(40) if k not in (7, 8)]
    assert torch.equal(after["2.weight"][:, kept], params["2.weight"][:, kept])
    # A rate of less than one unit per event is carried over.
    slow = continual_backprop(0.001, 10, outputs)
    counts = []
    for step in range(10, 110, 10):
        new = slow.event(params, 0, step)["0.weight"]
        counts.append(int((new != params["0.weight"]).any(1).sum()))
    assert sum(counts) == 4
    assert set(counts) == {0, 1}


@dataclass(frozen=True)
class keeping(redo):
    """ReDo without the reset of moments."""

    @property
    def resets_moments(self):
        return False


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_the_optimizer_forgets_what_is_made_anew(name):
    """From moments of zero the next step of a new weight follows its gradient alone."""

    def third_is_silent(params, step):
        hidden = torch.ones(8, 6, dtype=torch.float64)
        hidden[:, 2] = 0
        return {("0", "2"): hidden}

    x, y = data()[:2]
    compared = [redo(0.0, 4, third_is_silent), keeping(0.0, 4, third_is_silent, variant="keeps")]
    settings = {"optimizer": OPTIMIZERS[name], "data": lambda step: (x, y), "batch_size": None}
    settings |= {"log_every": None, "schedule": None}
    many = run(arms=compared, seeds=[1], steps=5, **settings)
    for arm in compared:
        assert_same(run_one(arm, 1, steps=5, **settings), part(many, arm, 1), 1e-11)
    forgetful, keeps = (many[1][arm, 1]["0.weight"] for arm in compared)
    assert (forgetful[2] != keeps[2]).all()
    assert torch.equal(forgetful[[0, 1, 3, 4, 5]], keeps[[0, 1, 3, 4, 5]])
    if name == "momentum":
        before = run_one(compared[0], 1, steps=4, **settings)[1][compared[0], 1]
        before = {n: p.clone().requires_grad_() for n, p in before.items()}
        loss = nn.functional.cross_entropy(functional_call(made(1), before, (x,)), y)
        (gradient,) = torch.autograd.grad(loss, before["0.weight"])
        torch.testing.assert_close(forgetful[2], (before["0.weight"] - 0.05 * gradient)[2])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: redo(-1, 5, outputs_of), "tau"),
        (lambda: redo(0.1, 0, outputs_of), "every"),
        (lambda: continual_backprop(2, 5, outputs_of), "rate"),
        (lambda: continual_backprop(0.1, 0, outputs_of), "every"),
        (lambda: continual_backprop(0.1, 5, outputs_of, weight_decay=-1), "weight_decay"),
    ],
)
def test_bad_settings_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
