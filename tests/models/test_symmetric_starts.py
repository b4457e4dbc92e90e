"""Symmetric starts are symmetric to the last bit."""

import copy

import pytest
import torch
from torch import nn

from small_models import GROUPS, KINDS, network, rows
from syre_helpers import models


def unit_values(model, layer, unit):
    """Everything that a unit owns, as a list of tensors."""
    modules = list(model.named_modules())
    start = [name for name, _ in modules].index(layer)
    own = modules[start][1]
    found = [t[unit] for t in (own.weight, own.bias) if t is not None]
    for _, module in modules[start + 1 :]:
        if isinstance(module, nn.BatchNorm2d):
            found += [t[unit] for t in (module.weight, module.bias, module.running_mean)]
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            # the last that counts: it reads a block of inputs per unit
            return [*found, module.weight.chunk(len(own.weight), dim=1)[unit]]
    raise AssertionError


def assert_same(values, others):
    assert all(torch.equal(a, b) for a, b in zip(values, others, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_tied_units_are_identical_to_the_last_bit_and_others_untouched(kind):
    model, layer = network(kind)
    before = copy.deepcopy(model)
    models.tie_units(model, layer, GROUPS)
    for first, *others in GROUPS:
        for other in others:
            assert_same(unit_values(model, layer, first), unit_values(model, layer, other))
    for unit in (0, 3, 4, 5, 7):  # the first of each group, and those in none
        assert_same(unit_values(model, layer, unit), unit_values(before, layer, unit))


@pytest.mark.parametrize("kind", KINDS)
def test_killed_units_are_zero_and_get_no_gradient(kind):
    model, layer = network(kind)
    models.kill_units(model, layer, torch.tensor([1, 5]))
    model(rows()).square().sum().backward()
    gradients = copy.deepcopy(model)
    for parameter, twin in zip(model.parameters(), gradients.parameters(), strict=True):
        twin.data = parameter.grad
    for unit in (1, 5):
        assert not any(value.any() for value in unit_values(model, layer, unit))
        # the running mean, which gets no gradient, moved in the forward pass: it stays 0 too
        assert not any(value.any() for value in unit_values(gradients, layer, unit))
    assert all(value.any() for value in unit_values(model, layer, 0)[:1])


def test_equal_groups_by_chunk():
    model, layer = network("tanh")
    models.tie_units(model, layer, torch.arange(8).chunk(2))
    assert len(torch.unique(model[0].weight, dim=0)) == 2
