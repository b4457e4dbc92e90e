"""Checks of the chapter on rotation: right answers pass, usual mistakes are told apart."""

import pytest
import torch

from syre_helpers import exercises


def nearest_plane(left, right):
    return torch.linalg.svd(torch.cat([left, right.T]))[2][-1]


def by_eigenvectors(left, right):
    return torch.linalg.eigh(left.T @ left + right @ right.T)[1][:, 0]


def test_right_answers():
    assert exercises.check_rotation_rank(130)
    assert exercises.check_rotation_nuclear_norm(6)
    assert exercises.check_rotation_nuclear_norm(torch.tensor(6.0))
    assert exercises.check_rotation_nearest_plane(nearest_plane)
    assert exercises.check_rotation_nearest_plane(lambda u, v: -nearest_plane(u, v))
    assert exercises.check_rotation_nearest_plane(by_eigenvectors)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (128, "biases turn along"),
        (64, "both count"),
        (65, "one of the two"),
        (129, "one on the keys"),
        (16, "feature by feature"),
        (8, "not what one costs"),
        (1024, "all the weights"),
        (1040, "all parameters"),
        (7, "too low"),
    ],
)
def test_wrong_ranks(answer, words):
    verdict = exercises.check_rotation_rank(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (9.4, "nuclear norm of M"),
        (3.5, "weighs twice"),
        (4, "largest singular value"),
        (3, "the rank"),
        (1, "decay lowers less"),
        (7.5, "do not halve"),
        (5.4, "negative"),
        (18.5, "squares"),
        (100, "too high"),
    ],
)
def test_wrong_nuclear_norms(answer, words):
    verdict = exercises.check_rotation_nuclear_norm(answer)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda u, v: torch.linalg.svd(u)[2][-1], "left factor only"),
        (lambda u, v: torch.linalg.svd(v.T)[2][-1], "right factor only"),
        (lambda u, v: torch.linalg.svd(torch.cat([u, v.T]))[2][0], "farthest"),
        (lambda u, v: torch.linalg.svd(torch.cat([u, v.T]))[2][:, -1], "rows"),
        (lambda u, v: torch.linalg.svd(torch.cat([u, v.T]))[0][:, -1], "shape (4,)"),
        (lambda u, v: 2 * nearest_plane(u, v), "length 1"),
        (lambda u, v: nearest_plane(u, v).tolist(), "got list"),
        (lambda u, v: torch.cat([u, v]), "RuntimeError"),
        (lambda u, v: torch.eye(4).double()[0], "wrong"),
        (lambda u, v: None, "return"),
    ],
)
def test_wrong_planes(change, words):
    verdict = exercises.check_rotation_nearest_plane(change)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_rotation_rank,
        exercises.check_rotation_nuclear_norm,
        exercises.check_rotation_nearest_plane,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("a tenth").message
