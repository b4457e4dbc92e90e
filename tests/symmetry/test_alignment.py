"""Aligning two networks finds the order of the units again and changes no output."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call

from syre_helpers import models
from syre_helpers.symmetry.alignment import align_units, hidden_layers


def state(model):
    return {name: p.detach().clone() for name, p in model.state_dict().items()}


def shuffled(model):
    """Return the state of the same function with its units in another order."""
    generator = torch.Generator().manual_seed(0)
    found = state(model)
    for layer in hidden_layers(model):
        order = torch.randperm(layer.width, generator=generator)
        for name, part in layer.slices.items():
            found[name] = part.from_rows(part.rows(found[name], layer.width)[order], found[name])
    return found


def distance(a, b):
    return sum(float((a[name] - b[name]).double().square().sum()) for name in a)


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (lambda: models.mlp([6, 9, 4], "relu"), 6),
        (lambda: models.mlp([6, 12, 10, 4], "relu"), 6),
        (lambda: models.conv_net((3, 5)), 64),
    ],
)
def test_aligning_finds_the_order_again_and_changes_no_output(make, inputs):
    torch.manual_seed(0)
    model = make()
    x = torch.randn(7, inputs)
    model(x)  # running statistics that differ from unit to unit
    model.eval()
    original, moved = state(model), shuffled(model)
    torch.testing.assert_close(functional_call(model, moved, x), model(x))
    assert distance(original, moved) > 0.2
    found = align_units(hidden_layers(model), original, moved)
    for name, value in original.items():
        assert torch.equal(found[name], value), name


def test_aligning_is_no_worse_than_any_order_of_three_units():
    torch.manual_seed(1)
    model, other = models.mlp([4, 3, 2], "relu"), models.mlp([4, 3, 2], "relu")
    a, b = state(model), state(other)

    def ordered(order):
        order = list(order)
        return b | {
            "0.weight": b["0.weight"][order],
            "0.bias": b["0.bias"][order],
            "2.weight": b["2.weight"][:, order],
        }

    best = min(distance(a, ordered(order)) for order in itertools.permutations(range(3)))
    assert distance(a, align_units(hidden_layers(model), a, b)) == pytest.approx(best)


def test_what_cannot_be_aligned_is_named():
    with pytest.raises(ValueError, match=r"cannot tell what ResidualBlock.*stem\.conv"):
        hidden_layers(models.resnet18(width=2))
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    layers, a = hidden_layers(model), state(model)
    with pytest.raises(ValueError, match=r"b has no entry '2\.weight'"):
        align_units(layers, a, {n: p for n, p in a.items() if n != "2.weight"})
    wider = state(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))
    with pytest.raises(ValueError, match=r"'0\.weight' has \(4, 3\) and \(5, 3\)"):
        align_units(layers, a, wider)
