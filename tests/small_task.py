"""A small network with a small task, and what tests do with them; float64 unless told otherwise."""

import torch
from torch import nn

import syre_helpers as sh


def net(dtype=torch.float64, seed=1):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).to(dtype)


def task(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator).to(dtype)
    return x, torch.randn(64, 2, generator=generator).to(dtype)


def values(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def flat(model):
    """Return what the model computes with, as one vector."""
    return torch.cat([p.flatten() for p in sh.effective_parameters(model).values()])


def still(model):
    """Give all parameters a gradient of zero, so that the pull alone moves them."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


def train(model, optimizer, steps, penalty=None, before_step=None):
    """Train on the task with full batches."""
    x, y = task(next(model.parameters()).dtype)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        (loss + penalty() if penalty else loss).backward()
        if before_step:
            before_step()
        optimizer.step()


def largest_difference(a, b):
    return max(float((a[n] - b[n]).abs().max()) for n in a)
