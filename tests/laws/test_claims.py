"""The laws that the book rests on, at full length and in float64.

The chapters show them at the size that a page allows; here are the sharp tolerances.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn import functional

import syre_helpers as sh
from syre_helpers import arms, models

OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
}
DECAY = arms.plain_decay(1e-3)


def regression(samples=40):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 5, generator=generator, dtype=torch.float64)
    return x, torch.tanh(x @ torch.randn(5, 2, generator=generator, dtype=torch.float64))


def network(activation="tanh", seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return models.mlp([5, 8, 2], activation).double()


def train(model, make_optimizer, arm=DECAY, steps=300):
    sh.fit(
        model, regression(), arm, steps=steps, loss=functional.mse_loss, optimizer=make_optimizer,
        batch_size=8,
    )  # fmt: skip
    return model


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_dead_units_stay_dead_and_the_rest_is_the_smaller_net(optimizer):
    model = network()
    models.kill_units(model, "0", [1, 4, 6])
    small = models.without_units(model, "0", [1, 4, 6])
    start = [p.detach().clone() for p in small.parameters()]
    train(model, OPTIMIZERS[optimizer])
    train(small, OPTIMIZERS[optimizer])
    params = sh.effective_parameters(model)
    for unit in (1, 4, 6):
        flip = sh.sign_reflection(model, "0", unit)
        assert flip.distance(params) == 0, "to the last bit"
    again = models.without_units(model, "0", [1, 4, 6])
    for p, q in zip(again.parameters(), small.parameters(), strict=True):
        assert (p - q).abs().max() < 1e-10
    moved = [(p - q).abs().max() for p, q in zip(start, small.parameters(), strict=True)]
    assert min(moved) > 1e-3, "training did something"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_duplicates_stay_duplicates_and_follow_the_smaller_net(optimizer, activation):
    groups = [(0, 3, 5), (1, 2)]
    model = network(activation)
    models.tie_units(model, "0", groups)
    small = models.merge_units(model, "0", groups, form="tied")
    train(model, OPTIMIZERS[optimizer])
    train(small, OPTIMIZERS[optimizer])
    x, _ = regression()
    with torch.no_grad():
        assert (model(x) - small(x)).abs().max() < 1e-10
    kept = sh.effective_parameters(model)["0.weight"][[0, 1, 4, 6, 7]]
    assert (kept - sh.effective_parameters(small)["0.weight"]).abs().max() < 1e-10
    params = sh.effective_parameters(model)
    for i, j in ((0, 3), (0, 5), (1, 2)):
        swap = sh.permutation_reflection(model, "0", i, j)
        assert swap.distance(params) < 1e-12
    # Units that were not tied are not equal: the check above can fail.
    assert sh.permutation_reflection(model, "0", 0, 1).distance(params) > 1e-2


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_syre_leaves_both_kinds_of_plane(optimizer):
    model = network()
    models.kill_units(model, "0", [1])
    models.tie_units(model, "0", [(0, 3)])
    train(model, OPTIMIZERS[optimizer], arms.syre(1e-3, 0.1))
    params = sh.effective_parameters(model)
    assert sh.sign_reflection(model, "0", 1).distance(params) > 1e-6
    assert sh.permutation_reflection(model, "0", 0, 3).distance(params) > 1e-6


def kernel(model, x):
    """Return the empirical neural tangent kernel of a network with one output."""
    params = {name: p.detach() for name, p in model.named_parameters()}
    jacobian = jacrev(lambda p: functional_call(model, p, (x,)).squeeze(-1))(params)
    features = torch.cat([j.flatten(1) for j in jacobian.values()], 1)
    return features @ features.T


@pytest.mark.parametrize(("activation", "dead", "same"), [("tanh", 90, 99), ("relu", 80, 88)])
def test_kernel_rank_at_a_symmetric_state(activation, dead, same):
    """40 units with 7 inputs (and biases): 9 scalars a unit and one output bias."""
    x = torch.randn(400, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def net(width):
        with torch.random.fork_rng():
            torch.manual_seed(2)
            layers = [nn.Linear(7, width), models.ACTIVATIONS[activation]()]
            return nn.Sequential(*layers, nn.Linear(width, 1, bias=False)).double()

    def rank(model):
        return sh.numerical_rank(kernel(model, x), rtol=1e-10).item()

    full = net(40)
    assert rank(full) > 3 * same
    models.kill_units(full, "0", range(10, 40))
    assert rank(full) == rank(models.without_units(full, "0", range(10, 40))) == dead
    tied = net(40)
    models.tie_units(tied, "0", [range(10, 40)])
    merged = models.merge_units(tied, "0", [range(10, 40)])
    assert rank(tied) == rank(merged) == same


def escape_forces(products):
    """Return |P grad| at a symmetric point, read off a real optimizer's step."""
    forces = []
    for decay, sigma in products:
        model = network()
        models.tie_units(model, "0", [(0, 3)])
        swap = sh.permutation_reflection(model, "0", 0, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        sh.Syre(decay, sigma_0=sigma, seed=1).attach(optimizer, model)
        x, y = regression()
        functional.mse_loss(model(x), y).backward()
        optimizer.step()
        forces.append(swap.distance(sh.effective_parameters(model)) / 0.1)
    return np.array(forces)


def test_escape_force_is_proportional_to_gamma_sigma():
    products = [(d, s) for d in (0.02, 0.2) for s in (1e-3, 1e-2, 1e-1)]
    forces = escape_forces(products)
    slope = np.polyfit(np.log([d * s for d, s in products]), np.log(forces), 1)[0]
    assert slope == pytest.approx(1, abs=1e-3)
    assert escape_forces([(0.2, 0.0), (0.0, 0.1)]).max() < 1e-15


TARGET_VALUE = 2.0


def target(value=TARGET_VALUE):
    """Return a 6 x 6 matrix with two equal eigenvalues, the others 0."""
    generator = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0][:, :2]
    return value * q @ q.T


