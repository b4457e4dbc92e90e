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
    """Return the effective parameters of a model as one vector."""
    return torch.cat([p.flatten() for p in sh.effective_parameters(model).values()])


def still(model):
    """Give all parameters a gradient of zero, so that the pull alone moves them."""
    for p in model.parameters():
        p.grad = torch.zeros_like(p)


def remedied(form, syre, model, make, **how):
    """Put a model under one form of the remedy; return its optimizer and its penalty, if any.

    ``make(params, weight_decay)`` makes the optimizer. A form of another name changes nothing.
    """
    if form == "parametrize":
        syre.parametrize(model)
    decays = form in ("parametrize", "plain decay")
    optimizer = make(model.parameters(), syre.weight_decay if decays else 0)
    if form == "attach":
        syre.attach(optimizer, model, **how)
    return optimizer, (lambda: syre.penalty(model)) if form == "penalty" else None


def train(model, optimizer, steps, penalty=None, before_step=None, schedule=None, data=None):
    """Train on the task, or other data, with full batches."""
    x, y = data or task(next(model.parameters()).dtype)
    for step in range(steps):
        for group in optimizer.param_groups if schedule else []:
            group["lr"] = schedule(step)
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        (loss + penalty() if penalty else loss).backward()
        if before_step:
            before_step()
        optimizer.step()


def largest_difference(a, b):
    return max(float((a[n] - b[n]).abs().max()) for n in a)
