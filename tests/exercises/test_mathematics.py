"""The right answers are right: found in another way, by search, by simulation or by the library."""

import itertools
import math

import numpy as np
import pytest
import torch

from found_answers import FOUND, FUNCTIONS
from syre_helpers import exercises
from syre_helpers.experiments import linear_vae
from syre_helpers.experiments.simclr import nt_xent
from syre_helpers.models.attention import turned_by_place


def steps_until(done, step, state):
    """Return after how many steps a state is done."""
    count = 0
    while not done(state):
        state, count = step(state), count + 1
    return count


def first_width_with_a_null_vector():
    """Return from which width on a random bias of 64 + 1 columns leaves a direction alone."""
    generator = torch.Generator().manual_seed(0)
    bias = torch.randn(100, 65, generator=generator, dtype=torch.float64)
    return next(k for k in range(2, 100) if torch.linalg.matrix_rank(bias[:k]) < k)


def later_escape():
    """Return by how many steps U = u w leaves its saddle later, from 100 times nearer."""
    near, far = (
        steps_until(lambda u: u > 0.5, lambda u: u + 2 * 0.05 * u * (1 - u), start)
        for start in (1e-8, 1e-6)
    )
    return near - far


def longer_wait(decay=0.5, lr=0.05):
    """Return by how many steps W of W W^T learns a target of 1 later, after 1000 more of decay."""
    late, early = (
        steps_until(
            lambda w: w > 0.6,
            lambda w: w - lr * (2 * w * (w * w - 1) + decay * w),
            0.01 * (1 - lr * decay) ** first,
        )
        for first in (1500, 500)
    )
    return late - early


def steps_of_sgd(left, lr, weight_decay, momentum):
    """Return after how many steps a share of the distance to the centre is left."""

    def step(state):
        p, velocity = state
        velocity = momentum * velocity + weight_decay * p
        return p - lr * velocity, velocity

    return steps_until(lambda state: state[0] <= left, step, (1.0, 0.0))


def share_at_rest():
    w = torch.zeros((), dtype=torch.float64)
    for _ in range(500):
        w = w - 0.5 * (2 * 0.19 * w + 0.02 * (w - 1))
    return w


def best_share_by_search(q):
    s = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    return s[(q * (1 - s) ** 2 + s**2).argmin()].item()


def order_by_search(w, t):
    orders = [list(order) for order in itertools.permutations(range(len(w)))]
    return min(orders, key=lambda order: (w[order] - t).square().sum().item())


def weights_by_solving(weight, p, q):
    """Find the weights by least squares, without a thought about permutations."""
    x = torch.eye(weight.shape[1], dtype=weight.dtype)
    return torch.linalg.solve(x[:, q], x[:, p] @ weight.T).T


def vae_loss(variances, latents, beta):
    error, kl = linear_vae.oracle(variances, latents, beta)
    return error / 2 + beta * kl


def trapped_by_loss(variances, latents, dead, beta):
    """Return the number of latents to add until the loss falls no further."""
    best = vae_loss(variances, latents, beta)
    return min(k for k in range(dead + 1) if vae_loss(variances, latents - dead + k, beta) <= best)


def trapped_by_curvature(g, weight_decay):
    """Count the Hessians of c g + decay (u^2 + w^2) / 2 at u = w = 0 with a falling direction."""
    hessians = torch.diag_embed(torch.full((len(g), 2), weight_decay, dtype=g.dtype))
    hessians[:, 0, 1] = hessians[:, 1, 0] = g
    return int((torch.linalg.eigvalsh(hessians)[:, 0] < -1e-12).sum())


def survivor_by_projection(U_0, V_0):
    """Project a vector on what is orthogonal to all rows of S."""
    stacked = torch.cat([U_0, V_0.T])
    n = torch.ones(U_0.shape[1], dtype=U_0.dtype)
    n = n - torch.linalg.pinv(stacked) @ (stacked @ n)
    return -n / n.norm()


def quiet_place_by_constraints(n, theta_0, D):
    """Return the shortest solution of n . p = 0 and (D n) . p = n . (D theta_0)."""
    return torch.linalg.pinv(torch.stack([n, D * n])) @ torch.stack([0 * n[0], n @ (D * theta_0)])


def weakest_swap_with_loops(units):
    return min((a - b).norm() / 2**0.5 for k, a in enumerate(units) for b in units[:k]).item()


