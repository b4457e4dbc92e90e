"""Checks of the chapter "Identical units and supervised collapse"."""

import pytest
import torch

from syre_helpers import exercises


def parting(rows, i, j, weight_decay):
    return weight_decay * (rows[i] - rows[j]).norm() / 2**0.5


def used(x, weight, bias, y):
    left, values, right = torch.linalg.svd(x, full_matrices=False)

    def accuracy(k):
        logits = (left[:, :k] * values[:k]) @ right[:k] @ weight.T + bias
        return (logits.argmax(1) == y).double().mean()

    return next(k for k in range(len(values) + 1) if accuracy(k) >= accuracy(len(values)))


def without_bias(x, weight, bias, y):
    return used(x, weight, 0 * bias, y)


def smallest_first(x, weight, bias, y):
    left, values, right = (t.flip(-1) for t in torch.linalg.svd(x, full_matrices=False))
    right = right.flip(-1).flip(0)

    def accuracy(k):
        logits = (left[:, :k] * values[:k]) @ right[:k] @ weight.T + bias
        return (logits.argmax(1) == y).double().mean()

    return next(k for k in range(len(values) + 1) if accuracy(k) >= accuracy(len(values)))


def test_right_answers():
    assert exercises.check_identical_units_count(15)
    assert exercises.check_identical_units_count(torch.tensor(15))
    assert exercises.check_identical_units_parting(parting)
    assert exercises.check_identical_units_parting(lambda *a: parting(*a).item())
    assert exercises.check_identical_units_used(used)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (3, "outside"),
        (12, "one unit's worth"),
        (60, "paid for"),
        (48, "how many different"),
        (13, "three groups"),
        (0.25, "share"),
        (20, "too high"),
        (float("nan"), "NaN"),
    ],
)
def test_wrong_counts(answer, words):
    verdict = exercises.check_identical_units_count(answer)
    assert not verdict
    assert words in verdict.message
    assert "15" not in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda *a: parting(*a) * 2**0.5, "both halves"),
        (lambda *a: parting(*a) / 2**0.5, "one unit's half"),
        (lambda r, i, j, d: parting(r, i, j, 1), "missing"),
        (lambda *a: parting(*a) / 2, "halve"),
        (lambda r, i, j, d: d * (r[i] - r[j]).square().sum() / 2, "square"),
        (lambda r, i, j, d: d * r[i].norm(), "difference"),
        (lambda r, i, j, d: r[i].sub_(r[j]).norm(), "work on a copy"),
        (lambda r, i, j, d: None, "end with a return"),
        (lambda r, i, j, d: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_wrong_forces(mistake, words):
    verdict = exercises.check_identical_units_parting(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda x, weight, bias, y: torch.linalg.matrix_rank(x), "numerical rank"),
        (without_bias, "bias is missing"),
        (lambda x, weight, bias, y: len(weight), "number of classes"),
        (smallest_first, "largest directions"),
        (lambda *a: used(*a) - 1, "one too few"),
        (lambda *a: used(*a) + 1, "one too many"),
        (lambda x, weight, bias, y: x, "wrong"),
    ],
)
def test_wrong_directions(mistake, words):
    verdict = exercises.check_identical_units_used(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_identical_units_count,
        exercises.check_identical_units_parting,
        exercises.check_identical_units_used,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("many").message
