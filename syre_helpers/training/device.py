"""Where to compute, and from which seed."""

from __future__ import annotations

import os
import random
import sys
from typing import Any

import numpy as np
import torch

from .._checks import check_int

DEVICE_VARIABLE = "SYRE_DEVICE"


def pick_device(
    name: str | None = None, *, quiet: bool = False, argument: str = "argument name"
) -> torch.device:
    """Choose the device: CUDA, else MPS, else CPU; one line on stderr says which.

    Parameters
    ----------
    name : str, optional
        A device such as "cuda:1" or "cpu", or "auto". Default: the environment variable
        ``SYRE_DEVICE`` if it is set, else "auto".
    quiet : bool
        Say nothing. Default False.
    argument : str
        What to call `name` in what is said, such as ``--device``. Default "argument name".

    Returns
    -------
    torch.device
        One that exists.

    Raises
    ------
    ValueError
        If the device is unknown or not there.

    Examples
    --------
    >>> pick_device("cpu", quiet=True)
    device(type='cpu')
    """
    origin = argument if name is not None else f"environment variable {DEVICE_VARIABLE}"
    wanted = name if name is not None else os.environ.get(DEVICE_VARIABLE, "auto")
    if wanted == "auto":
        found = [kind for kind in ("cuda", "mps") if _count(kind)]
        device = torch.device(found[0] if found else "cpu")
        reason = "found" if found else "no GPU found"
    else:
        device = _existing(wanted, origin)
        reason = f"asked for by {origin}"
    if not quiet:
        label = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
        print(f"device: {label} ({reason})", file=sys.stderr)
    return device


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, NumPy and PyTorch, and return a generator of the same seed.

    The package itself never touches the global generators; this is for a reader's own scripts, and
    for models whose layers draw their initial values from the global one.

    Parameters
    ----------
    seed : int
        Between 0 and 2**32 - 1.

    Returns
    -------
    torch.Generator
        On the CPU, for draws that are to be independent of the global state.

    Raises
    ------
    TypeError
        If the seed is no whole number.
    ValueError
        If the seed is out of range.
    """
    if not 0 <= check_int("seed", seed) < 2**32:
        raise ValueError(f"seed={seed} must be between 0 and 2**32 - 1")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (libraries that still draw from the global state)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def check_device(argument: str, value: Any) -> str:
    """Return a device by its name, or raise an error unless it is one that PyTorch may know.

    Parameters
    ----------
    argument : str
        Name for messages.
    value : str or torch.device
        It may be a device that is on another machine only.

    Returns
    -------
    str
        Such as "cuda:1".

    Raises
    ------
    TypeError
        If it is neither text nor a device.
    ValueError
        If there is no such kind of device.
    """
    if not isinstance(value, str | torch.device):
        raise TypeError(f"{argument}={value!r} must be a device, such as 'cpu' or 'cuda:0'")
    return str(_known(str(value), argument))


def existing_device(argument: str, value: Any) -> torch.device:
    """Return a device, or raise an error unless this process can use it.

    Parameters
    ----------
    argument : str
        Name for messages.
    value : str or torch.device
        Its name.

    Returns
    -------
    torch.device
        One that exists.

    Raises
    ------
    TypeError
        If it is neither text nor a device.
    ValueError
        If the device is unknown or not there.
    """
    return _existing(check_device(argument, value), argument)


def _known(wanted: str, origin: str) -> torch.device:
    try:
        return torch.device(wanted)
    except RuntimeError as error:
        raise ValueError(
            f"{origin}: {wanted!r} is no device; use auto, cpu, mps, cuda or cuda:N"
        ) from error


def _existing(wanted: str, origin: str) -> torch.device:
    device = _known(wanted, origin)
    if device.type != "cpu" and (device.index or 0) >= _count(device.type):
        raise ValueError(
            f"{origin}: {wanted!r} is not there ({_count(device.type)} of that kind found); use "
            "auto or cpu"
        )
    return device


def _count(kind: str) -> int:
    """Return the number of devices of a kind that this process can use."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available()))
