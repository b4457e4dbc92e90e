"""Answers to the exercises of parts I and II, found by what a reader could run."""

import math

import torch
from torch import nn

import syre_helpers as sh
from syre_helpers import models


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def kept(maps, loss, seed=0):
    """Return the letters of the maps that are reflections of a loss of two numbers."""
    points = normal(20, 2, seed=seed)
    basis = torch.eye(2, dtype=torch.float64)

    def good(f):
        again = all(torch.allclose(f(f(p)), p) for p in points)
        matrix = torch.stack([f(row) for row in basis])
        same = all(torch.isclose(loss(f(p)), loss(p)) for p in points)
        return again and same and torch.allclose(matrix @ matrix.T, basis)

    return {letter for letter, f in maps.items() if good(f)}


def features_left(net, units=0, samples=400):
    """Return the rank of the gradients of a network's output, after some units were set to zero."""
    with torch.no_grad():
        for part in (net[0].weight[:units], net[0].bias[:units], net[2].weight[:, :units]):
            part.zero_()
    params = {name: p.detach() for name, p in net.named_parameters()}

    def output(p, x):
        return torch.func.functional_call(net, p, (x,)).squeeze()

    x = normal(samples, net[0].in_features)
    rows = torch.func.vmap(torch.func.grad(output), in_dims=(None, 0))(params, x)
    matrix = torch.cat([r.flatten(1) for r in rows.values()], 1)
    return int(sh.numerical_rank(matrix, rtol=1e-10))


def different_numbers():
    """Return in how many directions a network of tied units can change its outputs."""
    torch.manual_seed(0)
    net = models.mlp([20, 30, 5]).double()
    models.tie_units(net, "0", torch.arange(30).reshape(10, 3).tolist())
    params = {name: p.detach() for name, p in net.named_parameters()}
    x = normal(100, 20)
    rows = torch.func.jacrev(lambda p: torch.func.functional_call(net, p, (x,)))(params)
    return int(sh.numerical_rank(torch.cat([r.flatten(2) for r in rows.values()], 2).flatten(0, 1)))


def stays_on_a_tilted_plane():
    """Return the letters of the rules that keep p . n = 0, fed with gradients of that kind."""
    n = nn.functional.normalize(normal(5), dim=0)
    gradients = [g - (g @ n) * n for g in normal(20, 5, seed=1)]

    def momentum(p):
        return torch.optim.SGD([p], lr=0.1, momentum=0.9, weight_decay=0.1)

    def adam(p):
        return torch.optim.Adam([p], lr=0.1)

    def end(make, change=lambda g: g):
        p = nn.Parameter(torch.zeros(5).double())
        optimizer = make(p)
        for g in gradients:
            p.grad = change(g)
            optimizer.step()
        return abs(float(p.data @ n))

    def plain(p):
        return torch.optim.SGD([p], lr=0.1)

    ends = {
        "a": end(momentum),
        "b": end(adam),
        "c": end(plain, torch.sign),
        "d": end(plain, lambda g: g / g.norm()),
    }
    return {letter for letter, distance in ends.items() if distance < 1e-12}


def nuclear_norm_by_descent():
    """Train U V with SGD and its weight_decay of 2 on the square, without 1/2; return tr S."""
    u, v = (nn.Parameter(0.5 * normal(4, 4, seed=s)) for s in (2, 3))
    target = torch.diag(torch.tensor([5, 2.5, 1.5, 0.4], dtype=torch.float64))
    optimizer = torch.optim.SGD([u, v], lr=0.02, weight_decay=2)
    for _ in range(1500):
        optimizer.zero_grad()
        (u @ v - target).square().sum().backward()
        optimizer.step()
    return torch.linalg.svdvals(u @ v).sum().item()


def rank_of_a_head():
    n = nn.functional.normalize(normal(8), dim=0)
    state = {"q": normal(8, 65), "k": normal(8, 65, seed=1)}  # a bias is one more column
    return sh.rotation_reflection("q", "k", n, left_axis=0, right_axis=0).rank(state)


def rank_of_a_flip_in_front_of_a_norm():
    net = nn.Sequential(nn.Linear(20, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 5))
    state = dict(net.named_parameters()) | dict(net.named_buffers())
    return sh.sign_reflection(net, "0", 1).rank(state)


