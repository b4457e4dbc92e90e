"""Norms and their like, written as sums and products, which have rules of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def _standardised(x: Tensor, dims: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    scale = (centred.square().mean(dims, keepdim=True) + eps).rsqrt()
    return centred * scale, mean, scale


def _layer_norm(x: Tensor, shape: Any, w: Any, b: Any, eps: float) -> tuple[Tensor, ...]:
    y, mean, scale = _standardised(x, list(range(x.ndim - len(shape), x.ndim)), eps)
    y = y if w is None else y * w
    return y if b is None else y + b, mean, scale


def _group_norm(
    x: Tensor, w: Any, b: Any, n: int, channels: int, places: int, groups: int, eps: float
) -> tuple[Tensor, ...]:
    grouped = x.reshape(n, groups, channels // groups, places)
    y, mean, scale = _standardised(grouped, [2, 3], eps)
    y = y.reshape(x.shape)
    across = (1, channels) + (1,) * (x.ndim - 2)
    y = y if w is None else y * w.reshape(across)
    return y if b is None else y + b.reshape(across), mean.reshape(n, groups), scale


def _rms_norm(x: Tensor, shape: Any, w: Any, eps: float | None) -> tuple[Tensor, Tensor]:
    dims = list(range(x.ndim - len(shape), x.ndim))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    scale = (x.square().mean(dims, keepdim=True) + eps).rsqrt()
    return x * scale if w is None else x * scale * w, scale


def _batch_norm(
    x: Tensor, w: Any, b: Any, mean: Any, variance: Any, training: bool, m: float, eps: float
) -> tuple[Tensor, ...]:
    across = (1, x.shape[1]) + (1,) * (x.ndim - 2)
    if training or mean is None:
        y, used, scale = _standardised(x, [0, *range(2, x.ndim)], eps)
    else:
        used, scale = mean.reshape(across), (variance.reshape(across) + eps).rsqrt()
        y = (x - used) * scale
    y = y if w is None else y * w.reshape(across)
    return y if b is None else y + b.reshape(across), used.reshape(-1), scale.reshape(-1)


def _batch_norm_in_use(
    x: Tensor, w: Any, b: Any, mean: Any, variance: Any, m: float, eps: float
) -> tuple[Tensor, ...]:
    return _batch_norm(x, w, b, mean, variance, False, m, eps)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> tuple[Tensor, Tensor]:
    dims = [axis for axis in range(v.ndim) if axis != dim % v.ndim]
    norm = v.square().sum(dims, keepdim=True).sqrt()
    return v * (g / norm), norm


def keeps_places(x: Tensor, size: Any, stride: Any, offset: int | None = None) -> bool:
    """Test whether `as_strided` leaves each entry of a tensor in its place.

    Parameters
    ----------
    x : Tensor
        What is read.
    size, stride : sequence of int
        As `as_strided` takes them.
    offset : int or None
        Where the first entry lies.

    Returns
    -------
    bool
        True for adaptive pooling to one place, which sets the strides of axes of length 1.
    """
    strides = zip(x.shape, x.stride(), stride, strict=False)
    return (
        tuple(size) == x.shape
        and all(n == 1 or old == new for n, old, new in strides)
        and offset in (None, x.storage_offset())
    )


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * gate.sigmoid()


def _pixel_shuffle(x: Tensor, r: int) -> Tensor:
    *batch, channels, height, width = x.shape
    parts = x.reshape(-1, channels // r**2, r, r, height, width)
    return parts.permute(0, 1, 4, 2, 5, 3).reshape(*batch, channels // r**2, height * r, width * r)


def _pixel_unshuffle(x: Tensor, r: int) -> Tensor:
    *batch, channels, height, width = x.shape
    parts = x.reshape(-1, channels, height // r, r, width // r, r)
    return parts.permute(0, 1, 3, 5, 2, 4).reshape(*batch, channels * r**2, height // r, width // r)


def _var_mean(
    x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    dims = list(range(x.ndim)) if not dim else list(dim)
    mean = x.mean(dims, keepdim=True)
    count = math.prod(x.shape[axis] for axis in dims)
    divisor = count - (1 if correction is None else correction)
    variance = (x - mean).square().sum(dims, keepdim=keepdim) / divisor
    return variance, mean if keepdim else mean.squeeze(dims)


def _addcmul(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    return x + value * (a * b)


def _addcdiv(x: Tensor, a: Tensor, b: Tensor, *, value: float = 1) -> Tensor:
    return x + value * (a / b)


def _log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    return -torch.nn.functional.softplus(-x), x.new_zeros(0)


def _squared_error(x: Tensor, y: Tensor, reduction: int = 1) -> Tensor:
    error = (x - y).square()
    return error if reduction == 0 else error.mean() if reduction == 1 else error.sum()


def _trilinear(
    a: Tensor, b: Tensor, c: Tensor, in_a: Any, in_b: Any, in_c: Any, dims: Any, unroll: int = 1
) -> Tensor:
    if (list(in_a), list(in_b), list(in_c), list(dims)) == ([1, 3], [0], [1, 2], [2, 3]):
        # nn.Bilinear: one inner product after the other.
        first = a @ b.permute(1, 0, 2).reshape(a.shape[-1], -1)
        return (first.reshape(len(a), *b.shape[::2]) * c[:, None]).sum(-1)
    for axes, place in ((in_a, 0), (in_b, 1), (in_c, 2)):
        for axis in axes:
            a, b, c = (
                one.unsqueeze(axis) if i == place else one for i, one in enumerate((a, b, c))
            )
    return (a * b * c).sum(list(dims))


def _drawn_with(p: Tensor, *, generator: Any = None) -> Tensor:
    # Where a number drawn evenly is below the odds.
    return (torch.rand(p.shape, device=p.device, generator=generator) < p).to(p.dtype)


def _drawn_into(x: Tensor, p: Tensor, *, generator: Any = None) -> Tensor:
    return _drawn_with(p.expand_as(x), generator=generator).to(x.dtype)


def _dropped(x: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    kept = torch.rand(x.shape, device=x.device) >= (p if train else 0)
    return x * kept.to(x.dtype) / max(1 - p, 1e-300 if train else 1), kept


def _chosen(p: Tensor, n: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
    # The largest of odds over waiting times, as PyTorch itself does it for one draw.
    shape = (*p.shape[:-1], n if replacement else 1, p.shape[-1])
    times = torch.empty(shape, dtype=p.dtype, device=p.device).exponential_(generator=generator)
    races = p.unsqueeze(-2) / times
    return races.argmax(-1) if replacement or n == 1 else races.squeeze(-2).topk(n).indices


def _drawn_around(mean: Any, deviation: Any = 1.0, *, generator: Any = None) -> Tensor:
    shape = torch.broadcast_shapes(*(x.shape for x in (mean, deviation) if isinstance(x, Tensor)))
    device = mean.device if isinstance(mean, Tensor) else deviation.device
    return mean + deviation * torch.randn(shape, device=device, generator=generator)


def _packed(x: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    batch_first, longest = bool(batch_first), int(lengths[0])
    counts = [int((lengths > step).sum()) for step in range(longest)]
    steps = [x[:n, t] if batch_first else x[t, :n] for t, n in enumerate(counts)]
    return torch.cat(steps), torch.tensor(counts)


# Random numbers that depend on a tensor: written as noise that depends on nothing, and a function.
DRAWN: dict[Any, Callable[..., Any]] = {
    aten.bernoulli.default: _drawn_with,
    aten.bernoulli.Tensor: _drawn_into,
    aten.bernoulli_.Tensor: lambda x, p, **k: x.copy_(_drawn_into(x, p, **k)),
    aten.normal.Tensor_Tensor: _drawn_around,
    aten.normal.Tensor_float: _drawn_around,
    aten.normal.float_Tensor: _drawn_around,
    aten.native_dropout.default: _dropped,
    aten.multinomial.default: _chosen,
}

SMALLER: dict[Any, Callable[..., Any]] = {
    aten.native_layer_norm.default: _layer_norm,
    aten.native_group_norm.default: _group_norm,
    aten._fused_rms_norm.default: _rms_norm,
    aten.native_batch_norm.default: _batch_norm,
    aten._native_batch_norm_legit_no_training.default: _batch_norm_in_use,
    aten._weight_norm_interface.default: _weight_norm,
    aten.glu.default: _glu,
    aten.pixel_shuffle.default: _pixel_shuffle,
    aten.pixel_unshuffle.default: _pixel_unshuffle,
    aten.var_mean.correction: _var_mean,
    aten.var.correction: lambda *a, **k: _var_mean(*a, **k)[0],
    aten.std.correction: lambda *a, **k: _var_mean(*a, **k)[0].sqrt(),
    aten.addcmul.default: _addcmul,
    aten.addcdiv.default: _addcdiv,
    aten.lerp.Tensor: lambda a, b, w: a + w * (b - a),
    aten.lerp.Scalar: lambda a, b, w: a + w * (b - a),
    aten.dot.default: lambda a, b: (a * b).sum(),
    aten.vdot.default: lambda a, b: (a.conj() * b).sum(),
    aten.log_sigmoid_forward.default: _log_sigmoid,
    aten.mse_loss.default: _squared_error,
    aten._trilinear.default: _trilinear,
    aten._pack_padded_sequence.default: _packed,
    **DRAWN,
}
