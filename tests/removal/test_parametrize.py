"""The paper's form: a model that computes with theta + theta_0."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

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


class Lion(torch.optim.Optimizer):
    """Decays by itself, as most optimizers of other libraries do; some say so in no way."""

    def __init__(self, params, lr, weight_decay):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure=None):
        pass


class OwnAdamW(torch.optim.AdamW):
    pass


def decoupled_nadam(params, **settings):
    return torch.optim.NAdam(params, decoupled_weight_decay=True, **settings)


@pytest.mark.parametrize(
    "make", [torch.optim.AdamW, OwnAdamW, decoupled_nadam, torch.optim.Adafactor, Lion]
)
def test_advanced_parametrize_refuses_decay_that_is_not_coupled(make):
    model, (x, _) = net(), task()
    sh.Syre(0.1, sigma_ratio=1.0, sigma_D=0.5).parametrize(model)
    optimizer = make(model.parameters(), lr=0.01, weight_decay=0.1)
    model(x).sum().backward()
    with pytest.raises(ValueError, match=rf"{type(optimizer).__name__} is not.*attach"):
        optimizer.step()


class Wrapper(torch.optim.Optimizer):
    def __init__(self, optimizer):
        super().__init__(optimizer.param_groups, {})
        self.base = optimizer

    def step(self, closure=None):
        return self.base.step(closure)


def test_a_wrapped_optimizer_gets_the_advanced_part_once():
    ends = []
    for wrap in (lambda optimizer: optimizer, Wrapper):
        model = net()
        sh.Syre(0.5, sigma_ratio=1.0, sigma_D=0.5).parametrize(model)
        train(model, wrap(sgd(model.parameters(), 0.5)), 3)
        ends.append(values(model))
    assert largest_difference(*ends) == 0


def test_frozen_parameters_are_left_alone():
    model = net()
    model[0].requires_grad_(False)
    syre = sh.Syre(0.1, sigma_ratio=1.0)
    pull = syre.pull(values(model))
    counted = {n: p for n, p in model.named_parameters() if n.startswith("2.")}
    assert torch.equal(syre.penalty(model), pull.penalty(counted))
    everything = syre.penalty(model, where=lambda name, p: True)
    assert everything > syre.penalty(model)
    frozen = model[0].weight
    syre.parametrize(model)
    assert model[0].weight is frozen
    assert nn.utils.parametrize.is_parametrized(model[2])
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="by default all that require a gradient"):
        sh.Syre().penalty(syre.remove(model))


def test_pruned_parameters_are_named():
    model = net()
    prune.random_unstructured(model[0], "weight", 0.5)
    with pytest.warns(sh.SyreWarning, match=r"'0\.weight_orig' is pruned.*prune\.remove"):
        sh.Syre(0.1).parametrize(model)


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


@pytest.mark.parametrize("which", [0, 1])
def test_removal_from_one_of_two_copies_leaves_the_other_as_it_is(which):
    """They share a class, which PyTorch's removal changes."""
    model, (x, _), syre = net(), task(), sh.Syre(0.5, sigma_ratio=1.0, sigma_D=0.5)
    both = [syre.parametrize(model), copy.deepcopy(model)]
    for one in both:
        train(one, sgd(one.parameters(), 0.5), 3)
    assert torch.equal(both[0](x), both[1](x)), "the part of D is copied, too"
    before = model(x).detach()
    bare, other = both[which], both[1 - which]
    syre.remove(bare)
    assert all(torch.allclose(one(x), before, atol=1e-14) for one in both)
    other[0].weight = torch.ones_like(other[0].weight)
    assert (other[0].weight - 1).abs().max() < 1e-14
    assert not torch.equal(bare[0].weight, other[0].weight)
    syre.remove(other)
    assert type(bare[0]) is type(other[0]) is nn.Linear


def test_a_loaded_state_brings_its_own_theta_0():
    saved, other, (x, _) = net(), net(), task()
    remedy = sh.Syre(0.1, sigma_0=0.5, seed=7)
    sh.Syre(0.1, sigma_0=0.5, seed=3).parametrize(saved)
    remedy.parametrize(other).load_state_dict(saved.state_dict())
    assert torch.equal(other(x), saved(x))
    for model in (saved, other):
        train(model, sgd(model.parameters(), 0.1), 5)
    assert torch.equal(other(x), saved(x)), "and goes on towards it"
    assert torch.equal(remedy.remove(other)(x), saved(x))


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


@pytest.mark.parametrize("strict", [True, False])
def test_the_state_of_an_ordinary_model_can_be_loaded(strict):
    model, other = net(), net(seed=2)
    other[2].weight = model[2].weight = nn.Parameter(torch.ones(2, 7).double())
    syre = sh.Syre(0.1, sigma_ratio=1.0, sigma_D=0.1)
    syre.parametrize(model)
    twin = copy.deepcopy(model)
    twin.load_state_dict(other.state_dict(), strict=strict)
    assert largest_difference(sh.effective_parameters(twin), values(other)) < 1e-14
    own = model.state_dict()
    twin.load_state_dict(own)
    assert all(torch.equal(v, own[n]) for n, v in twin.state_dict().items())
    syre.remove(twin)
    twin.load_state_dict(other.state_dict())
    assert largest_difference(values(twin), values(other)) == 0


@pytest.mark.parametrize(
    "write",
    [
        lambda layer: nn.init.kaiming_uniform_(layer.weight),
        lambda layer: nn.init.zeros_(layer.weight),
        lambda layer: layer.reset_parameters(),
        lambda layer: layer.weight.mul_(0),
        lambda layer: layer.weight.data.zero_(),
        lambda layer: layer.weight.__setitem__(0, 0.0),
        lambda layer: setattr(layer.weight, "data", torch.zeros(7, 5)),
        lambda layer: [p.clamp_(-0.01, 0.01) for p in layer.parameters()],
    ],
)
def test_writes_that_would_be_lost_are_refused(write):
    model, syre = net(), sh.Syre(0.1, sigma_ratio=1.0)
    syre.parametrize(model)
    before = values(model)
    with torch.no_grad():
        with pytest.raises(ValueError, match=r"would be lost.*layer\.weight = value"):
            write(model[0])
        assert largest_difference(values(model), before) == 0
        assert torch.equal(model[0].weight.data, sh.effective_parameters(model)["0.weight"])
        expected = 2 * model[0].weight + 1
        model[0].weight *= 2
        model[0].weight += 1
        assert torch.allclose(model[0].weight, expected)
    assert type(copy.deepcopy(model[0].weight.data)) is torch.Tensor
    syre.remove(model)
    nn.init.zeros_(model[0].weight)
    model[0].weight.data.clamp_(1)
    assert (model[0].weight == 1).all()
