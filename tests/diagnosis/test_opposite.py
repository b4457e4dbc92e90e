"""Twins with the opposite sign: the plane of a swap that goes with a flip, in several networks."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh
from small_faults import batch, make_twins, mlp, seeded, state_of, units_of
from syre_helpers.diagnosis.planes import Decay, nearest_planes

ALL = torch.arange(12)


@torch.no_grad()
def make_opposite(model, unit, others, size=1.0):
    """Let units of a tanh layer be `unit` times -size."""
    for other in others:
        model[0].weight[other] = -size * model[0].weight[unit]
        model[0].bias[other] = -size * model[0].bias[unit]
        model[2].weight[:, other] = -size * model[2].weight[:, unit]


def test_opposite_twins_are_counted_beside_equal_ones():
    model = mlp(nn.Tanh, (20, 64, 16, 10), torch.float32)
    make_twins(model, [(30, 31)])
    make_opposite(model, 2, [5, 9])
    x, y = batch(model, 256, outputs=10)
    report = sh.diagnose(model, (x, y), loss=functional.cross_entropy, weight_decay=0.01)
    assert report.table.twins.tolist() == [3, 0]
    assert report.table.opposite_twins.tolist() == [2, 0]
    said = "3 units copy others exactly, in 2 groups, 2 with the opposite sign"
    assert said in report.alarms["0"]
    assert "kick once" in report.advice.lower()


def test_where_no_flip_is_a_symmetry_the_opposite_is_no_twin():
    """A ReLU unit and its opposite do different things."""
    model = mlp(nn.ReLU)
    make_opposite(model, 2, [5])
    table = sh.diagnose(model, batch(model), loss=functional.cross_entropy).table
    assert (table.twins.iloc[0], table.opposite_twins.iloc[0]) == (0, 0)
    assert table.nearest.iloc[0] > 0.3


def test_behind_a_batchnorm_weights_and_gain_are_flipped_and_the_shift_is_not():
    def make():
        return nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Linear(16, 5),
        )  # fmt: skip

    model = seeded(make, torch.float32)
    x, y = batch(model, outputs=5)
    with torch.no_grad():
        model[1].bias.normal_()
        for other, sign in ((3, 1.0), (5, -1.0)):
            model[0].weight[other] = sign * model[0].weight[1]
            model[0].bias[other] = sign * model[0].bias[1]
            model[1].weight[other] = sign * model[1].weight[1]
            model[1].bias[other] = model[1].bias[1]
            model[5].weight[:, other] = model[5].weight[:, 1]
    found = sh.diagnose(model, (x, y), loss=functional.cross_entropy).findings[0].planes
    assert (found.groups, found.opposite) == (((1, 3, 5),), 1)
    with torch.no_grad():
        model[1].bias[5] += 1  # now it is another unit
    found = sh.diagnose(model, (x, y), loss=functional.cross_entropy).findings[0].planes
    assert (found.groups, found.opposite) == (((1, 3),), 0)


def test_the_rate_and_the_force_are_those_of_the_flipped_model():
    """Flip one unit back, which changes nothing that the model does: the pair is the same."""
    model = mlp()
    make_opposite(model, 0, [4], size=0.98)
    flipped = mlp()
    flipped.load_state_dict(model.state_dict())
    with torch.no_grad():
        for p in (flipped[0].weight[4], flipped[0].bias[4], flipped[2].weight[:, 4]):
            p *= -1

    def nearest(own, theta_0):
        x, y = batch(own)
        names, params = zip(*own.named_parameters(), strict=True)
        grads = torch.autograd.grad(functional.cross_entropy(own(x), y), params)
        gradient = dict(zip(names, grads, strict=True))
        return nearest_planes(units_of(own), state_of(own), ALL, gradient, Decay(0.3, theta_0))

    pull = sh.Syre(0.3, sigma_ratio=1.0).pull(state_of(model))
    centre = {n: p.clone() for n, p in pull.centre.items()}
    mirrored = {n: p.clone() for n, p in centre.items()}
    for p in (mirrored["0.weight"][4], mirrored["0.bias"][4], mirrored["2.weight"][:, 4]):
        p *= -1
    one, other = nearest(model, centre).nearest, nearest(flipped, mirrored).nearest
    assert (one.units, one.opposite, other.opposite) == ((0, 4), True, False)
    for name in ("distance", "rate", "rate_of_loss", "force", "rest"):
        a, b = getattr(one, name), getattr(other, name)
        assert a == pytest.approx(b, rel=1e-9, nan_ok=True)
        assert name == "rest" or not math.isnan(a)


@pytest.mark.parametrize("form", ["plain", "parametrize"])
def test_under_syre_the_planes_of_the_effective_parameters_count(form):
    model = mlp(nn.Tanh, (8, 12, 4))
    make_opposite(model, 1, [3])
    syre = sh.Syre(0.1, sigma_ratio=0.1)
    if form == "parametrize":
        syre.parametrize(model)
    table = sh.diagnose(model, batch_of(8), loss=functional.cross_entropy).table
    assert (table.twins.iloc[0], table.opposite_twins.iloc[0]) == (1, 1)


def batch_of(width):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(128, width, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, 4, (128,), generator=generator)
