"""Checks of the chapter "Self-supervised collapse": right answers pass, mistakes are told apart."""

import math

import pytest
import torch

from syre_helpers import exercises


def missing(z, tolerance):
    values = torch.linalg.svdvals(z - z.mean(0))
    return 1 - (values > tolerance * values.max()).sum() / z.shape[1]


def test_right_answers():
    assert exercises.check_self_supervised_collapse_constant(math.log(63))
    assert exercises.check_self_supervised_collapse_constant(torch.tensor(4.143))
    assert exercises.check_self_supervised_collapse_missing(missing)
    assert exercises.check_self_supervised_collapse_missing(lambda *a: missing(*a).item())
    assert exercises.check_self_supervised_collapse_width(66)


def test_the_right_loss_is_what_the_library_computes():
    from syre_helpers.experiments.simclr import nt_xent

    z = torch.ones(64, 5, dtype=torch.float64)
    loss = nt_xent(z, torch.arange(64).roll(32), 0.2)
    assert exercises.check_self_supervised_collapse_constant(loss)


def test_the_right_width_is_the_first_with_a_null_vector():
    def survives(k):
        generator = torch.Generator().manual_seed(0)
        bias = torch.randn(k, 64 + 1, generator=generator, dtype=torch.float64)
        return k - torch.linalg.matrix_rank(bias) > 0

    first = next(k for k in range(2, 100) if survives(k))
    assert exercises.check_self_supervised_collapse_width(first)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (math.log(64), "own partner"),
        (math.log(32), "two views"),
        (math.log(31), "other views"),
        (math.log(62), "among those"),
        (63, "logarithm"),
        (math.log2(63), "bits"),
        (-math.log(63), "sign"),
        (0, "agreement"),
        (1.0, "too low"),
        (float("nan"), "NaN"),
    ],
)
def test_wrong_losses(answer, words):
    verdict = exercises.check_self_supervised_collapse_constant(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda z, t: uncentred(z, t), "Subtract the mean"),
        (lambda z, t: missing_of_rows(z, t), "over the rows"),
        (lambda z, t: 1 - missing(z, t), "that are there"),
        (lambda z, t: z.shape[1] * missing(z, t), "divide"),
        (lambda z, t: below(z, t).double().mean(), "too few singular values"),
        (
            lambda z, t: 1 - (torch.linalg.svdvals(z - z.mean(0)) > t).sum() / z.shape[1],
            "relative",
        ),
        (lambda z, t: z.sub_(z.mean(0)).sum(), "work on a copy"),
        (lambda z, t: None, "end with a return"),
        (lambda z, t: below(z, t), "number"),
        (lambda z, t: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_wrong_shares(mistake, words):
    verdict = exercises.check_self_supervised_collapse_missing(mistake)
    assert not verdict
    assert words in verdict.message


def uncentred(z, tolerance):
    values = torch.linalg.svdvals(z)
    return 1 - (values > tolerance * values.max()).sum() / z.shape[1]


def missing_of_rows(z, tolerance):
    values = torch.linalg.svdvals(z - z.mean(1, keepdim=True))
    return 1 - (values > tolerance * values.max()).sum() / z.shape[1]


def below(z, tolerance):
    values = torch.linalg.svdvals(z - z.mean(0))
    return values <= tolerance * values.max()


@pytest.mark.parametrize(
    ("answer", "words"),
    [(65, "bias too"), (64, "too many"), (67, "enough"), (129, "One factor"), (40, "too low")],
)
def test_wrong_widths(answer, words):
    verdict = exercises.check_self_supervised_collapse_width(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_self_supervised_collapse_constant,
        exercises.check_self_supervised_collapse_missing,
        exercises.check_self_supervised_collapse_width,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("many").message
