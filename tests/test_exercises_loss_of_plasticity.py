"""Checks of the chapter "Loss of plasticity": right answers pass, usual mistakes are told apart."""

import math

import pytest
import torch

from syre_helpers import exercises


def half_life(lr, weight_decay, momentum):
    return math.log(2) * (1 - momentum) / (lr * weight_decay)


def score(h):
    return h.abs().mean(0) / h.abs().mean()


def test_right_answers():
    assert exercises.check_loss_of_plasticity_half_life(half_life)
    assert exercises.check_loss_of_plasticity_half_life(lambda *a: round(half_life(*a)))
    assert exercises.check_loss_of_plasticity_dormant(lambda h, tau: score(h) <= tau)
    assert exercises.check_loss_of_plasticity_dormant(
        lambda h, tau: h.abs().mean(0) <= tau * h.abs().mean(0).mean()
    )
    assert exercises.check_loss_of_plasticity_carry_over(lambda w, p, q: w[:, p.argsort()[q]])
    assert exercises.check_loss_of_plasticity_carry_over(lambda w, p, q: w[:, p.argsort()][:, q])


@pytest.mark.parametrize(("lr", "decay", "momentum"), [(0.05, 0.01, 0.9), (0.02, 0.01, 0.5)])
def test_the_half_life_is_that_of_sgd(lr, decay, momentum):
    """Count the steps between a distance of 1/2 and 1/4, when the momentum is up to speed."""
    p = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    optimizer = torch.optim.SGD([p], lr=lr, momentum=momentum, weight_decay=decay)
    times = {}
    for step in range(10_000):
        for level in (0.5, 0.25):
            if p.item() <= level:
                times.setdefault(level, step)
        p.grad = torch.zeros_like(p)
        optimizer.step()
    assert times[0.25] - times[0.5] == pytest.approx(half_life(lr, decay, momentum), rel=0.06)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda lr, wd, mu: math.log(2) / (lr * wd), "leaves out"),
        (lambda lr, wd, mu: math.log(2) / (lr * wd * (1 - mu)), "shorter"),
        (lambda lr, wd, mu: (1 - mu) / (lr * wd), "1/e"),
        (lambda lr, wd, mu: half_life(lr, wd, mu) / 2, "2 gamma"),
        (lambda lr, wd, mu: math.log(2) * mu / (lr * wd), "1 + mu"),
        (lambda lr, wd, mu: 2 * half_life(lr, wd, mu), "too high"),
        (lambda lr, wd, mu: None, "end with a return"),
    ],
)
def test_wrong_half_lives(mistake, words):
    verdict = exercises.check_loss_of_plasticity_half_life(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda h, tau: h.mean(0) <= tau, "relative"),
        (lambda h, tau: h.abs().mean(0) <= tau, "relative"),
        (lambda h, tau: h.mean(0) / h.mean() <= tau, "negative"),
        (lambda h, tau: score(h) < tau, "at most"),
        (lambda h, tau: h.abs().mean(0) <= tau * h.abs().mean(0).max(), "largest"),
        (lambda h, tau: score(h) > tau, "not dormant"),
        (lambda h, tau: score(h), "which units"),
        (lambda h, tau: h.abs_().mean(0) <= tau, "work on a copy"),
    ],
)
def test_wrong_masks(mistake, words):
    verdict = exercises.check_loss_of_plasticity_dormant(mistake)
    assert not verdict
    assert words in verdict.message


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (lambda w, p, q: w[:, q], "original order"),
        (lambda w, p, q: w[:, p][:, q], "undone"),
        (lambda w, p, q: w[:, p.argsort()], "shuffles them by q"),
        (lambda w, p, q: w[:, q.argsort()[p]], "swapped"),
        (lambda w, p, q: w[:, q][:, p.argsort()], "first"),
        (lambda w, p, q: w[q], "IndexError"),
    ],
)
def test_wrong_weights(mistake, words):
    verdict = exercises.check_loss_of_plasticity_carry_over(mistake)
    assert not verdict
    assert words in verdict.message


def test_carried_over_weights_do_what_the_old_ones_did():
    torch.manual_seed(0)
    x, weight = torch.randn(7, 6), torch.randn(3, 6)
    p, q = torch.randperm(6), torch.randperm(6)

    def by_solving(weight, p, q):
        """Find the weights by least squares, without a thought about permutations."""
        x = torch.eye(weight.shape[1], dtype=weight.dtype)
        return torch.linalg.solve(x[:, q], x[:, p] @ weight.T).T

    assert exercises.check_loss_of_plasticity_carry_over(by_solving)
    new = by_solving(weight, p, q)
    torch.testing.assert_close(x[:, q] @ new.T, x[:, p] @ weight.T)


@pytest.mark.parametrize(
    "check",
    [
        exercises.check_loss_of_plasticity_half_life,
        exercises.check_loss_of_plasticity_dormant,
        exercises.check_loss_of_plasticity_carry_over,
    ],
)
def test_no_answer_and_wrong_kinds(check):
    assert "No answer yet" in check(...).message
    assert "text" in check("half").message