def half_square(output, y):
    return 0.5 * (output - y).square().sum()


def at_zero():
    return models.SymmetricFactorisation(6, 3, std=0.0).double()


def steps_to_learn(table, threshold):
    """Return, by arm and seed, the first measured step at which the loss is below the threshold."""
    return table[table.train_loss < threshold].groupby(["arm", "seed"]).step.min()


def test_escape_time_is_a_straight_line_in_the_log_of_the_force():
    lr = 0.01
    forces, times = [], []
    for decay, sigma in [(1e-3, 1e-4), (1e-3, 1e-3), (1e-2, 1e-3), (1e-2, 1e-2)]:
        table = sh.fit_many(
            at_zero, (None, target()), [arms.syre(decay, sigma_0=sigma)], range(8), steps=700,
            loss=half_square, optimizer=lambda p: torch.optim.SGD(p, lr=lr), log_every=1,
        )  # fmt: skip
        time = steps_to_learn(table, 0.5 * TARGET_VALUE**2)
        assert len(time) == 8
        forces.append(decay * sigma)
        times.append(time.mean())
    line = np.polyfit(np.log(1 / np.array(forces)), times, 1)
    assert line[0] == pytest.approx(1 / (2 * lr * TARGET_VALUE), rel=0.1)
    residual = np.array(times) - np.polyval(line, np.log(1 / np.array(forces)))
    assert np.abs(residual).max() < 0.05 * (max(times) - min(times))


def test_without_decay_or_bias_there_is_no_escape():
    table = sh.fit_many(
        at_zero,
        (None, target()),
        [
            arms.vanilla(),
            arms.plain_decay(1e-2),
            arms.syre(0.0, 0.1),
            arms.metric_only(1e-2, 0.5),
        ],
        range(3),
        steps=700,
        loss=half_square,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.01),
    )
    assert (table.train_loss == table.train_loss[0]).all(), "to the last bit"


