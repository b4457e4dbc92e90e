"""Checks of the chapter "When not to": right answers pass, usual mistakes are told apart."""

import pytest
import torch

from syre_helpers import exercises


def trapped(g, weight_decay):
    return int((g.abs() > weight_decay).sum())


def explained(plain, syre, control):
    return (control - plain).mean() / (syre - plain).mean()


def test_right_answers():
    assert exercises.check_when_not_to_share(0.05)
    assert exercises.check_when_not_to_trapped(trapped)
    assert exercises.check_when_not_to_explained(explained)
    assert exercises.check_when_not_to_explained(
        lambda plain, syre, control: (
            (control.mean() - plain.mean()) / (syre.mean() - plain.mean())
        ).item()
    )


def test_the_share_is_where_descent_comes_to_rest():
    w = torch.zeros((), dtype=torch.float64)
    for _ in range(500):
        w = w - 0.5 * (2 * 0.19 * w + 0.02 * (w - 1))
    assert exercises.check_when_not_to_share(w)


def test_trapped_pairs_are_those_with_a_falling_direction():
    """The smallest eigenvalue of the Hessian of c g + decay (u^2 + w^2) / 2 at u = w = 0."""

    def by_curvature(g, weight_decay):
        count = 0
        for slope in g.tolist():
            hessian = torch.tensor([[weight_decay, slope], [slope, weight_decay]])
            count += int(torch.linalg.eigvalsh(hessian.double())[0] < -1e-12)
        return count

    assert exercises.check_when_not_to_trapped(by_curvature)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (0.02 / 0.21, "second derivative"),
        (0.02 / 0.38, "denominator"),
        (0.95, "lost"),
        (0.01 / 0.39, "halved"),
        (0.02 / -0.36, "upwards"),
        (5, "per cent"),
        (0, "is left"),
        (0.5, "high"),
        (float("nan"), "NaN"),
    ],
)
def test_wrong_shares(answer, words):
    verdict = exercises.check_when_not_to_share(answer)
    assert not verdict
    assert words in verdict.message
    assert "0.05" not in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda g, d: (g > d).sum(), "negative slope"),
        (lambda g, d: (g < -d).sum(), "positive slope"),
        (lambda g, d: (g.abs() <= d).sum(), "optimum"),
        (lambda g, d: (g.abs() >= d).sum(), "curvature is zero"),
        (lambda g, d: (g.abs() > d / 2).sum(), "do not halve"),
        (lambda g, d: (g.abs() > 2 * d).sum(), "do not double"),
        (lambda g, d: (g != 0).sum(), "outweighed"),
        (lambda g, d: len(g), "Not every"),
        (lambda g, d: (g.abs() > d).double().mean(), "how many"),
        (lambda g, d: g.abs() > d, "no number"),
        (lambda g, d: 1 / 0, "ZeroDivisionError"),
        (lambda g, d: None, "end with a return"),
        (lambda g, d: (g.abs_() > d).sum(), "work on a copy"),
    ],
)
def test_wrong_counts(mistake, words):
    verdict = exercises.check_when_not_to_trapped(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda p, s, c: c.mean() / s.mean(), "gains over plain decay"),
        (lambda p, s, c: ((c - p) / (s - p)).mean(), "ratio of means"),
        (lambda p, s, c: (c - p) / (s - p), "One number"),
        (lambda p, s, c: (s - c).mean() / (s - p).mean(), "does not explain"),
        (lambda p, s, c: (c - p).mean(), "control's gain"),
        (lambda p, s, c: min(1.0, max(0.0, explained(p, s, c).item())), "cut it off"),
        (lambda p, s, c: s.mean() - p.mean(), "goes wrong"),
        (lambda p, s, c: None, "end with a return"),
    ],
)
def test_wrong_shares_of_the_gain(mistake, words):
    verdict = exercises.check_when_not_to_explained(mistake)
    assert not verdict
    assert words in verdict.message


def test_an_upside_down_share():
    # the control that does nothing has no such share, so the reader's function stops or is told
    verdict = exercises.check_when_not_to_explained(lambda p, s, c: (s - p).mean() / (c - p).mean())
    assert not verdict


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_when_not_to_share,
        exercises.check_when_not_to_trapped,
        exercises.check_when_not_to_explained,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("five").message
