"""Checks of arguments, shared by all floors."""

from __future__ import annotations

import math


def positive_int(argument: str, value: object) -> int:
    """Return the value, or raise ValueError unless it is a whole number >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{argument}: {value!r} must be a whole number, 1 or more")
    return value


def nonnegative(argument: str, value: float) -> float:
    """Return the value as a float, or raise ValueError if it is negative, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{argument} must be a number, got {value!r}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{argument}={value!r} must be a finite number >= 0")
    return float(value)


def share(argument: str, value: float) -> float:
    """Return the value as a float, or raise ValueError unless it lies in [0, 1]."""
    if nonnegative(argument, value) > 1:
        raise ValueError(f"{argument}={value!r} must lie between 0 and 1; 0.1 means 10%")
    return float(value)


def whole(argument: str, value: int) -> int:
    """Return the value, or raise TypeError unless it is an int."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{argument} must be an int, got {value!r}")
    return value
