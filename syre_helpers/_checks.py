"""Checks of arguments, shared by all floors.

The numbers of NumPy count as numbers; True and False do not. What is no number is a TypeError
(for `check_positive_int` a ValueError), a number out of range a ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn


def check_int(argument: str, value: Any) -> int:
    """Return the value as an int, or raise TypeError unless it is a whole number."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{argument} must be an int, got {value!r}")
    return int(value)


def check_positive_int(argument: str, value: Any) -> int:
    """Return the value as an int, or raise ValueError unless it is a whole number >= 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{argument}: {value!r} must be a whole number, 1 or more")
    return int(value)


def check_nonnegative_int(argument: str, value: Any) -> int:
    """Return the value as an int, or raise ValueError unless it is a whole number >= 0."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError(f"{argument}: {value!r} must be a whole number, 0 or more")
    return int(value)


def check_nonnegative(argument: str, value: Any) -> float:
    """Return the value as a float, or raise an error unless it is a finite number >= 0."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{argument} must be a number, got {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{argument}={value!r} must be a finite number >= 0")
    return float(value)


def check_positive(argument: str, value: Any) -> float:
    """Return the value as a float, or raise an error unless it is a finite number > 0."""
    if check_nonnegative(argument, value) == 0:
        raise ValueError(f"{argument}={value!r} must be above 0")
    return float(value)


def check_below_1(argument: str, value: Any) -> float:
    """Return the value as a float, or raise an error unless it is at least 0 and below 1."""
    if check_nonnegative(argument, value) >= 1:
        raise ValueError(f"{argument}={value!r} must be at least 0 and below 1")
    return float(value)


def check_fraction(argument: str, value: Any) -> float:
    """Return the value as a float, or raise an error unless it lies in [0, 1]."""
    if check_nonnegative(argument, value) > 1:
        raise ValueError(f"{argument}={value!r} must lie between 0 and 1; 0.1 means 10%")
    return float(value)


def check_tensor(argument: str, value: Any) -> None:
    """Raise TypeError unless the value is a tensor."""
    if not isinstance(value, Tensor):
        kind = type(value).__name__
        raise TypeError(f"{argument} is a {kind}; pass a tensor, torch.as_tensor({argument})")


def check_scalar(function: str, value: Any) -> Tensor:
    """Return a function's result as a tensor, or raise ValueError unless it is a scalar."""
    if isinstance(value, Tensor | Real) and (not isinstance(value, Tensor) or value.ndim == 0):
        return torch.as_tensor(value)
    what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
    raise ValueError(
        f"{function} returned {what}; it must return a scalar tensor, such as the mean"
    )


def check_parameters(argument: str, value: Any) -> None:
    """Raise TypeError unless the value maps names to tensors."""
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{argument} is a {type(value).__name__}; pass names and tensors, such as "
            "dict(model.named_parameters())"
        )
    for name, own in value.items():
        check_tensor(f"{argument}[{name!r}]", own)


def check_model(argument: str, value: Any) -> None:
    """Raise TypeError unless the value is a module of PyTorch."""
    if not isinstance(value, nn.Module):
        raise TypeError(f"{argument} must be an nn.Module, got a {type(value).__name__}")


def check_function(argument: str, value: Any) -> None:
    """Raise TypeError unless the value can be called."""
    if not callable(value):
        raise TypeError(f"{argument}={value!r} must be a function")


def check_unit_vector(n: Any) -> Tensor:
    """Return `n` in float64 on the CPU, or raise an error unless it is a vector of length 1."""
    if not isinstance(n, list | tuple):
        check_tensor("n", n)
    vector = torch.as_tensor(n).detach().to("cpu", torch.float64)
    if vector.ndim != 1:
        raise ValueError(f"n must be a vector of shape (inner,), got shape {tuple(vector.shape)}")
    length = float(vector.norm())
    # 1e-5 admits a vector that was normalised in float32.
    if not math.isfinite(length) or abs(length - 1) > 1e-5:
        raise ValueError(
            f"n must have length 1, got length {length:g}; pass n / n.norm() of a vector that is "
            "finite and not zero"
        )
    return vector / length
