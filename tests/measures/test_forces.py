"""Degree of symmetry and escape force of states where they are known."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

import syre_helpers as sh


def test_degree_of_symmetry():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    swaps = [sh.permutation_reflection(model, "0", 0, j) for j in (1, 2, 3)]
    params = {n: p.detach() for n, p in model.named_parameters()}
    assert sh.degree_of_symmetry(swaps, params) == 0
    assert sh.degree_of_symmetry(swaps, swaps[1].nearest(params)) == pytest.approx(1 / 3)
    small = {n: 1e-9 * p for n, p in params.items()}
    assert sh.degree_of_symmetry(swaps, small) == 0, "the tolerance is relative"
    with pytest.raises(ValueError, match="reflections is empty"):
        sh.degree_of_symmetry([], params)


def test_escape_force():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).double()
    swap = sh.permutation_reflection(model, "0", 1, 2)
    params = {n: p.detach() for n, p in model.named_parameters()}
    symmetric = swap.nearest(params)

    def loss_fn(p):
        return functional_call(model, dict(p), (x,)).square().mean()

    assert sh.escape_force(swap, loss_fn, params) > 1e-4
    # The gradient of identical units is identical up to the order of summation.
    assert sh.escape_force(swap, loss_fn, symmetric) < 1e-16
    syre = sh.Syre(0.2, sigma_ratio=0.3)
    pull = syre.pull(symmetric)
    force = sh.escape_force(swap, lambda p: loss_fn(p) + pull.penalty(p), symmetric)
    # At a symmetric point P grad is exactly -weight_decay P theta_0.
    assert force == pytest.approx(0.2 * swap.linear_part().distance(pull.centre), rel=1e-10)


def test_escape_force_ignores_the_centre_of_the_reflection():
    mirror = sh.Reflection(lambda p: {"u": -p["u"]}, {"u": torch.tensor(2.0)})
    force = sh.escape_force(mirror, lambda p: (p["u"] - 2) ** 2, {"u": torch.tensor(5.0)})
    assert force == 6


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_state_that_is_not_finite_has_neither(bad):
    swap = sh.swap_reflection("u", "w")
    params = {"u": torch.tensor([bad, 1.0]), "w": torch.tensor([0.0, 1.0])}
    assert math.isnan(sh.degree_of_symmetry([swap], params))
    assert math.isnan(sh.escape_force(swap, lambda p: (p["u"] ** 2 * p["w"]).sum(), params))
