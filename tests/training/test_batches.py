"""The order of batches, which recorded results depend on."""

import pytest
import torch

from syre_helpers.training.batches import Batches, BatchOrder, StackedOrder


def test_the_order_is_the_one_that_results_were_recorded_with():
    order = BatchOrder(10, 5, seed=1)
    assert [order.at(step).tolist() for step in range(4)] == [
        [4, 1, 8, 6, 3], [9, 5, 7, 2, 0],
        [3, 1, 4, 8, 5], [7, 9, 2, 6, 0],
    ]  # fmt: skip


def test_seeds_and_epochs_share_no_order():
    first = [BatchOrder(50, 50, seed).at(epoch).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(map(tuple, first))) == 4


def test_batches_cover_an_epoch_without_repeats():
    order = BatchOrder(10, 3, seed=1)
    epochs = [torch.cat([order.at(3 * e + k) for k in range(3)]) for e in range(2)]
    for epoch in epochs:
        assert len(set(epoch.tolist())) == 9
    assert epochs[0].tolist() != epochs[1].tolist()
    late = BatchOrder(10, 3, seed=1).at(4)
    assert late.tolist() == epochs[1][3:6].tolist(), "any step's batch is known by itself"


def test_stacked_batches_are_those_of_single_models():
    seeds = [5, 3, 5]
    stacked = StackedOrder(20, 6, seeds, torch.device("cpu"))
    single = [BatchOrder(20, 6, seed) for seed in seeds]
    for step in (0, 1, 2, 3, 7, 4):
        assert torch.equal(stacked.at(step), torch.stack([order.at(step) for order in single]))
    with pytest.raises(ValueError, match="batch_size=21"):
        BatchOrder(20, 21, 0)


def test_the_size_of_data_is_that_of_its_larger_part():
    def pair(n):
        return torch.zeros(n, 3, 4), torch.zeros(n)

    both = Batches((*pair(5), *pair(7)), torch.zeros(1), None)
    assert (both.samples, both.numbers) == (7, 7 * 12)
    alone = Batches((None, torch.zeros(5)), torch.zeros(1), None)
    assert (alone.samples, alone.numbers) == (5, 1)
    function = Batches(lambda step: pair(2), torch.zeros(1), None)
    assert (function.samples, function.numbers) == (1, 1)