def ridge_by_descent(x, y, gamma, theta_0, xi):
    p = theta_0.clone()
    for _ in range(4000):
        p = p - 0.1 * (x.T @ (x @ p - y) / len(x) + gamma * (1 + xi) * (p - theta_0))
    return p


def factor_by_a_step(u, w, lr, gamma):
    u, w = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (u, w))
    loss = (u * w - 1) ** 2 + gamma * (u**2 + w**2)
    moved = [p - lr * g for p, g in zip((u, w), torch.autograd.grad(loss, (u, w)), strict=True)]
    return (moved[0] ** 2 - moved[1] ** 2) / (u**2 - w**2)


def change_by_definition(p, P, c, theta_0, gamma):
    """Return the change of the penalty when p is reflected."""
    mirrored = p - 2 * P @ (p - c)
    return gamma * ((mirrored - theta_0).square().sum() - (p - theta_0).square().sum())


def distance_of_the_saddle(curvature=-0.3, decay=0.1, theta_0=0.02):
    """Find by bisection where the slope of the loss with its penalty is zero."""
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        falls = curvature * middle + decay * (middle - theta_0) < 0
        low, high = (low, middle) if falls else (middle, high)
    return abs(low)


def shrunk_to(left, lr, decay):
    """Return after how many steps a weight without gradient is that small: as SGD has it."""
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=lr * 100, weight_decay=decay)  # 100 steps in one

    def step(weight):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        return weight

    return 100 * steps_until(lambda weight: weight.item() <= left, step, weight)


def most_images_counted():
    """Return for how many rows `matrix_rank` still counts singular values of 1e-4, by search."""

    def counted(rows):
        x = torch.zeros(rows, 4)
        x.fill_diagonal_(1e-4)
        x[0, 0] = 1
        return torch.linalg.matrix_rank(x) == 4

    few, many = 5, 5000
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if counted(middle) else (few, middle)
    return few


def bias_at_zero(bias=-7.0, centre=0.01, lr=0.1, decay=1e-4, at_once=1000):
    """Return after how many steps a pull without gradient has brought a bias to zero."""
    rate = lr * decay * at_once
    return at_once * steps_until(lambda p: p >= 0, lambda p: p - rate * (p - centre), bias)


