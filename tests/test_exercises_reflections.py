"""Checks of the chapter on reflections: right answers pass, usual mistakes are told apart."""

import math

import pytest
import torch

import syre_helpers as sh
from syre_helpers import exercises

THREE = {"w": torch.tensor(3.0, dtype=torch.float64)}


def sign(p):
    return {"u": -p["u"], "w": -p["w"]}


def swap(p):
    return {"u": p["w"], "w": p["u"]}


def factor(u, w, lr, gamma):
    a = 2 * (u * w - 1)
    return (1 - 2 * lr * gamma + lr * a) * (1 - 2 * lr * gamma - lr * a)


def test_right_answers():
    assert exercises.check_reflections_which(["b", "c", "d"])
    assert exercises.check_reflections_which({"D", "C", "B"})
    assert exercises.check_reflections_centre(sh.Reflection(sign, THREE))
    assert exercises.check_reflections_centre(
        sh.Reflection(sh.pair_sign_reflection("u", "w"), {"w": torch.tensor(3.0)})
    )
    assert exercises.check_reflections_step_factor(factor)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("abcd", "not among the choices"),
        (["a", "b", "c", "d"], "turns by half"),
        (["b", "c", "d", "e"], "e undoes nothing"),
        (["c", "d"], "What about b"),
        (["b", "d"], "What about c"),
        (["b", "c"], "two half turns"),
    ],
)
def test_wrong_choices(answer, words):
    verdict = exercises.check_reflections_which(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (sh.Reflection(sign), "stands at the origin"),
        (sh.Reflection(sign, {"w": torch.tensor(-3.0)}), "at another place"),
        (sh.Reflection(lambda p: {"u": -p["u"], "w": p["w"]}, THREE), "flip both"),
        (sh.Reflection(swap, THREE), "of rank 1"),
        (sh.Reflection(lambda p: {"u": p["w"], "w": -p["u"]}, THREE), "does not give"),
        (sh.Reflection(lambda p: {"u": p["v"]}), "Your reflection stops: ValueError"),
        (sign, "it is of type function"),
    ],
)
def test_wrong_mirrors(answer, words):
    verdict = exercises.check_reflections_centre(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda u, w, lr, gamma: 1 - 4 * lr * gamma, "first order"),
        (lambda u, w, lr, gamma: math.exp(-4 * lr * gamma), "gradient flow"),
        (lambda u, w, lr, gamma: (1 - 2 * lr * gamma) ** 2, "leaves their square"),
        (
            lambda u, w, lr, gamma: (1 - 2 * lr * gamma) ** 2 - (lr * (u * w - 1)) ** 2,
            "a holds a 2",
        ),
        (
            lambda u, w, lr, gamma: (1 - 2 * lr * gamma) ** 2 + (2 * lr * (u * w - 1)) ** 2,
            "check the signs",
        ),
        (lambda u, w, lr, gamma: 0.5, "goes wrong"),
        (lambda u, w: 0.5, "TypeError"),
        (lambda u, w, lr, gamma: None, "replace the …"),
    ],
)
def test_wrong_factors(change, words):
    verdict = exercises.check_reflections_step_factor(change)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_reflections_which,
        exercises.check_reflections_centre,
        exercises.check_reflections_step_factor,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "No answer yet" in check(None).message
    assert not check("a quarter turn")
    assert not check(0.3)
