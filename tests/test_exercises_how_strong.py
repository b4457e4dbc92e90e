"""Checks of the chapter "How strong": right answers pass, usual mistakes are told apart."""

import math

import pytest
import torch

from syre_helpers import exercises


def weakest_swap(units):
    return torch.pdist(units).min() / 2**0.5


def with_loops(units):
    pairs = [(a - b).norm() / 2**0.5 for k, a in enumerate(units) for b in units[:k]]
    return min(pairs).item()


def test_right_answers():
    assert exercises.check_how_strong_extra_steps(math.log(100) / 0.1)
    assert exercises.check_how_strong_extra_steps(46)
    assert exercises.check_how_strong_weakest_swap(weakest_swap)
    assert exercises.check_how_strong_weakest_swap(with_loops)
    assert exercises.check_how_strong_planes(32 * 120 * 10**10)
    assert exercises.check_how_strong_planes(3.8e13)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (20, "natural"),
        (92.1, "factor 2"),
        (23, "hundred times"),
        (100, "through a logarithm"),
        (92, "factor 2"),
        (10, "low"),
    ],
)
def test_wrong_steps(answer, words):
    verdict = exercises.check_how_strong_extra_steps(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda units: torch.pdist(units).min(), "half of it into each"),
        (lambda units: torch.pdist(units).min() / 2, "counts both"),
        (lambda units: torch.cdist(units, units).min(), "to itself"),
        (lambda units: torch.cdist(units, units).min() / 2**0.5, "to itself"),
        (lambda units: torch.pdist(units).max() / 2**0.5, "strongest"),
        (lambda units: units.norm(dim=1).min(), "sign flip"),
        (lambda units: torch.pdist(units) / 2**0.5, "no number"),
        (lambda units: units.nothing, "AttributeError"),
    ],
)
def test_wrong_functions(function, words):
    verdict = exercises.check_how_strong_weakest_swap(function)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (1e10, "volume of the ball"),
        (2.6e-14, "probability"),
        (32 * 24 * 1e10, "5!, which"),
        (32 * 720 * 1e10, "not 6!"),
        (2**10 * math.factorial(10) * 1e10, "r/2"),
        (8.8e6, "number of units"),
        (1e20, "high"),
    ],
)
def test_wrong_planes(answer, words):
    verdict = exercises.check_how_strong_planes(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_how_strong_extra_steps,
        exercises.check_how_strong_weakest_swap,
        exercises.check_how_strong_planes,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("ten").message
