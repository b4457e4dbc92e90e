"""Checks of arguments, shared by data and models."""

from __future__ import annotations


def positive_int(argument: str, value: object) -> int:
    """Return the value, or raise ValueError unless it is a whole number >= 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{argument}: {value!r} must be a whole number, 1 or more")
    return value
