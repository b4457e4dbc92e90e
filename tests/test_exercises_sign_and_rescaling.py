"""Checks of the chapter on sign flips: right answers pass, usual mistakes are told apart."""

import pytest
import torch

from syre_helpers import exercises


def balance(u, w):
    size = (u * w).abs().sqrt()
    return u.sign() * size, w.sign() * size


def scaled(u, w):
    """The same by way of the factor a of the rescaling; undefined where u = 0."""
    a = (w / u).abs().sqrt()
    return a * u, w / a


def test_right_answers():
    assert exercises.check_sign_and_rescaling_rank(22)
    assert exercises.check_sign_and_rescaling_rank(torch.tensor(22))
    assert exercises.check_sign_and_rescaling_balance(balance)
    assert exercises.check_sign_and_rescaling_balance(lambda u, w: list(balance(u, w)))
    assert exercises.check_sign_and_rescaling_trapped(lambda g, d: abs(g) > d)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (26, "outgoing weights stay"),
        (27, "already make two minus signs"),
        (20, "bias is negated"),
        (21, "back behind it"),
        (23, "running mean"),
        (0, "even a ReLU unit"),
        (100, "too high"),
    ],
)
def test_wrong_ranks(answer, words):
    verdict = exercises.check_sign_and_rescaling_rank(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda u, w: (u, w), "as they are"),
        (lambda u, w: ((u * w).abs().sqrt(), (u * w).abs().sqrt()), "Both of your factors"),
        (lambda u, w: ((u * w).sqrt(), (u * w).sqrt()), "root of its size"),
        (lambda u, w: (u.sign() * (u * w).abs(), w.sign() * (u * w).abs()), "root is missing"),
        (lambda u, w: (u.sign() * (u * w).abs().sqrt(), (u * w).abs().sqrt()), "its sign"),
        (
            lambda u, w: (
                u.sign() * (u.abs() + w.abs()) / 2,
                w.sign() * (u.abs() + w.abs()) / 2,
            ),
            "which mean",
        ),
        (scaled, "product 0"),
        (lambda u, w: balance(u, w)[0], "values are wanted"),
        (lambda u, w: None, "return"),
    ],
)
def test_wrong_balances(change, words):
    verdict = exercises.check_sign_and_rescaling_balance(change)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda g, d: g > d, "negative gradient"),
        (lambda g, d: g.abs() > 2 * d, "double"),
        (lambda g, d: g.abs() > d / 2, "halve"),
        (lambda g, d: g.abs() <= d, "wants dead"),
        (lambda g, d: g != 0, "loses against decay"),
        (lambda g, d: bool((g.abs() > d).any()), "tensor is wanted"),
    ],
)
def test_wrong_rules(rule, words):
    verdict = exercises.check_sign_and_rescaling_trapped(rule)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_sign_and_rescaling_rank,
        exercises.check_sign_and_rescaling_balance,
        exercises.check_sign_and_rescaling_trapped,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("a tenth").message
