"""Linear probes and counts of directions against direct computations."""

import pytest
import torch
from torch.nn import functional

from syre_helpers import data
from syre_helpers.measures import missing_fraction, probe_accuracy, used_directions


def test_probe_is_ridge_regression_in_closed_form():
    split = data.digits(dtype=torch.float64)
    x, x_test = split.x_train[:, 20:40], split.x_test[:, 20:40]
    found = probe_accuracy(x, split.y_train, x_test, split.y_test, ridge=0.1)
    centred, target = x - x.mean(0), functional.one_hot(split.y_train).double()
    # Ridge regression is least squares with some more rows.
    root = (0.1 * centred.square().mean() * len(x)).sqrt()
    rows = torch.cat([centred, root * torch.eye(20)])
    targets = torch.cat([target - target.mean(0), torch.zeros(20, 10)])
    weights = torch.linalg.lstsq(rows, targets).solution
    predicted = ((x_test - x.mean(0)) @ weights + target.mean(0)).argmax(1)
    assert found.item() == pytest.approx((predicted == split.y_test).double().mean().item())


def test_probe_does_not_see_scale_and_rotation_and_bears_constant_features():
    split = data.digits()
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(64, 64, generator=generator))
    plain = probe_accuracy(*split)
    turned = probe_accuracy(
        5 * split.x_train @ turn, split.y_train, 5 * split.x_test @ turn, split.y_test
    )
    assert plain > 0.9
    assert abs(plain - turned) <= 1 / len(split.y_test)
    constant = probe_accuracy(
        torch.ones(len(split.y_train), 3), split.y_train, torch.ones(450, 3), split.y_test
    )
    assert 0.05 < constant < 0.15


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_missing_fraction_counts_directions_without_variance(rank):
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(50, rank, generator=generator)
    z = left @ torch.randn(rank, 6, generator=generator) + 100
    assert missing_fraction(z).item() == pytest.approx(1 - rank / 6)
    assert missing_fraction(torch.full((50, 6), 0.5)).item() == 1
    assert missing_fraction(torch.stack([z, z])).shape == (2,)


def test_used_directions_are_those_the_readout_needs():
    # Four classes in the plane, and twenty directions of noise that the readout hardly reads.
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(200) % 4
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    noise = 0.01 * torch.randn(200, 20, generator=generator)
    x = torch.cat([5 * corners[y], noise], 1)
    weight = torch.cat([corners, torch.randn(4, 20, generator=generator)], 1)
    assert used_directions(x, weight, torch.zeros(4), y) == 2
    # A bias that gets one class right needs no direction, if that is all there is.
    assert used_directions(x, torch.zeros_like(weight), torch.arange(4.0), y) == 0
    # The smallest direction may be the one that counts.
    last_one = torch.zeros(4, 22)
    last_one[:, -1] = torch.tensor([-1.0, 1.0, 0.0, 0.0])
    x[:, -1] = torch.where(y == 1, 1e-3, -1e-3)
    x[:, 2:-1] *= 10
    assert used_directions(x, last_one, torch.zeros(4), y) == torch.linalg.matrix_rank(x)


def test_a_direction_that_few_samples_need_is_within_the_tolerance():
    y = torch.arange(200) % 2
    x = torch.stack([4.0 * y - 2, torch.zeros(200)], 1)
    x[1] = torch.tensor([-2.0, 0.1])  # of class 1, as only the small direction tells
    weight, bias = torch.tensor([[0.0, 0.0], [1.0, 100.0]]), torch.zeros(2)
    assert used_directions(x, weight, bias, y) == 1
    assert used_directions(x, weight, bias, y, tolerance=0.001) == 2
