"""Checks of the chapter "Ignored features": right answers pass, usual mistakes are told apart."""

import pytest
import torch

from syre_helpers import exercises


def visible(gradient, reflect):
    return (gradient + reflect(gradient)) / 2


def test_right_answers():
    assert exercises.check_ignored_features_rank(57)
    assert exercises.check_ignored_features_rank(torch.tensor(57))
    assert exercises.check_ignored_features_visible(visible)
    assert exercises.check_ignored_features_sigmoid(91)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (56, "output has a bias"),
        (140, "all twenty"),
        (141, "all twenty"),
        (63, "identical"),
        (64, "identical"),
        (84, "not alive"),
        (49, "outgoing weight"),
        (30, "too low"),
    ],
)
def test_wrong_ranks(answer, words):
    verdict = exercises.check_ignored_features_rank(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g, reflect: (g - reflect(g)) / 2, "part that vanishes"),
        (lambda g, reflect: reflect(g), "mirror image"),
        (lambda g, reflect: g, "nothing is masked"),
        (lambda g, reflect: g + reflect(g), "twice"),
        (lambda g, reflect: g * 0, "goes wrong for a sign flip"),
        (lambda g, reflect: reflect @ g, "TypeError"),
        (lambda g, reflect: (g + reflect(g))[:1], "shape"),
    ],
)
def test_wrong_masks(change, words):
    verdict = exercises.check_ignored_features_visible(change)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [(90, "dead units"), (99, "outgoing weight 0"), (120, "same for all"), (360, "usual start")],
)
def test_wrong_sigmoid_ranks(answer, words):
    verdict = exercises.check_ignored_features_sigmoid(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_ignored_features_rank,
        exercises.check_ignored_features_visible,
        exercises.check_ignored_features_sigmoid,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("many").message
