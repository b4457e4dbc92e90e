"""Tracing: without needless operations, to the same bits."""

import pytest
import torch

from syre_helpers.training.stacked.trace import draws_random_numbers, trace


def needless(a, b, c):
    same = a.transpose(0, 1).transpose(-1, -2).expand(3, 3) - b
    again = a - b
    once_more = torch.mul(again, 2.0) + torch.mul(same, 2.0)
    return [once_more * c + a, again.sum() * 1.5, (a @ b).view(3, 3) - a.t()]


def still_needed(a, b, c):
    first = a + b
    second = first * 2  # `first` is a result too
    third = a * b
    return [first, second, third + 1, third[0], second - first.sum()]


def in_place(a, b, c):
    twice = a * 1.0
    kept = twice + 0
    twice.add_(1)
    return [twice + 0, kept]


@pytest.mark.parametrize("function", [needless, still_needed, in_place])
def test_what_is_traced_gives_the_same_bits_and_changes_no_argument(function):
    tensors = [torch.randn(3, 3), torch.randn(3, 3), torch.randn(3, 1)]
    before = [t.clone() for t in tensors]
    traced = trace(function, tensors)
    for _ in range(2):
        for value, expected in zip(traced(*tensors), function(*before), strict=True):
            assert torch.equal(value, expected)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_what_changes_nothing_or_is_done_already_is_left_out():
    traced = trace(needless, [torch.randn(3, 3), torch.randn(3, 3), torch.randn(3, 1)])
    targets = [str(node.target) for node in traced.graph.nodes]
    assert sum(target.startswith(("aten.sub", "aten.sub_")) for target in targets) == 2
    assert not any("expand" in target or "view" in target for target in targets)


def test_random_numbers_are_drawn_each_time_and_apart():
    state = torch.get_rng_state()
    traced = trace(lambda a: [torch.rand_like(a), torch.rand_like(a)], [torch.zeros(5)])
    assert torch.equal(state, torch.get_rng_state()), "a trial draws nothing"
    assert draws_random_numbers(traced)
    one, other = traced(torch.zeros(5))
    assert not torch.equal(one, other)
    assert not torch.equal(traced(torch.zeros(5))[0], one)
    assert not draws_random_numbers(trace(lambda a: [a + 1], [torch.zeros(5)]))
