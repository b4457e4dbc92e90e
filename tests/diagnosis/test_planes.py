"""Distances, rates and forces of pairs, against finite steps, closed forms and `Reflection`."""

import math

import pytest
import torch
from torch.nn import functional

import syre_helpers as sh
from small_faults import batch, make_twins, mlp, state_of, units_of
from syre_helpers.diagnosis import pair_rates
from syre_helpers.diagnosis.planes import NEAR, Decay, nearest_planes

ALL = torch.arange(12)


def gradient_of(model, data):
    loss = functional.cross_entropy(model(data[0]), data[1])
    names, params = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, params), strict=True))


def apart(units, state, i, j):
    """The distance of two units, from their rows."""
    return math.sqrt(
        sum(float((rows[i] - rows[j]).square().sum()) for _, rows in units.rows(state))
    )


def test_rates_are_those_of_a_small_step():
    """The logarithm of the distance of every pair, before and after a step of gradient descent."""
    model = mlp()
    units, state, gradient = units_of(model), state_of(model), gradient_of(model, batch(model))
    rates, lr, decay = pair_rates(units, state, gradient), 1e-6, 0.3
    assert rates.diagonal().isnan().all()
    torch.testing.assert_close(rates, rates.T, equal_nan=True)
    stepped = {name: p - lr * (gradient[name] + decay * p) for name, p in state.items()}
    for i in range(12):
        for j in range(i):
            change = math.log(apart(units, stepped, i, j) / apart(units, state, i, j)) / lr
            assert change == pytest.approx(float(rates[i, j]) - decay, rel=1e-3, abs=1e-4)


def test_the_rate_of_the_nearest_pair_under_syre_is_that_of_a_small_step():
    model, lr = mlp(), 1e-6
    units, state, gradient = units_of(model), state_of(model), gradient_of(model, batch(model))
    pull = sh.Syre(0.3, sigma_ratio=1.0).pull(state)
    found = nearest_planes(units, state, ALL, gradient, Decay(0.3, pull.centre)).nearest
    stepped = {
        name: p - lr * (gradient[name] + 0.3 * (p - pull.centre[name])) for name, p in state.items()
    }
    change = math.log(apart(units, stepped, *found.units) / apart(units, state, *found.units)) / lr
    assert found.rate == pytest.approx(change, rel=1e-3)


def test_the_nearest_pair_is_found_by_its_distance():
    model = mlp()
    make_twins(model, [(3, 7)])
    with torch.no_grad():
        model[0].weight[7] += 0.01
    units, state = units_of(model), state_of(model)
    planes = nearest_planes(units, state, ALL)
    size = math.sqrt(sum(float(rows[[3, 7]].square().sum()) for _, rows in units.rows(state)))
    assert planes.nearest.units == (3, 7)
    assert planes.nearest.distance == pytest.approx(0.01 * math.sqrt(8) / size)
    assert planes.near == 2
    assert planes.null > 5 * planes.nearest.distance
    # It is that of the mirror plane, up to a factor.
    swap = sh.permutation_reflection(model, "0", 3, 7)
    assert planes.nearest.distance * size == pytest.approx(math.sqrt(2) * swap.distance(state))
    assert math.isnan(planes.attracting)
    assert planes.closing is None, "whether a pair attracts takes a gradient"


def test_random_units_are_as_near_as_shuffled_ones():
    model = mlp(widths=(40, 30, 40))
    planes = nearest_planes(units_of(model), state_of(model), torch.arange(30))
    assert planes.nearest.distance == pytest.approx(planes.null, rel=0.15)
    assert planes.nearest.distance > 5 * NEAR


def test_exact_twins_are_grouped_and_the_dead_are_not_counted():
    model = mlp()
    make_twins(model, [(0, 4, 5), (2, 9)])
    units, state = units_of(model), state_of(model)
    assert nearest_planes(units, state, ALL).groups == ((0, 4, 5), (2, 9))
    assert nearest_planes(units, state, torch.tensor([1, 2, 3, 5, 9])).groups == ((2, 9),)
    planes = nearest_planes(units, state, ALL, gradient_of(model, batch(model)), Decay(0.0, {}))
    assert math.isnan(planes.nearest.rate)
    assert planes.closing is None, "what is on a plane is not on its way there"


def test_the_force_under_syre_is_the_escape_force_on_the_plane():
    model = mlp()
    make_twins(model, [(0, 4)])
    units, state = units_of(model), state_of(model)
    syre = sh.Syre(0.5, sigma_ratio=0.3)
    decay = Decay(0.5, syre.pull(state).centre)
    x, y = batch(model)

    def regularised(params):
        loss = functional.cross_entropy(torch.func.functional_call(model, params, (x,)), y)
        return loss + syre.pull(params).penalty(params)

    swap = sh.permutation_reflection(model, "0", 0, 4)
    expected = sh.escape_force(swap, regularised, state)
    found = nearest_planes(units, state, ALL, None, decay).nearest
    assert found.units == (0, 4)
    assert found.force == pytest.approx(expected, rel=1e-6)


def test_a_pair_comes_to_rest_where_it_is_said_to():
    """Under a loss that draws two units together with a known stiffness, and syre."""
    model, stiffness, decay = mlp(), 3.0, 0.5
    units, state = units_of(model), state_of(model)
    centre = sh.Syre(decay, sigma_ratio=0.3).pull(state).centre
    mean = {part.tensor: part.rows(state[part.tensor]).mean(0) for part in units.trained}
    # All units are drawn to their mean: H = stiffness across every plane.
    gradient, rest = {}, {}
    for part in units.trained:
        tensor, axis = state[part.tensor], part.axis
        middle = mean[part.tensor].reshape(tensor.movedim(axis, 0)[:1].shape).movedim(0, axis)
        gradient[part.tensor] = stiffness * (tensor - middle)
        rest[part.tensor] = (stiffness * middle + decay * centre[part.tensor]) / (stiffness + decay)
    planes = nearest_planes(units, state, ALL, gradient, Decay(decay, centre))
    i, j = planes.nearest.units
    assert planes.nearest.rate_of_loss == pytest.approx(-stiffness)
    size = math.sqrt(sum(float(rows[[i, j]].square().sum()) for _, rows in units.rows(state)))
    assert planes.nearest.rest == pytest.approx(apart(units, rest, i, j) / size)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_not_finite_has_no_planes(wrong):
    model = mlp()
    with torch.no_grad():
        model[2].weight[0, 3] = wrong
    planes = nearest_planes(units_of(model), state_of(model), ALL)
    assert planes.nearest is None
    assert planes.groups == ()
    assert math.isnan(planes.null)
