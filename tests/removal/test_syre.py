"""Syre's settings, and values that depend on nothing but seed, name and index."""

import json
from collections import OrderedDict

import pytest
import torch
from torch import nn

import syre_helpers as sh
from small_task import net, still, values


def sgd(params):
    return torch.optim.SGD(params, lr=0.1)


def test_bias_scale_is_the_ratio_over_the_root_of_the_owning_fan_in():
    model = nn.Sequential(nn.Conv2d(3, 500, 5), nn.BatchNorm2d(500), nn.ReLU())
    syre = sh.Syre(0.1, sigma_ratio=0.2, seed=0)
    syre.attach(sgd(model.parameters()), model)
    named = dict(model.named_parameters())
    for name, fan_in in (("0.weight", 75), ("0.bias", 75), ("1.weight", 500), ("1.bias", 500)):
        bias = syre.bias(name, named[name])
        expected = 0.2 / fan_in**0.5
        assert bias.std() == pytest.approx(expected, rel=4 / bias.numel() ** 0.5)
    outright = sh.Syre(0.1, sigma_0=0.7).bias("0.weight", named["0.weight"])
    assert outright.std() == pytest.approx(0.7, rel=0.05)
    default = sh.Syre(0.1).bias("0.weight", named["0.weight"])
    assert default.std() == pytest.approx(0.01 / 75**0.5, rel=0.05)


def test_bias_depends_on_seed_name_and_index_only():
    syre = sh.Syre(seed=4)
    tensor = torch.zeros(6, 5)
    bias = syre.bias("a.weight", tensor)
    assert torch.equal(bias, sh.Syre(seed=4).bias("module._orig_mod.a.weight", tensor))
    assert torch.equal(bias, syre.bias("a.parametrizations.weight.original", tensor))
    assert not torch.equal(bias, sh.Syre(seed=5).bias("a.weight", tensor))
    assert not torch.equal(bias, syre.bias("b.weight", tensor))
    centre = syre.pull({"a.weight": tensor, "b.weight": tensor}).centre
    assert torch.equal(centre["a.weight"], bias)
    assert not torch.equal(centre["b.weight"], bias)
    torch.manual_seed(9)
    syre.bias("other", torch.zeros(3))
    assert torch.equal(bias, syre.bias("a.weight", torch.randn(6, 5)))
    assert torch.equal(bias.half(), syre.bias("a.weight", tensor.half()))
    # float64 differs by float32's rounding only
    assert torch.allclose(bias.double(), syre.bias("a.weight", tensor.double()), rtol=1e-6, atol=0)


def test_global_random_state_is_left_alone():
    state = torch.random.get_rng_state()
    model = net()
    sh.Syre(sigma_D=0.001).parametrize(model)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_metric():
    syre = sh.Syre(sigma_ratio=1.0, sigma_D=0.5)
    tensor = torch.zeros(1000, 50, dtype=torch.float64)
    metric = syre.metric("w", tensor)
    assert metric.min() > 0.5
    assert metric.max() < 1.5
    assert metric.unique().numel() == metric.numel(), "entries of D must be distinct"
    both = torch.stack([syre.bias("w", tensor).flatten(), metric.flatten()])
    assert both.corrcoef()[0, 1].abs() < 0.02, "theta_0 and D must be drawn apart"
    # Near 1 float32 cannot tell them apart; the D - 1 that the pull uses still can.
    small = sh.Syre(sigma_ratio=1.0, sigma_D=1e-4)
    single, index = torch.zeros(1000, 50), torch.arange(50_000)
    assert small.metric("w", single).unique().numel() < 0.1 * single.numel()
    assert (
        small._specification("w", single).D_minus_1(index, single.dtype).unique().numel()
        > 0.99 * single.numel()
    )


