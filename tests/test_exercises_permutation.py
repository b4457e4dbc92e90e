"""Checks of the chapter on permutations: right answers pass, usual mistakes are told apart."""

import math

import pytest
import torch

from syre_helpers import exercises


def swap_second(p, i, j):
    order = torch.arange(4)
    order[[i, j]] = order[[j, i]]
    rows = {name: p[name][order] for name in ("2.weight", "2.bias")}
    return {**p, **rows, "4.weight": p["4.weight"][:, order]}


def without(*names):
    """The swap that forgets some tensors."""
    return lambda p, i, j: {**swap_second(p, i, j), **{name: p[name] for name in names}}


def swap_first(p, i, j):
    order = torch.arange(5)
    order[[i, j]] = order[[j, i]]
    rows = {name: p[name][order] for name in ("0.weight", "0.bias")}
    return {**p, **rows, "2.weight": p["2.weight"][:, order]}


def swap_in_place(p, i, j):
    p["2.bias"][[i, j]] = p["2.bias"][[j, i]]
    return p


def scaled(first, second):
    factors = torch.tensor([first, second, 1, 1], dtype=torch.float64)
    return lambda p: {**p, "2.weight": p["2.weight"] * factors}


def flipped(p):
    signs = torch.tensor([1, -1, 1, 1], dtype=torch.float64)
    return {
        **p,
        "0.weight": p["0.weight"] * signs[:, None],
        "0.bias": p["0.bias"] * signs,
        "2.weight": p["2.weight"] * signs,
    }


def in_place(p):
    p["2.weight"][:, 0] *= 2
    p["2.weight"][:, 1] *= 0
    return p


def test_right_answers():
    assert exercises.check_permutation_count((31, 2016))
    assert exercises.check_permutation_count(torch.tensor([31, 2016]))
    assert exercises.check_permutation_swap(swap_second)
    assert exercises.check_permutation_part_twins(scaled(1.5, 0.5))
    assert exercises.check_permutation_part_twins(scaled(2, 0))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((30, 2016), "bias"),
        ((21, 2016), "outgoing"),
        ((11, 2016), "incoming"),
        ((62, 2016), "still free"),
        ((2016, 31), "the rank comes first"),
        ((31, 64 * 63), "counted twice"),
        ((31, 64**2), "not swapped with itself"),
        ((31, 64), "each pair"),
        ((31, math.factorial(64)), "number of orders"),
        ((31, 100), "too low"),
        ((31, "many"), "text"),
        (31, "pair of numbers"),
        ((31, 2016, 1), "pair of numbers"),
    ],
)
def test_wrong_counts(answer, words):
    verdict = exercises.check_permutation_count(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("swap", "words"),
    [
        (lambda p, i, j: p, "Nothing"),
        (without("4.weight"), "matter of columns"),
        (without("2.bias"), "biases must be swapped"),
        (without("2.weight", "2.bias"), "incoming weights and biases"),
        (swap_first, "first hidden layer"),
        (swap_in_place, "work on a copy"),
        (lambda p, i, j: {"2.weight": p["2.weight"]}, "without '0.weight'"),
        (lambda p, i, j: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_wrong_swaps(swap, words):
    verdict = exercises.check_permutation_swap(swap)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (lambda p: p, "still identical"),
        (scaled(1.5, 1), "outputs change"),
        (lambda p: {n: v + 0.01 * torch.randn_like(v) for n, v in p.items()}, "outputs change"),
        (flipped, "mirror images"),
        (in_place, "work on a copy"),
        (lambda p: {"0.bias": p["0.bias"]}, "without '0.weight'"),
        (lambda p: {**p, "0.bias": p["0.bias"][:1]}, "shape"),
        (lambda p: p["2.weight"], "a mapping"),
        (lambda p: None, "returns nothing"),
        (lambda p: p["3.weight"], "KeyError"),
    ],
)
def test_wrong_partings(part, words):
    verdict = exercises.check_permutation_part_twins(part)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_permutation_count,
        exercises.check_permutation_swap,
        exercises.check_permutation_part_twins,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "No answer yet" in check(None).message
    assert "should be a" in check("thirty").message
    assert "should be a" in check(0.3).message
