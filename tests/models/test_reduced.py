"""The smaller network computes the same, and takes the same trajectory."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from small_models import GROUPS, KINDS, network, rows, size
from syre_helpers import models

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02),
    "momentum and decay": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1),
    "adam and decay": lambda p: torch.optim.Adam(p, lr=0.003, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.003, weight_decay=0.1),
}


def train(model, optimizer, steps=100):
    """The outputs on the training rows at every tenth step."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(24, 64, generator=generator, dtype=torch.float64) / 4
    y = torch.randn(24, dtype=torch.float64, generator=generator)
    outputs = []
    opt = OPTIMIZERS[optimizer](model.parameters())
    for step in range(steps):
        opt.zero_grad()
        prediction = model(x)
        (prediction.mean(1) - y).square().mean().backward()
        opt.step()
        if step % 10 == 9:
            outputs.append(prediction.detach())
    return torch.stack(outputs)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", KINDS)
def test_network_without_dead_units_has_the_same_trajectory(kind, optimizer):
    model, layer = network(kind)
    models.kill_units(model, layer, [1, 5])
    small = models.without_units(model, layer, [1, 5])
    big_outputs, small_outputs = train(model, optimizer), train(small, optimizer)
    assert (big_outputs[-1] - big_outputs[0]).abs().max() > 1e-2
    torch.testing.assert_close(small_outputs, big_outputs, rtol=0, atol=1e-10)
    assert size(small) < size(model)


@pytest.mark.parametrize("form", ["rescaled", "tied"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", KINDS)
def test_merged_network_has_the_same_trajectory(kind, optimizer, form):
    model, layer = network(kind)
    models.tie_units(model, layer, GROUPS)
    small = models.merge_units(model, layer, GROUPS, form=form)
    big_outputs, small_outputs = train(model, optimizer), train(small, optimizer)
    difference = (big_outputs - small_outputs).abs().max()
    if form == "rescaled" and "adam" in optimizer:
        assert difference > 1e-3  # adaptive steps do not commute with the rescaling
    else:
        assert difference < 1e-10


def test_merged_network_has_the_parameters_of_the_smaller_one_and_stacks():
    model, layer = network("tanh")
    models.tie_units(model, layer, GROUPS)
    small = models.merge_units(model, layer, GROUPS)
    assert small[0].out_features == small[2].in_features == 5
    assert size(small) == size(models.mlp([64, 5, 3]))
    # the rescaled coordinates have the same norm, and so the same weight decay
    norms = [sum(p.square().sum() for p in net.parameters()) for net in (model, small)]
    torch.testing.assert_close(*norms)
    params, buffers = stack_module_state([small, small])
    out = vmap(lambda p, b: functional_call(small, (p, b), (rows(),)))(params, buffers)
    torch.testing.assert_close(out[1], model(rows()))


def test_layers_under_a_parametrization_are_refused():
    model = models.mlp([3, 4, 4, 1])
    models.tie_units(model, "2", [(0, 1)])
    small = models.merge_units(model, "2", [(0, 1)])
    for layer in ("0", "2"):
        with pytest.raises(ValueError, match="parametrization"):
            models.tie_units(small, layer, [(0, 1)])


def test_originals_are_left_alone():
    model, layer = network("tanh")
    models.tie_units(model, layer, GROUPS)
    models.kill_units(model, layer, [7])
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        models.merge_units(model, layer, GROUPS)[0].bias.add_(1)
        models.without_units(model, layer, [7])[0].weight.zero_()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("layers", "make_symmetric", "reduce", "groups", "words"),
    [
        ((nn.Tanh(),), models.kill_units, models.without_units, [0, 1, 2, 3], "at least one"),
        ((nn.LayerNorm(4),), models.tie_units, models.merge_units, [(0, 1)], "LayerNorm"),
    ],
)
def test_what_has_no_smaller_network_is_refused(layers, make_symmetric, reduce, groups, words):
    model = nn.Sequential(nn.Linear(3, 4), *layers, nn.Linear(4, 1))
    make_symmetric(model, "0", groups)
    with pytest.raises(ValueError, match=words):
        reduce(model, "0", groups)
