"""A checkpoint without its model: what can be told from the weights alone."""

from __future__ import annotations

import importlib
import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .classes import classes_of_rows
from .diagnose import diagnose
from .judge import judge
from .observe import Loss, Observed
from .report import Report

_UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError,
)  # fmt: skip
_UNKNOWN = [
    (
        "what the units do",
        "that takes the model and a batch: --model module:function --batch FILE, or "
        "sh.diagnose(model, batch)",
    ),
    (
        "which units may change places",
        "every row of a weight counts as a unit, by its incoming weights, its bias and its norm; "
        "who reads it is not known, so twins are twins in what they compute",
    ),
]


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name; no code of the file is run.

    Parameters
    ----------
    path : str or Path
        A file of safetensors, or one that ``torch.save`` wrote. If it holds more than a state (an
        optimizer, an epoch), the mapping with the most numbers in it is taken for the model's.

    Returns
    -------
    dict of str to Tensor
        On the CPU.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is no checkpoint, or one that cannot be read without running its code.
    """
    path = Path(path)
    content = _load(path)
    states = list(_states(content))
    if not states:
        raise ValueError(
            f"{str(path)!r} holds no named tensors, so it is no checkpoint of a model; save "
            "model.state_dict()"
        )
    return max(states, key=lambda state: sum(tensor.numel() for tensor in state.values()))


def _load(path: Path) -> Any:
    """Return the tensors of a file by name; no code in it is run."""
    with path.open("rb"):
        pass  # a file that is not there is no bad checkpoint
    try:
        if path.suffix == ".safetensors":
            return _load_safetensors(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle's version, as if it could be read
            return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise ValueError(_refusal(path, error)) from error


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ValueError("it takes the package safetensors; pip install safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _refusal(path: Path, error: Exception) -> str:
    said = f"{str(path)!r} is no checkpoint that can be read without running its code; save "
    said += "model.state_dict(), or safetensors"
    lines = str(error).strip().splitlines()
    # PyTorch's own words on pickles advise to run the code.
    return (
        said if isinstance(error, pickle.UnpicklingError) or not lines else f"{said} ({lines[0]})"
    )


def _states(content: Any) -> Iterator[dict[str, Tensor]]:
    """Yield every mapping from names to tensors that a file holds, the outer ones first."""
    if not isinstance(content, Mapping):
        return
    own = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if own:
        yield own
    for key, value in content.items():
        if "optimizer" not in str(key):
            yield from _states(value)


def diagnose_checkpoint(
    path: str | Path,
    *,
    model: str | None = None,
    batch: str | Path | None = None,
    loss: str | None = None,
    weight_decay: float | None = None,
) -> Report:
    """Return a report on a checkpoint: on its weights alone, or on the model that it belongs to.

    Parameters
    ----------
    path : str or Path
        As in `read_checkpoint`.
    model : str, optional
        ``"module:function"``: imported and called without arguments, it returns the model.
    batch : str or Path, optional
        A file of tensors, as `diagnose` takes them; needed with `model`.
    loss : str, optional
        A function of ``torch.nn.functional``, such as ``"cross_entropy"``.
    weight_decay : float, optional
        As in `diagnose`.

    Returns
    -------
    Report
        As of `diagnose_state` or `diagnose`.

    Raises
    ------
    OSError
        If a file cannot be opened.
    ValueError
        If a file cannot be read without running its code, one of `model` and `batch` is given
        without the other, the function cannot be imported or returns no model, or the checkpoint
        does not fit it.
    """
    given = {"batch": batch, "loss": loss, "weight_decay": weight_decay}
    lone = [name.replace("_", "-") for name, value in given.items() if value is not None]
    if model is None and lone:
        raise ValueError(f"--{lone[0]} takes the model: give --model module:function, too")
    if model is not None and batch is None:
        raise ValueError("--model needs --batch FILE: what is the model called with?")
    state = read_checkpoint(path)
    if model is None or batch is None:
        return diagnose_state(state)
    made = _made(model)
    try:
        made.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{str(path)!r} does not fit --model={model}: {error}") from error
    return diagnose(made, _load(Path(batch)), loss=_loss(loss), weight_decay=weight_decay)


def _made(factory: str) -> nn.Module:
    """Return the model that ``"module:function"`` makes."""
    module, _, function = factory.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"--model={factory!r} must be module:function, to be imported from here ({error})"
        ) from error
    made = make()
    if not isinstance(made, nn.Module):
        raise ValueError(f"--model={factory!r} returned a {type(made).__name__}, not an nn.Module")
    return made


def _loss(name: str | None) -> Loss | None:
    if name is None:
        return None
    function = getattr(nn.functional, name, None)
    if not callable(function):
        raise ValueError(f"--loss={name!r} is no function of torch.nn.functional")
    return function


def diagnose_state(state: Mapping[str, Tensor]) -> Report:
    """Return a report on the weights of a model that is not there.

    Dead rows, rows that are twins, ranks, and the gates and gains of BatchNorm can be told; what
    the units do, and whether pairs attract, cannot.

    Parameters
    ----------
    state : mapping of str to Tensor
        As ``model.state_dict()`` gives it, in its order: a norm belongs to the weight before it.

    Returns
    -------
    Report
        One class per weight; with a list of what was left out.

    Raises
    ------
    ValueError
        If there is no weight with two axes.

    Examples
    --------
    >>> import torch
    >>> state = torch.nn.Linear(8, 4).state_dict()
    >>> state["weight"][2] = state["weight"][1]
    >>> state["bias"][2] = state["bias"][1]
    >>> diagnose_state(state).alarms
    {'weight': ['1 units copy others exactly, in 1 group']}
    """
    left_out: list[tuple[str, str]] = []
    classes = classes_of_rows(state, left_out)
    if not classes:
        raise ValueError(
            "the state has no weight with two axes and two rows or more, so there are no units to "
            f"judge; it has {list(state)[:5]}"
        )
    seen = Observed([None] * len(classes))
    findings = judge(classes, state, seen, None)
    last = classes[-1].width
    return Report(findings, last, True, None, left_out + _UNKNOWN, "weights alone")