def test_saved_state_restores_everything():
    model = net()
    syre = sh.Syre(0.2, sigma_ratio=0.5, sigma_D=0.1, seed=8)
    syre.attach(sgd(model.parameters()), model)
    state = json.loads(json.dumps(syre.state_dict()))
    bias = syre.bias("0.bias", torch.zeros(7))
    other = sh.Syre()
    other.load_state_dict(state)
    # The scale of a bias comes from the layer's fan-in, which only the saved state knows.
    assert torch.equal(other.bias("0.bias", torch.zeros(7)), bias)
    assert not torch.equal(
        sh.Syre(0.2, 0.5, sigma_D=0.1, seed=8).bias("0.bias", torch.zeros(7)), bias
    )
    assert other.state_dict() == syre.state_dict()


@pytest.mark.parametrize(
    "change",
    [
        None,
        {"weight_decay": -1.0},
        {"weight_decay": "0.1"},
        {"sigma_D": 1.5},
        {"sigma_0": 0.1},
        {"seed": 0.5},
        {"scales": {"w": float("nan")}},
        {"scales": {"w": "large"}},
        {"scales": 3},
        {"more": 1},
    ],
)
def test_a_state_that_is_refused_changes_nothing(change):
    syre = sh.Syre(0.2, sigma_ratio=0.5, sigma_D=0.1, seed=8)
    syre.pull(values(net()))
    before = syre.state_dict()
    new = {"seed": 1} if change is None else before | {"weight_decay": 0.7} | change
    with pytest.raises((ValueError, TypeError)):
        syre.load_state_dict(new)
    assert syre.state_dict() == before


def pulled_to(optimizer, model):
    """Return the parameters after one step at rate 1: theta_0."""
    still(model)
    optimizer.step()
    return values(model)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sigma_ratio": 0.5}, r"sigma_ratio=0\.5"),
        ({"sigma_ratio": 0.1, "seed": 3}, "seed=3, this"),
    ],
)
def test_a_loaded_state_changes_an_attached_pull(settings, words):
    model, syre = net(), sh.Syre(1.0, sigma_ratio=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    syre.attach(optimizer, model)
    pulled_to(optimizer, model)
    syre.load_state_dict(syre.state_dict())  # changes nothing, and says nothing
    for other in (sh.Syre(1.0, **settings), sh.Syre(1.0, sigma_0=0.2)):
        with pytest.warns(sh.SyreWarning, match=words if other.sigma_ratio else r"sigma_0=0\.2"):
            syre.load_state_dict(other.state_dict())
        expected = other.pull(values(net())).centre
        found = pulled_to(optimizer, model)
        assert all(torch.allclose(p, expected[n]) for n, p in found.items())


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"weight_decay": -0.1}, ValueError, "weight_decay=-0.1.*>= 0"),
        ({"weight_decay": float("nan")}, ValueError, "weight_decay=nan"),
        ({"sigma_ratio": float("inf")}, ValueError, "sigma_ratio=inf"),
        ({"sigma_0": -1.0}, ValueError, "sigma_0=-1.0"),
        ({"sigma_0": 0.1, "sigma_ratio": 0.2}, ValueError, "ratio=0.2.*sigma_0=0.1.*exclude"),
        ({"sigma_D": 1.0}, ValueError, "sigma_D=1.0.*below 1"),
        ({"weight_decay": "0.1"}, TypeError, "weight_decay must be a number"),
        ({"seed": 1.5}, TypeError, "seed must be an int"),
    ],
)
def test_bad_settings_are_named(settings, error, words):
    with pytest.raises(error, match=words):
        sh.Syre(**settings)


def test_parameters_of_whole_numbers_are_named():
    with pytest.raises(TypeError, match=r"'steps' has dtype torch\.int64"):
        sh.Syre().bias("steps", torch.arange(3))


def test_without_bias_it_is_plain_decay():
    pull = sh.Syre(0.1, sigma_0=0.0).pull(values(net()))
    assert not any(centre.any() for centre in pull.centre.values())
    assert not pull.xi


def test_a_large_D_is_warned_of():
    with pytest.warns(sh.SyreWarning, match=r"sigma_D=0\.5"):
        sh.Syre(sigma_D=0.5)