@pytest.fixture(scope="module")
def persistence():
    """Target 0 for a long phase one, then a real target: steps until it is learned."""
    decay = 0.2
    compared = [
        arms.plain_decay(decay),
        arms.perturbed_once(decay),
        arms.metric_only(decay, 0.5),
        arms.resampled_bias(decay),
        arms.syre(decay),
    ]
    real = target(1.0)
    steps = {}
    for first in (1000, 8000):
        table = sh.fit_many(
            lambda: models.SymmetricFactorisation(6, 3).double(),
            lambda step, first=first: (None, real if step >= first else 0 * real),
            compared,
            range(8),
            steps=first + 1200,
            loss=half_square,
            optimizer=lambda p: torch.optim.SGD(p, lr=0.05),
            log_every=range(first + 1, first + 1200),
        )
        learned = steps_to_learn(table[table.step > first], 0.15) - first
        assert len(learned) == 8 * len(compared)
        steps[first] = learned
    return steps


def test_syre_recovers_as_fast_however_long_the_first_phase(persistence):
    assert (persistence[8000]["syre 1%"] - persistence[1000]["syre 1%"]).abs().max() <= 10


@pytest.mark.parametrize("control", ["plain decay", "perturbed once 1%"])
def test_what_does_not_stay_is_lost(persistence, control):
    ratio = persistence[8000][control] / persistence[8000]["syre 1%"]
    assert ratio.min() > 10
    assert (persistence[8000][control] > 3 * persistence[1000][control]).all()


def test_a_bias_that_is_not_fixed_is_slower(persistence):
    for first in (1000, 8000):
        slower = persistence[first]["resampled bias 1%"] - persistence[first]["syre 1%"]
        assert slower.mean() > slower.std() / math.sqrt(len(slower)) * 3


def smallest_bias_force(stacked_bias):
    """Return min over unit n of |[U0; V0^T] n|: 0 iff some reflection feels no bias."""
    rows, inner = stacked_bias.shape
    values = torch.linalg.svdvals(stacked_bias)
    return 0.0 if inner > rows else float(values[-1])


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("beyond", [0, 1])
def test_bias_alone_leaves_a_rotation_iff_the_inner_dimension_exceeds_the_rows(symmetric, beyond):
    a, b = 5, 3
    rows = a if symmetric else a + b
    inner = rows + beyond
    syre = sh.Syre(0.1, sigma_0=0.3, seed=0)
    params = {"left": torch.zeros(a, inner, dtype=torch.float64)}
    if not symmetric:
        params["right"] = torch.zeros(inner, b, dtype=torch.float64)
    bias = {n: syre.bias(n, p) for n, p in params.items()}
    stacked = bias["left"] if symmetric else torch.cat([bias["left"], bias["right"].T])
    n = torch.linalg.svd(stacked)[2][-1]  # the direction that the bias feels least
    reflection = sh.rotation_reflection("left", None if symmetric else "right", n)
    state = {name: p + 1.0 for name, p in params.items()}
    pull = syre.pull(params)
    violation = reflection.violation(pull.penalty, state)
    if beyond:
        assert smallest_bias_force(stacked) == 0
        assert violation < 1e-12, "a reflection is left"
        advanced = sh.Syre(0.1, sigma_0=0.3, sigma_D=0.2, seed=0).pull(params)
        assert reflection.violation(advanced.penalty, state) > 1e-6, "D removes it"
    else:
        assert smallest_bias_force(stacked) > 1e-6
        assert violation > 1e-6


def test_D_alone_keeps_the_sign_reflections():
    params = {"left": torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()}
    with pytest.warns(sh.SyreWarning):
        pull = sh.Syre(0.1, sigma_0=0.0, sigma_D=0.5).pull(params)
    generic = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)
    for n, kept in ((torch.eye(3, dtype=torch.float64)[1], True), (generic, False)):
        violation = sh.rotation_reflection("left", None, n).violation(pull.penalty, params)
        assert (violation < 1e-12) == kept


def test_without_gains_no_swap_of_units_leaves_the_centre_where_it_is():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 2)).double()
    params = sh.effective_parameters(model)
    centre = dict(sh.Syre(1.0, sigma_ratio=0.2).pull(params).centre)
    centre["1.weight"], centre["1.bias"] = torch.ones(4), torch.zeros(4)
    swaps = [sh.permutation_reflection(model, "0", i, j) for i in range(4) for j in range(i)]
    assert min(swap.distance(centre) for swap in swaps) > 0.01
    alike = {n: torch.ones_like(p) for n, p in params.items()}
    assert swaps[0].distance(alike) == 0