def balance_by_logarithms(u, w):
    size = ((u.abs().log() + w.abs().log()) / 2).exp()
    return torch.copysign(size, u), torch.copysign(size, w)


def trapped_by_a_nudge(gradient, weight_decay):
    """Nudge each pair at (0, 0) in both ways, and see whether it grows."""
    grows = torch.zeros(len(gradient), dtype=torch.bool)
    for sign in (1, -1):
        u, w = torch.full_like(gradient, 1e-3), torch.full_like(gradient, sign * 1e-3)
        for _ in range(200):
            u, w = (
                u - 0.05 * (gradient * w + weight_decay * u),
                w - 0.05 * (gradient * u + weight_decay * w),
            )
        grows |= u.abs() > 1e-3 * (1 + 1e-9)
    return grows


def threshold_by_hessian():
    """Return the first gamma at which the origin is no saddle of (u w - 3)^2 with decay."""

    def lowest(gamma):
        def loss(p):
            return (p[0] * p[1] - 3) ** 2 + gamma * p.square().sum()

        zero = torch.zeros(2, dtype=torch.float64)
        return torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, zero))[0]

    return next(k / 100 for k in range(1000) if lowest(k / 100) >= -1e-12)


def growth_from_both_signs(h, s, lr, gamma):
    factors = [1 - lr * (h + sign * s) - lr * 2 * gamma for sign in (1, -1)]
    return sum(math.log(abs(factor)) for factor in factors) / 2


def force_at_the_plane():
    """Return the distance from the plane after one step of rate 1 down the penalty's gradient."""
    p = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    theta_0 = torch.tensor([0.03, 0.04], dtype=torch.float64)
    (0.1 * (p - theta_0).square().sum()).backward()  # gamma is half of weight_decay
    return p.grad.norm().item()


def has_a_mirror(loss, theta_0, gamma=0.3):
    """Test whether a loss of one number with syre is the same on both sides of some place."""
    z = torch.linspace(0, 3, 50, dtype=torch.float64)
    centres = torch.linspace(-8, 8, 80_001, dtype=torch.float64)[:, None]

    def total(u):
        return loss(u) + gamma * (u - theta_0) ** 2

    rough = (total(centres + z[::7]) - total(centres - z[::7])).abs().amax(1)
    return bool(rough.min() < 1e-3)


def mirrors_left():
    """Return the letters of the losses that still have a mirror."""
    of_one = {
        "a": lambda u: u**4,
        "b": lambda u: 3 * u,
        "c": lambda u: (u - 1) ** 2,
        "d": torch.cos,
    }
    left = {letter for letter, loss in of_one.items() if has_a_mirror(loss, 0.7)}
    theta_0, p = torch.tensor([0.7, -0.2]).double(), normal(2)
    of_two = {
        "e": lambda p: (p[0] * p[1] - 1) ** 2,
        "f": lambda p: nn.functional.softplus(p[0] - p[1]),
    }
    along = torch.tensor([[0.5, 0.5], [0.5, 0.5]]).double()
    tried = [(along, theta_0), (along, 0 * p), (torch.eye(2) - along, 0 * p), (torch.eye(2), 0 * p)]
    for letter, loss in of_two.items():
        for P, c in tried:
            q = p - 2 * P.double() @ (p - c)
            change = loss(q) - loss(p) + 0.3 * ((q - theta_0) ** 2 - (p - theta_0) ** 2).sum()
            if change.abs() < 1e-9:
                left.add(letter)
    return left


def swap_by_library(p, i, j):
    return sh.permutation_reflection(models.mlp([3, 5, 4, 2]).double(), "2", i, j)(p)


def shifted_flip():
    centre = {"w": torch.tensor(3.0, dtype=torch.float64)}
    return sh.Reflection(sh.pair_sign_reflection("u", "w"), centre)


SPIN = {
    "a": lambda p: torch.stack([p[1], -p[0]]),
    "b": lambda p: p.flip(0),
    "c": lambda p: torch.stack([-p[0], p[1]]),
    "d": lambda p: -p,
    "e": lambda p: torch.stack([2 * p[0], p[1] / 2]),
}


