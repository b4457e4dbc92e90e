"""A training small enough for every test: model, data, arms, optimizers, and its comparison."""

import pandas as pd
import torch
from torch import nn
from torch.nn import functional

import syre_helpers as sh
from small_models import seeded
from syre_helpers import arms


def make_model():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def make_dropout():
    return nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)).double()


def made(seed, make=make_model):
    return seeded(make, seed)


def data(samples=48):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, 4, generator=generator, dtype=torch.float64)
    y = (x.sum(1) > 0).long() + (x[:, 0] > 1).long()
    return x[:32], y[:32], x[32:], y[32:]


SWAP = sh.permutation_reflection(make_model(), "0", 0, 1)
ARMS = [
    arms.vanilla(),
    arms.plain_decay(0.05),
    arms.syre(0.05, 0.3),
    arms.syre(0.05, 0.3, sigma_D=0.2),
    arms.metric_only(0.05, 0.2),
    arms.weight_fix(0.3, 0.05),
    arms.pull_to_start(0.05),
    arms.shrink_and_perturb(0.2, 0.1, 7, 0.05),
    arms.perturbed_once(0.05, 0.3),
    arms.resampled_bias(0.05, 0.3, every=5),
    arms.symmetric_bias(0.05, SWAP.nearest, 0.3),
    arms.bias_added_after(0.05, 0.3),
]
FEW = [ARMS[3], ARMS[7], ARMS[9]]
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "dampened": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.5),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95)),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0),
}
SETTINGS = {
    "steps": 20,
    "loss": functional.cross_entropy,
    "optimizer": OPTIMIZERS["momentum"],
    "batch_size": 8,
    "log_every": 7,
    "schedule": lambda step: 0.97**step,
}


def run(**changes):
    """Train many; return the table and the parameters."""
    arguments = {"make_model": make_model, "data": data(), "arms": FEW, "seeds": range(2)}
    return sh.train_many(**(arguments | SETTINGS | changes))


def run_one(arm=FEW[0], seed=1, make=make_model, **changes):
    """Train one; return the table and the parameters in the form of `run`."""
    model = made(seed, make)
    arguments = {"data": data(), "seed": seed} | SETTINGS | changes
    table = sh.fit(model, arm=arm, **arguments)
    return table, {(arm, seed): {n: p.detach() for n, p in model.named_parameters()}}


def assert_same(one, other, tolerance=0.0):
    """Compare the parameters and tables of two runs; the second may have settings of more arms."""
    same = other[0][list(one[0])]
    pd.testing.assert_frame_equal(one[0], same, rtol=tolerance, atol=tolerance, check_dtype=False)
    assert one[1].keys() == other[1].keys()
    for key, params in one[1].items():
        for name, p in params.items():
            torch.testing.assert_close(p, other[1][key][name], rtol=tolerance, atol=tolerance)


def part(outcome, arm, seed):
    """Return the part of a comparison that one run is."""
    table, params = outcome
    own = table[(table.arm == arm.label) & (table.seed == seed)]
    return own.reset_index(drop=True), {(arm, seed): params[arm, seed]}
