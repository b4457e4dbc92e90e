"""What holds in every form of the remedy: attached, as a penalty, and parametrized."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import syre_helpers as sh
from small_task import largest_difference, net, remedied, still, train
from syre_helpers.removal import on_the_fly

DECAY = 0.05
FORMS = ["attach", "penalty", "parametrize"]


def sgd(params, decay, lr=0.1):
    return torch.optim.SGD(params, lr=lr, weight_decay=decay)


def trained(form, syre, model, steps, data=None, **how):
    optimizer, penalty = remedied(form, syre, model, sgd, **how)
    train(model, optimizer, steps, penalty, data=data)
    return values(model)


def values(model):
    return {n: p.clone() for n, p in sh.effective_parameters(model).items()}


class Tied(nn.Module):
    """An embedding that is read out again by itself; `first` is registered first."""

    def __init__(self, first="embedding"):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            parts = {"embedding": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)}
        parts["head"].weight = parts["embedding"].weight
        for name in (first, *(set(parts) - {first})):
            self.add_module(name, parts[name])
        self.double()

    def forward(self, tokens):
        return self.head(torch.tanh(self.embedding(tokens)))


def test_a_tied_weight_is_one_parameter_in_every_form():
    syre = sh.Syre(DECAY, sigma_ratio=1.0, sigma_D=0.3, seed=1)
    data, ends = (torch.arange(6), torch.eye(6).double().roll(1, 0)), {}
    for form in (*FORMS, "plain decay"):
        model = Tied()
        ends[form] = trained(form, syre, model, 50, data)
        assert torch.equal(model.head.weight, model.embedding.weight)
    assert list(ends["attach"]) == ["embedding.weight"]
    assert largest_difference(ends["penalty"], ends["attach"]) < 1e-10
    assert largest_difference(ends["parametrize"], ends["attach"]) < 1e-10
    assert largest_difference(ends["plain decay"], ends["attach"]) > 1e-4


@pytest.mark.parametrize("first", ["embedding", "head"])
def test_a_tied_weight_is_pulled_and_counted_once_with_the_theta_0_of_its_first_name(first):
    model, syre = Tied(first), sh.Syre(0.4, sigma_ratio=0.5, seed=1)
    weight = model.embedding.weight.detach().clone()
    theta_0 = syre.bias(f"{first}.weight", weight)
    assert torch.allclose(syre.penalty(model), 0.2 * (weight - theta_0).square().sum())
    optimizer, _ = remedied("attach", syre, model, sgd)
    still(model)
    optimizer.step()
    assert torch.allclose(model.head.weight, weight - 0.04 * (weight - theta_0))


@pytest.mark.parametrize("sigma_D", [0.0, 0.2])
@pytest.mark.parametrize("form", [*FORMS, "attach, store=False"])
def test_a_padding_row_stays_at_zero(form, sigma_D, monkeypatch):
    monkeypatch.setattr(on_the_fly, "_kernel", lambda *_: None)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Embedding(6, 4, padding_idx=2), nn.Flatten(), nn.Linear(12, 2)
    model, syre = nn.Sequential(*layers).double(), sh.Syre(DECAY, 1.0, sigma_D=sigma_D)
    form, _, computed = form.partition(", ")
    start = values(model)["0.weight"]
    data = torch.tensor([[0, 1, 2], [5, 2, 2]]), torch.ones(2, 2).double()
    how = {"store": False} if computed else {}
    moved = (trained(form, syre, model, 20, data, **how)["0.weight"] - start).abs().sum(1)
    assert moved[2] == 0
    assert moved[[0, 1, 3, 4, 5]].min() > 1e-3


@pytest.mark.filterwarnings("ignore:.*'0.weight_orig' is pruned:syre_helpers.SyreWarning")
@pytest.mark.parametrize("form", FORMS)
def test_pruned_parameters_are_left_alone_and_stay_at_zero(form):
    model, syre = net(), sh.Syre(DECAY, sigma_ratio=1.0)
    prune.random_unstructured(model[0], "weight", 0.5)
    trained(form, syre, model, 5)
    prune.remove(model[0], "weight")
    assert (model[0].weight == 0).sum() == 18


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("form", ["attach", "parametrize"])
def test_the_average_computes_with_the_average_of_what_the_model_computed_with(form, use_buffers):
    model, syre = net(), sh.Syre(DECAY, sigma_ratio=1.0, sigma_D=0.3, seed=2)
    optimizer, _ = remedied(form, syre, model, sgd)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=use_buffers)
    train(model, optimizer, 1)
    average.update_parameters(model)
    expected = values(model)
    for _ in range(14):
        train(model, optimizer, 1)
        average.update_parameters(model)
        expected = {n: 0.8 * expected[n] + 0.2 * p for n, p in values(model).items()}
    assert largest_difference(values(average), expected) < 1e-14
    assert largest_difference(values(model), expected) > 1e-4, "an average is not the last state"
    if form == "parametrize":
        before = values(model)
        syre.remove(average.module)
        assert largest_difference(values(average.module), expected) < 1e-14
        assert set(average.module.state_dict()) == set(net().state_dict())
        assert largest_difference(values(model), before) == 0
        train(model, optimizer, 1)  # the model in training goes on under parametrize
        assert nn.utils.parametrize.is_parametrized(model[0])
