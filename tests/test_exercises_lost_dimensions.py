"""Checks of the chapter "Lost dimensions": right answers pass, usual mistakes are told apart."""

import numpy as np
import pytest
import torch

from syre_helpers import exercises

count = exercises.check_lost_dimensions_count
optimizers = exercises.check_lost_dimensions_optimizers
smaller_unit = exercises.check_lost_dimensions_smaller_unit


def right_unit(w, a, k):
    phi_w, phi_a = k**0.5 * w, k**0.5 * a
    return (phi_w, phi_a), (phi_w / k**0.5, k**0.5 * phi_a)


def test_right_answers():
    assert count(265)
    assert count(torch.tensor(265))
    assert count(np.int64(265))
    assert optimizers({"a", "d"})
    assert optimizers(["D", "A"])
    assert smaller_unit(right_unit)
    assert smaller_unit(lambda w, a, k: [list(pair) for pair in right_unit(w, a, k)])


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (785, "of three twins count one"),
        (260, "biases of the outputs"),
        (520, "what is left"),
        (83, "ten groups"),
        (525, "two copies"),
        (255, "bias of its own"),
        (215, "outgoing weights"),
        (10, "several numbers"),
        (264, "low"),
    ],
)
def test_wrong_counts(answer, words):
    verdict = count(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"a", "b"}, "Adam divides"),
        ({"a", "c", "d"}, "sign is taken"),
        ({"a"}, "One number"),
        ({"d"}, "Sums and multiples"),
        ("a", "One number"),
        ({"e"}, "not among"),
    ],
)
def test_wrong_optimizers(answer, words):
    verdict = optimizers(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w, a, k: ((w, k * a), (w, k * a)), "k times faster"),
        (lambda w, a, k: ((w, a), (w, k * a)), "tied form"),
        (lambda w, a, k: ((w, a), (w, a)), "one twin alone"),
        (lambda w, a, k: (right_unit(w, a, k)[0], (w, a)), "work of all k twins"),
        (lambda w, a, k: right_unit(w, a, k)[:1] * 2, "directly"),
        (lambda w, a, k: ((k * w, k * a), (w, k * a)), "root of k"),
        (lambda w, a, k: (w, a, k), "2 are wanted"),
        (lambda w, a, k: w / 0 * k @ a @ a, "RuntimeError"),
        (lambda w, a, k: None, "return"),
    ],
)
def test_wrong_units(change, words):
    verdict = smaller_unit(change)
    assert not verdict
    assert words in verdict.message


def test_no_answer_and_wrong_kinds():
    for check in (count, optimizers, smaller_unit):
        assert "No answer yet" in check(...).message
    assert "text" in count("265").message
    assert "not among" in optimizers(3).message
    assert not smaller_unit(3)
