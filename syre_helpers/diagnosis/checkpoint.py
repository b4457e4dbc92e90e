"""A checkpoint without its model: what can be told from the weights alone."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from ..removal.names import canonical_name
from .diagnose import diagnose
from .files import load, read_state
from .judge import judge
from .observe import Loss, Observed
from .report import Report
from .rows import classes_of_rows
from .stored import computed

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
_GATES = (
    "what follows a norm",
    "a gate is one where an activation such as ReLU follows; at the end of a residual branch, "
    "where none does, a bias below 0 closes nothing",
)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name; no code of the file is run.

    Parameters
    ----------
    path : str or Path
        A file of safetensors, or one that ``torch.save`` wrote; the index of a model in several
        files; a folder with one of these in it, as `transformers.Trainer` writes it; what `fit`
        keeps; a zip of Stable-Baselines3. If it holds more than a state (an optimizer, an epoch),
        the mapping with the most numbers in it is taken for the model's.

    Returns
    -------
    dict of str to Tensor
        On the CPU, under the names of the file.

    Raises
    ------
    OSError
        If the file is not there, or cannot be opened.
    ValueError
        If it is no checkpoint, or one that cannot be read without running its code.
    """
    return read_state(Path(path))[0]


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
    state, left_out = read_state(Path(path))
    if model is None or batch is None:
        report = diagnose_state(state)
        return replace(report, left_out=[*report.left_out, *left_out])
    made = _made(model)
    try:
        made.load_state_dict(_fitting(state, made))
    except RuntimeError as error:
        words = re.sub(r"^Error.*?:\s*", "", " ".join(str(error).split()))[:300]
        raise ValueError(f"{str(path)!r} does not fit --model={model}: {words}") from error
    report = diagnose(made, load(Path(batch)), loss=_loss(loss), weight_decay=weight_decay)
    return replace(report, left_out=[*report.left_out, *left_out])


def _fitting(state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """Return a state without what wrappers, or a module around the model, put before the names."""
    wanted = model.state_dict().keys()
    if state.keys() == wanted:
        return state
    plain = {canonical_name(f"{name}.")[:-1]: tensor for name, tensor in state.items()}
    first = next(iter(wanted), "")
    for name in plain:
        prefix = name.removesuffix(first)
        if name.endswith(first) and wanted <= {n.removeprefix(prefix) for n in plain}:
            return {n: plain[prefix + n] for n in wanted}
    return state


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
        Parametrized and pruned weights are judged as the model computes them.

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
    {'weight': ['1 unit copies another exactly, in 1 group']}
    """
    left_out: list[tuple[str, str]] = []
    state = computed(state, left_out)
    classes = classes_of_rows(state, left_out)
    if not classes:
        raise ValueError(
            "the state has no weight with two axes and two rows or more, so there are no units to "
            f"judge; it has {list(state)[:5]}"
        )
    seen = Observed([None] * len(classes))
    findings = judge(classes, state, seen, None)
    if any("closed gate" in found.dead.on_each_road for found in findings):
        left_out.append(_GATES)
    last = classes[-1].width
    return Report(findings, last, True, None, left_out + _UNKNOWN, "weights alone")
