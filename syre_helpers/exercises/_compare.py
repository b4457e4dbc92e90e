"""Comparing what a reader's code gives with what is wanted, in words."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_number(answer: Any) -> float | None:
    """Return the real number that an answer is, or that a tensor or array of one element holds.

    Parameters
    ----------
    answer : object
        Anything.

    Returns
    -------
    float or None
        None for anything else, such as booleans and numbers too large for a float.
    """
    if hasattr(answer, "item") and getattr(answer, "shape", None) is not None:
        if math.prod(answer.shape) != 1:
            return None
        answer = answer.item()
    if isinstance(answer, bool) or not isinstance(answer, numbers.Real):
        return None
    try:
        return float(answer)
    except (OverflowError, ValueError):
        return None


def close(found: float, wanted: float, rtol: float, atol: float) -> bool:
    """Test whether a number is within the tolerance of the one wanted.

    Parameters
    ----------
    found, wanted : float
        May be infinite: infinity is close to itself.
    rtol, atol : float
        Allowed is ``atol + rtol * abs(wanted)``.

    Returns
    -------
    bool
        True where it is.
    """
    return found == wanted or abs(found - wanted) <= atol + rtol * abs(wanted)


def in_words(case: tuple[Any, ...]) -> str:
    """Return the arguments of a call, written so that they fit into a sentence.

    Parameters
    ----------
    case : tuple
        The arguments.

    Returns
    -------
    str
        In parentheses.
    """
    return f"({', '.join(_short(argument) for argument in case)})"


def difference(found: Any, wanted: Any, rtol: float, atol: float) -> str:
    """Return the difference between a value and the one wanted, in words.

    Parameters
    ----------
    found : object
        Anything.
    wanted : object
        A number, a boolean, a text, a tensor, an array, or a mapping, tuple or list of such.
        Anything else differs from nothing.
    rtol, atol : float
        Allowed difference of each number.

    Returns
    -------
    str
        The end of a sentence that begins with "it returns"; empty where there is no difference.
    """
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return f"a {type(found).__name__}, and a mapping of names to values is wanted"
        if missing := [key for key in wanted if key not in found]:
            return f"a mapping without {missing[0]!r}"
        if len(found) > len(wanted):
            return "a mapping with names too many"
        parts: Iterable[tuple[Any, Any, str]] = (
            (found[key], wanted[key], f", at {key!r}") for key in wanted
        )
    elif isinstance(wanted, (tuple, list)):
        if not isinstance(found, (tuple, list)):
            return f"a {type(found).__name__}, and {len(wanted)} values are wanted"
        if len(found) != len(wanted):
            return f"{len(found)} values, and {len(wanted)} are wanted"
        parts = ((f, wanted[k], f", at place {k}") for k, f in enumerate(found))
    else:
        return _leaf_difference(found, wanted, rtol, atol)
    return next(
        (told + place for f, w, place in parts if (told := difference(f, w, rtol, atol))), ""
    )


def _leaf_difference(found: Any, wanted: Any, rtol: float, atol: float) -> str:
    array = _as_tensor(wanted)
    if array is not None and array.ndim > 0:
        return _tensor_difference(found, array, rtol, atol)
    if isinstance(wanted, (bool, str)):
        single = found.item() if hasattr(found, "item") and math.prod(found.shape) == 1 else found
        agrees = type(single) is type(wanted) and single == wanted
        return "" if agrees else f"{_short(found)}, which is not right"
    target = as_number(wanted)
    if target is None:  # a module, a function: nothing to measure
        return ""
    number = as_number(found)
    if number is None:
        shape = f" of shape {tuple(found.shape)}" if isinstance(found, (Tensor, np.ndarray)) else ""
        return f"a {type(found).__name__}{shape}, and a number is wanted"
    if math.isnan(number) and not math.isnan(target):
        return "NaN"
    if math.isnan(target) or close(number, target, rtol, atol):
        return ""
    return f"{number:.6g}, which is too {'high' if number > target else 'low'}"


def _tensor_difference(answer: Any, wanted: Tensor, rtol: float, atol: float) -> str:
    found = _as_tensor(answer)
    if found is None:
        return f"a {type(answer).__name__}, and a tensor is wanted"
    if found.shape != wanted.shape:
        return f"a tensor of shape {tuple(found.shape)}, and {tuple(wanted.shape)} is wanted"
    found, wanted = (t.detach().cpu().to(torch.float64) for t in (found, wanted))
    if found.isnan().any() and not wanted.isnan().any():
        return "NaN"
    wrong = ~torch.isclose(found, wanted, rtol=rtol, atol=atol, equal_nan=True)
    if not wrong.any():
        return ""
    place = tuple(wrong.nonzero()[0].tolist())
    return (
        f"a tensor with {int(wrong.sum())} wrong of {wrong.numel()} entries, the first at index "
        f"{place[0] if len(place) == 1 else place}"
    )


def _as_tensor(value: Any) -> Tensor | None:
    """Return a tensor of real numbers, also for an array of numpy's; None for anything else."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = torch.tensor(value)
    return value if isinstance(value, Tensor) and not value.is_complex() else None


def _short(value: Any) -> str:
    """Return an argument, written so that it fits into a sentence."""
    if isinstance(value, Tensor):
        if value.numel() <= 6:
            return str(value.double().round(decimals=3).tolist())
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {_short(entry)}" for key, entry in value.items()) + "}"
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return f"{value!r:.60}"
