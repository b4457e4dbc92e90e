"""BatchNorm over a batch that is shared out among processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Add = Callable[[Tensor], Tensor]
"""Returns the sum of a tensor over all processes; knows nothing of gradients."""


@contextmanager
def over_all_processes(model: nn.Module, add: Add) -> Iterator[None]:
    """Let the BatchNorm layers of a model take their statistics over the processes' shares.

    PyTorch's ``SyncBatchNorm`` does so on GPUs only, and is left as it is where a model has it.

    Parameters
    ----------
    model : nn.Module
        Trained inside the ``with`` block; as it was after it.
    add : callable
        Sums over the processes.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
    ]
    for layer in layers:
        layer.forward = partial(_forward, layer, add)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


class _Sum(torch.autograd.Function):
    """A sum over processes, whose gradient is one too: each output depends on all inputs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, add: Add) -> Tensor:
        ctx.add = add
        return add(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.add(gradients[0].contiguous()), None


def _forward(norm: _BatchNorm, add: Add, x: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, x)
    norm._check_input_dim(x)
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    own = wide.new_tensor([x.numel() // x.shape[1]])
    summed = _Sum.apply(torch.cat([wide.sum(axes), own]), add)
    mean, count = summed[:-1] / summed[-1], summed[-1].detach()
    centred = wide - mean.reshape(shape)
    variance = _Sum.apply(centred.square().sum(axes), add) / count
    _remember(norm, mean.detach(), variance.detach() * count / (count - 1))
    out = centred * (variance + norm.eps).rsqrt().reshape(shape)
    if norm.affine:
        out = out * norm.weight.reshape(shape) + norm.bias.reshape(shape)
    return out.to(x.dtype)


@torch.no_grad()
def _remember(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics, as PyTorch does."""
    if norm.running_mean is None or norm.running_var is None:
        return
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance, share)