def flips_that_turning_keeps(size=8):
    """Count the flips that keep the scores of a small head, and return those of 48 heads of 64."""
    query, key = torch.randn(2, 3, size, dtype=torch.float64)
    before = turned_by_place(query) @ turned_by_place(key).T
    kept = 0
    for signs in itertools.product((1.0, -1.0), repeat=size):
        flip = torch.tensor(signs, dtype=torch.float64)
        after = turned_by_place(query * flip) @ turned_by_place(key * flip).T
        kept += torch.allclose(before, after)
    return 6 * 8 * (64 // size) * round(math.log2(kept))


def nearest_by_eigenvectors(left, right, rank):
    """Project the product on the leading eigenvectors of its rows' Gram matrix."""
    product = left.T @ right
    vectors = torch.linalg.eigh(product @ product.T)[1].flip(1)[:, :rank]
    return vectors @ vectors.T @ product


ANSWERS = {
    "continuous_symmetries_survivor": survivor_by_projection,
    "continuous_symmetries_quiet_place": quiet_place_by_constraints,
    "dead_neurons_best_share": best_share_by_search,
    "does_it_happen_gate": lambda bias, gain: torch.where(
        gain > 0, -bias / gain, bias / gain
    ),  # where the size of the standardised value makes it zero
    "does_it_happen_shrinking": shrunk_to(1e-8, 0.1, 0.002),
    "how_strong_extra_steps": later_escape(),
    "how_strong_weakest_swap": weakest_swap_with_loops,
    "how_strong_planes": 3.8e13,
    "loss_of_plasticity_carry_over": weights_by_solving,
    "loss_of_plasticity_half_life": lambda lr, wd, mu: round(math.log(2) * (1 - mu) / (lr * wd)),
    "mode_connectivity_forgetting": steps_of_sgd(0.01, 0.05, 0.002, 0.9),
    "mode_connectivity_order": order_by_search,
    "permutation_count": torch.tensor([31, 64 * 63 // 2]),
    "permutation_part_twins": lambda p: {
        **p,
        "2.weight": p["2.weight"] * torch.tensor([2, 0, 1, 1]),
    },
    "posterior_collapse_error": linear_vae.oracle([9, 4, 2, 0.5], 3, 3)[0],
    "posterior_collapse_price": lambda variance, beta: variance / 2 - vae_loss([variance], 1, beta),
    "posterior_collapse_trapped": trapped_by_loss,
    "reflections_step_factor": factor_by_a_step,
    "reinforcement_learning_return": lambda p: 8 if p == 1 else p * (1 - p**8) / (1 - p),
    "reinforcement_learning_noise": lambda std, lr, wd, n: std ** math.exp(-lr * wd * n),
    "rotation_nearest_plane": lambda u, v: -torch.linalg.eigh(u.T @ u + v @ v.T)[1][:, 0],
    "self_supervised_collapse_constant": nt_xent(
        torch.ones(64, 5, dtype=torch.float64), torch.arange(64).roll(32), 0.2
    ),
    "self_supervised_collapse_width": first_width_with_a_null_vector(),
    "supervised_collapse_images": most_images_counted(),
    "syre_longer_wait": longer_wait(),
    "transformers_flips": flips_that_turning_keeps(),
    "transformers_nearest": nearest_by_eigenvectors,
    "what_it_costs_ridge": ridge_by_descent,
    "what_is_proved_change": change_by_definition,
    "what_is_proved_distance": distance_of_the_saddle(),
    "when_not_to_share": share_at_rest(),
    "when_not_to_trapped": trapped_by_curvature,
    "your_own_model_open": lambda bias, gain, dead: torch.stack(
        [g.abs() if d else b for b, g, d in zip(bias, gain, dead, strict=True)]
    ),
    "your_own_model_wait": bias_at_zero(),
    "why_training_falls_in_longer_plateau": steps_until(
        lambda u: u >= 1e-3, lambda u: u * (1 + 0.01 * 0.5), 1e-9
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_found_in_another_way(name):
    verdict = getattr(exercises, f"check_{name}")(ANSWERS[name])
    assert verdict, verdict


@pytest.mark.parametrize(
    ("name", "found", "room"),
    [
        ("how_strong_extra_steps", later_escape(), 0.02),
        ("mode_connectivity_forgetting", steps_of_sgd(0.01, 0.05, 0.002, 0.9), 0.005),
        ("syre_longer_wait", longer_wait(), 0.005),
    ],
)
def test_the_exact_numbers_are_those_of_finite_steps(name, found, room):
    assert found == pytest.approx(getattr(exercises, f"check_{name}").right["exact"], rel=room)


@pytest.mark.parametrize("case", [(0.05, 0.01, 0.9), (0.02, 0.01, 0.5)])
def test_the_half_life_is_that_of_sgd_up_to_speed(case):
    found = steps_of_sgd(0.25, *case) - steps_of_sgd(0.5, *case)
    right = exercises.check_loss_of_plasticity_half_life.right(*case)
    assert found == pytest.approx(right, rel=0.06)


def test_the_return_is_that_of_simulated_episodes():
    right = np.random.default_rng(0).random((200_000, 8)) < 0.7
    earned = right.cumprod(1).sum(1).mean()
    assert earned == pytest.approx(
        exercises.check_reinforcement_learning_return.right(0.7), rel=0.01
    )


CHAPTERS = [
    *("reflections", "permutation", "sign_and_rescaling", "rotation", "why_training_falls_in"),
    *("ignored_features", "lost_dimensions", "syre", "what_is_proved", "continuous_symmetries"),
    *("how_strong", "found_without_a_trace"),
]


@pytest.mark.parametrize("name", FOUND)
def test_what_a_reader_would_find_is_accepted(name):
    verdict = getattr(exercises, f"check_{name}")(FOUND[name]())
    assert verdict, verdict


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_function_is_accepted(name):
    verdict = getattr(exercises, f"check_{name}")(FUNCTIONS[name])
    assert verdict, verdict


def test_every_exercise_of_the_first_two_parts_has_an_answer_found_in_another_way():
    names = [name.removeprefix("check_") for name in dir(exercises)]
    asked = {name for name in names if name.startswith(tuple(f"{c}_" for c in CHAPTERS))}
    assert asked == (FOUND.keys() | FUNCTIONS.keys() | ANSWERS.keys()) & asked


@pytest.mark.parametrize("name", ["reflections_which", "lost_dimensions_optimizers"])
def test_choices_come_as_letters_in_any_way(name):
    check = getattr(exercises, f"check_{name}")
    letters = sorted(check.right)
    ways = ["".join(letters), ", ".join(letters), " ".join(letters).upper(), " and ".join(letters)]
    for way in [*ways, letters, set(letters), tuple(letters)]:
        assert check(way), way
