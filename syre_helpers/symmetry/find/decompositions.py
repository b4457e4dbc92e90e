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
}
