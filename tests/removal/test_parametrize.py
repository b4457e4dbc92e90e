"""The paper's form: a model that computes with theta + theta_0."""

import copy

import pytest
import torch
from torch import nn

import syre_helpers as sh
from small_task import largest_difference, net, task, train, values


def sgd(params, decay=0.0):
    return torch.optim.SGD(params, lr=0.1, weight_decay=decay)


def test_parametrize_keeps_what_the_model_computes_and_stays_assignable():
    model, (x, _) = net(), task()
    before = model(x).detach()
    weight = model[0].weight.detach().clone()
    syre = sh.Syre(0.1, sigma_ratio=1.0)
    optimizer = sgd(model.parameters(), 0.1)  # its parameters must stay the same objects
    assert syre.parametrize(model) is model
    assert (model(x) - before).abs().max() < 1e-14
    theta = model[0].parametrizations.weight.original
    assert torch.allclose(theta, weight - syre.bias("0.weight", weight), atol=1e-15)
    assert any(p is theta for g in optimizer.param_groups for p in g["params"])
    model[0].weight = torch.ones_like(weight)
    assert (model[0].weight - 1).abs().max() < 1e-14
    effective = sh.effective_parameters(model)
    assert list(effective) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    syre.remove(model)
    assert set(model.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert all(torch.equal(effective[n], p) for n, p in model.named_parameters())
    with pytest.raises(ValueError, match="nothing to remove"):
        syre.remove(model)


def test_tied_weights_are_shifted_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    model[2].weight = model[0].weight
    weight = model[0].weight.detach().clone()
    syre = sh.Syre(0.1, sigma_ratio=1.0)
    syre.parametrize(model)
    for layer in (model[0], model[2]):
        assert (layer.weight - weight).abs().max() < 1e-15
    assert model[0].parametrizations.weight.original is model[2].parametrizations.weight.original
    assert len(sh.effective_parameters(model)) == 3
    syre.remove(model)
    assert model[2].weight is model[0].weight
    assert (model[0].weight - weight).abs().max() < 1e-15


def test_deep_copies_keep_the_advanced_part():
    model = net()
    sh.Syre(0.5, sigma_ratio=1.0, sigma_D=0.5).parametrize(model)
    twin = copy.deepcopy(model)
    for m in (model, twin):
        optimizer = sgd(m.parameters(), 0.5)
        train(m, optimizer, 3)
    assert largest_difference(values(model), values(twin)) == 0


def test_advanced_parametrize_refuses_decoupled_decay():
    model, (x, _) = net(), task()
    sh.Syre(0.1, sigma_ratio=1.0, sigma_D=0.5).parametrize(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)
    model(x).sum().backward()
    with pytest.raises(ValueError, match=r"AdamW.*attach"):
        optimizer.step()


def test_parametrize_warns_when_the_optimizer_decays_otherwise():
    model, (x, _) = net(), task()
    sh.Syre(0.1).parametrize(model)
    optimizer = sgd(model.parameters(), 0.0)
    model(x).sum().backward()
    with pytest.warns(sh.SyreWarning, match=r"weight_decay=0.*0\.1"):
        optimizer.step()


class Forwarding(nn.Module):
    """A wrapper that hands out the attributes of what it wraps, as PEFT's do."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, x):
        return self.inner(x)


def test_wrappers_that_forward_attributes_are_left_alone():
    model, (x, _) = net(), task()
    model[2] = Forwarding(model[2])
    names, before = list(values(model)), model(x).detach()
    syre = sh.Syre(0.1, sigma_ratio=1.0)
    syre.parametrize(model)
    assert list(sh.effective_parameters(model)) == names
    syre.remove(model)
    assert (model(x) - before).abs().max() < 1e-14
    assert list(values(model)) == names


class Unreadable(nn.Module):
    def forward(self, p):
        raise RuntimeError("unreadable")


@pytest.mark.parametrize("where", ["on top", "beside"])
def test_a_removal_that_fails_changes_nothing(where, monkeypatch):
    model, (x, _) = net(), task()
    syre = sh.Syre(0.1, sigma_ratio=1.0)
    syre.parametrize(model)
    if where == "on top":
        nn.utils.parametrize.register_parametrization(model[2], "weight", nn.Tanh())
    state, output = {n: v.clone() for n, v in model.state_dict().items()}, model(x).detach()
    if where == "beside":
        monkeypatch.setattr(model[2].parametrizations.weight[0], "forward", Unreadable().forward)
    with pytest.raises((ValueError, RuntimeError), match=r"on top of|unreadable"):
        syre.remove(model)
    monkeypatch.undo()
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(v, state[n]) for n, v in model.state_dict().items())
    assert torch.equal(model(x), output)
