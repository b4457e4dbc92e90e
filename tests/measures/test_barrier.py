"""The loss barrier of functions where it is known, and BatchNorm statistics made anew."""

import math

import pytest
import torch
from torch import nn

import syre_helpers as sh
from syre_helpers.measures import reset_statistics


def test_loss_barrier():
    a, b = {"w": torch.tensor([-1.0])}, {"w": torch.tensor([1.0])}
    # A double well with minima at +-1 and height 1 between; a bowl has no barrier.
    assert sh.loss_barrier(lambda p: (p["w"] ** 2 - 1).square().sum(), a, b) == pytest.approx(1)
    assert sh.loss_barrier(lambda p: p["w"].square().sum(), a, b) == 0
    # The barrier is measured against the line between the ends, not against 0.
    tilted = sh.loss_barrier(lambda p: ((p["w"] ** 2 - 1) ** 2 + 5 * p["w"] + 9).sum(), a, b)
    assert tilted == pytest.approx(1)


def test_loss_barrier_resets_statistics():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1))
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    ends = [{n: t.detach().clone() for n, t in state.items()} for _ in range(2)]
    seen = []

    def reset(params):
        seen.append(params["1.num_batches_tracked"].dtype)
        return {**params, "1.running_mean": torch.full((3,), 7.0)}

    barrier = sh.loss_barrier(lambda p: p["1.running_mean"].sum(), *ends, points=5, reset=reset)
    assert barrier == 0
    assert seen == [torch.int64] * 5


def test_statistics_are_those_of_the_state_and_of_all_inputs():
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    before = {name: p.detach().clone() for name, p in model.state_dict().items()}
    given = {n: 2 * p if p.is_floating_point() else p for n, p in before.items()}
    hidden = x @ given["0.weight"].T + given["0.bias"]
    for batch_size in (1000, 100):
        found = reset_statistics(model, x, batch_size)(given)
        torch.testing.assert_close(found["1.running_mean"], hidden.mean(0))
        variances = torch.stack([part.var(0) for part in hidden.split(batch_size)])
        torch.testing.assert_close(found["1.running_var"], variances.mean(0))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), "the model is left alone"
    assert torch.equal(found["0.weight"], given["0.weight"])
    assert reset_statistics(nn.Linear(3, 2), x) is None


@pytest.mark.parametrize("where", [-1.0, 0.0, 1.0])
def test_a_loss_that_is_not_finite_has_no_barrier(where):
    ends = {"w": torch.tensor([-1.0])}, {"w": torch.tensor([1.0])}

    def loss(p):
        return torch.where(p["w"] == where, math.nan, p["w"].square()).sum()

    assert math.isnan(sh.loss_barrier(loss, *ends))
