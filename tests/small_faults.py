"""Small networks with planted faults, and their classes; float64 unless told otherwise."""

import itertools

import torch
from torch import nn

from syre_helpers.diagnosis.classes import classes_of


def seeded(make, dtype=torch.float64, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().to(dtype)


def mlp(activation=nn.Tanh, widths=(8, 12, 4), dtype=torch.float64, seed=0):
    def make():
        layers = []
        for inputs, outputs in itertools.pairwise(widths):
            layers += [nn.Linear(inputs, outputs), activation()]
        return nn.Sequential(*layers[:-1])

    return seeded(make, dtype, seed)


def conv(activation=nn.ReLU, dtype=torch.float32):
    def make():
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), activation(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
        )  # fmt: skip

    return seeded(make, dtype)


def batch(model, samples=128, outputs=4):
    weight = next(model.parameters())
    generator = torch.Generator().manual_seed(1)
    shape = (samples, weight.shape[1], 6, 6) if weight.ndim == 4 else (samples, weight.shape[1])
    x = torch.randn(*shape, generator=generator).to(weight.dtype)
    return x, torch.randint(0, outputs, (samples,), generator=generator)


def units_of(model, layer=0):
    return classes_of(model, batch(model)[0], None, state_of(model), [])[layer]


def state_of(model):
    return {n: p.detach() for n, p in [*model.named_parameters(), *model.named_buffers()]}


@torch.no_grad()
def make_twins(model, groups, layer=0):
    """Let the units of each group be copies of its first."""
    layers = [module for module in model if isinstance(module, nn.Linear)]
    made, read = layers[layer], layers[layer + 1]
    for first, *others in groups:
        for unit in others:
            made.weight[unit], made.bias[unit] = made.weight[first], made.bias[first]
            read.weight[:, unit] = read.weight[:, first]


@torch.no_grad()
def kill(model, units, layer=0):
    """Set all weights of some units to 0."""
    layers = [module for module in model if isinstance(module, nn.Linear)]
    made, read = layers[layer], layers[layer + 1]
    units = list(units)
    made.weight[units], made.bias[units], read.weight[:, units] = 0, 0, 0


@torch.no_grad()
def lower_rank(module, rank):
    u, s, v = torch.linalg.svd(module.weight, full_matrices=False)
    module.weight.copy_(u[:, :rank] * s[:rank] @ v[:rank])