# ---- names and scales --------------------------------------------------------------------------


def test_each_model_has_its_own_scales():
    wide, narrow = nn.Sequential(nn.Linear(400, 8)), nn.Sequential(nn.Linear(4, 8))
    shared = sh.Syre(1.0, sigma_ratio=0.5)
    for model in (wide, narrow, wide):
        expected = sh.Syre(1.0, sigma_ratio=0.5).pull(values(model)).centre
        found = {}
        for syre in (sh.Syre(1.0, 0.5), shared):
            optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
            handle = syre.attach(optimizer, model)
            alone, found = found, pulled_to(optimizer, model)
            handle.remove()
        for name, p in found.items():
            assert torch.equal(p, alone[name])
            assert torch.allclose(p, expected[name])
            assert torch.equal(shared.bias(name, p), expected[name]), "of the model met last"


def test_two_models_of_one_architecture_are_warned_of():
    syre, one, two = sh.Syre(0.1), net(), net(seed=2)
    both = nn.ModuleDict({"one": one, "two": two})
    optimizers = sgd(one.parameters()), sgd(two.parameters())
    syre.attach(optimizers[0], one)
    with pytest.warns(sh.SyreWarning, match=r"same theta_0.*nn\.ModuleDict"):
        syre.attach(optimizers[1], two).remove()
    sh.Syre(0.1, seed=1).attach(optimizers[1], two)
    centre = syre.pull(values(both)).centre
    assert not torch.equal(centre["one.0.weight"], centre["two.0.weight"])


@pytest.mark.parametrize(
    "normed", [nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm]
)
def test_a_bias_beside_a_normed_weight_has_the_scale_of_the_layer(normed):
    model = nn.Sequential(normed(nn.Linear(400, 300)))
    syre = sh.Syre(0.1, sigma_ratio=0.1)
    syre.pull(dict(model.named_parameters()))
    assert syre.state_dict()["scales"]["0.bias"] == pytest.approx(0.1 / 400**0.5)


def wrapped(model, name):
    outer = nn.Module()
    outer.add_module(name, model)
    return outer


def renamed(model):
    return nn.Sequential(OrderedDict(first=model[0], between=model[1], last=model[2]))


@pytest.mark.parametrize(
    "change",
    [
        lambda model: (wrapped(model, "net"), model),
        lambda model: (model, wrapped(model, "net")),
        lambda model: (renamed(model), model),
    ],
    ids=["a prefix less", "a prefix more", "other names"],
)
@pytest.mark.parametrize("first", ["load", "attach"])
@pytest.mark.parametrize("settings", [{"sigma_ratio": 0.5}, {"sigma_0": 0.5}])
def test_names_that_change_on_resume_keep_their_theta_0(change, first, settings):
    before, after = change(net())
    old = sh.Syre(1.0, **settings, seed=3)
    expected = list(old.pull(values(before)).centre.values())
    syre, optimizer = sh.Syre(1.0, **settings, seed=3), torch.optim.SGD(after.parameters(), lr=1.0)
    if first == "attach":
        syre.attach(optimizer, after)
    syre.load_state_dict(json.loads(json.dumps(old.state_dict())))
    still(after)
    told = (lambda: syre.attach(optimizer, after)) if first == "load" else optimizer.step
    with pytest.warns(sh.SyreWarning, match="the state knows no parameter.*is that of"):
        told()
    optimizer.step()
    for (name, p), theta_0 in zip(after.named_parameters(), expected, strict=True):
        assert torch.allclose(p, theta_0, atol=1e-15)
        assert torch.equal(syre.bias(name, p), theta_0)
    assert syre.state_dict() == old.state_dict()


def test_names_of_another_model_on_resume_are_warned_of():
    old, syre = sh.Syre(seed=3), sh.Syre()
    old.pull(values(net()))
    syre.load_state_dict(old.state_dict())
    with pytest.warns(sh.SyreWarning, match=r"theta_0 of 2 parameters is not that of the saved"):
        syre.pull(values(nn.Linear(3, 3)))