# Found when the test runs; what a reader would give, where it is a function, comes second.
def pairs_that_may_change_places(n=8):
    """Count the pairs of numbers whose exchange leaves the real part of their transform alone."""
    x = normal(n)
    before = torch.fft.fft(x).real
    count = 0
    for i, j in torch.combinations(torch.arange(n)).tolist():
        order = list(range(n))
        order[i], order[j] = j, i
        count += torch.allclose(torch.fft.fft(x[order]).real, before)
    return count


def share_off_the_plane(gradient, axis):
    """Return the same by the library: project the gradient of a swap of two entries."""

    def swap(p):
        order = [1, 0, *range(2, gradient.shape[axis])]
        return {"g": p["g"].index_select(axis, torch.tensor(order))}

    own = {"g": gradient}
    return torch.tensor(sh.Reflection(swap).distance(own)).double() / gradient.norm()


def held_but_no_mirror():
    """Return the letters of what a dead ReLU unit does not refute, walked off its plane."""
    torch.manual_seed(0)
    net = models.mlp([3, 5, 1], "relu").double()
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    x, y = normal(50, 3), normal(50, 1, seed=1)
    unit = {"0.weight": start["0.weight"][0], "0.bias": start["0.bias"][0]}
    unit["2.weight"] = start["2.weight"][:, 0].clone()

    def at(t):
        p = {name: value.clone() for name, value in start.items()}
        p["0.weight"][0], p["0.bias"][0] = t * unit["0.weight"], t * unit["0.bias"]
        p["2.weight"][:, 0] = t * unit["2.weight"]
        return p

    def loss(p):
        return (torch.func.functional_call(net, p, (x,)) - y).square().mean()

    slope = torch.func.grad(loss)(at(0.0))
    own = (
        slope["0.weight"][0].abs().sum() + slope["0.bias"][0].abs() + slope["2.weight"][0, 0].abs()
    )
    here, plane, there = (float(loss(at(t))) for t in (0.5, 0.0, -0.5))
    follows = {
        "a": float(own) == 0,
        "b": math.isclose(here, there),
        "c": min(here, there) > plane,
        "d": min(here, there) > plane,
    }
    return {letter for letter, holds in follows.items() if holds}


FOUND = {
    "found_without_a_trace_follows": held_but_no_mirror,
    "found_without_a_trace_pairs": pairs_that_may_change_places,
    "continuous_symmetries_threshold": lambda: next(
        k for k in range(2, 20) if torch.linalg.matrix_rank(normal(8 + 3, k)) < k
    ),
    "ignored_features_rank": lambda: features_left(models.mlp([5, 20, 1]).double(), units=12),
    "ignored_features_sigmoid": lambda: features_left(
        nn.Sequential(nn.Linear(7, 40), nn.Sigmoid(), nn.Linear(40, 1, bias=False)).double(), 30
    ),
    "lost_dimensions_count": different_numbers,
    "lost_dimensions_optimizers": stays_on_a_tilted_plane,
    "reflections_centre": shifted_flip,
    "reflections_which": lambda: kept(SPIN, lambda p: (p.square().sum() - 1) ** 2),
    "rotation_nuclear_norm": nuclear_norm_by_descent,
    "rotation_rank": rank_of_a_head,
    "sign_and_rescaling_rank": rank_of_a_flip_in_front_of_a_norm,
    "syre_pull_length": force_at_the_plane,
    "what_is_proved_left": mirrors_left,
    "why_training_falls_in_threshold": threshold_by_hessian,
}
FUNCTIONS = {
    "found_without_a_trace_share": share_off_the_plane,
    "ignored_features_visible": lambda g, reflect: g - (g - reflect(g)) / 2,
    "lost_dimensions_smaller_unit": lambda w, a, k: (
        (k * w / k**0.5, k * a / k**0.5),
        (w, torch.stack([a] * k).sum(0)),
    ),
    "permutation_swap": swap_by_library,
    "sign_and_rescaling_balance": balance_by_logarithms,
    "sign_and_rescaling_trapped": trapped_by_a_nudge,
    "syre_advanced_step": lambda p, g, theta_0, xi, lr, wd: (
        p - lr * (g + wd * torch.addcmul(p - theta_0, p - theta_0, xi))
    ),
    "why_training_falls_in_growth": growth_from_both_signs,
}
