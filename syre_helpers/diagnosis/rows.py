"""Classes of units where no symmetries are known: the rows of each weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .units import Part, Role, State, UnitClass

LeftOut = list[tuple[str, str]]
_MOST_ROWS = 6000  # of a matrix; those with more are vocabularies, or take hours


def classes_of_rows(state: State, left_out: LeftOut) -> list[UnitClass]:
    """Return a class for the rows of each weight, with the bias and the norm that follow it.

    Parameters
    ----------
    state : mapping of str to Tensor
        In the order of the layers.
    left_out : list
        Takes what has too many rows.

    Returns
    -------
    list of UnitClass
        With incoming weights only.
    """
    stems: dict[str, dict[str, Tensor]] = {}
    norms = [name.rpartition(".")[0] for name in state if name.endswith("running_var")]
    for name, tensor in state.items():
        stem, _, last = name.rpartition(".")
        stems.setdefault(stem, {})[last] = tensor
    classes: list[UnitClass] = []
    for stem, tensors in stems.items():
        before = classes[-1] if classes else None
        if stem in norms:
            width = len(tensors["running_var"])
            if before is not None and width == before.width:
                parts = before.parts + _parts(stem, tensors, width)
                classes[-1] = UnitClass(before.name, before.kinds, width, parts)
            continue
        for last, tensor in tensors.items():
            name = f"{stem}.{last}" if stem else last
            if tensor.ndim < 2 or len(tensor) < 2 or not tensor.is_floating_point():
                continue
            if not tensor.any():
                left_out.append(
                    (name, "all of it is 0, as where LoRA's B and some last layers begin")
                )
                continue
            if len(tensor) > _MOST_ROWS:
                left_out.append((name, f"{len(tensor)} rows: a vocabulary, or too many to compare"))
                continue
            own = {last: tensor}
            for other in (last.replace("weight", "bias"), "bias"):
                bias = tensors.get(other)
                if bias is not None and bias is not tensor and bias.shape == (len(tensor),):
                    own[other] = bias
                    break
            classes.append(UnitClass(name, ("rows",), len(tensor), _parts(stem, own, len(tensor))))
    return classes


def _parts(stem: str, tensors: Mapping[str, Tensor], width: int) -> tuple[Part, ...]:
    entries = torch.arange(width)[:, None]
    normed = "running_var" in tensors
    parts = []
    for last, tensor in tensors.items():
        role: Role = "incoming" if tensor.ndim > 1 else "shift"
        if last.startswith("running"):
            role = "buffer"
        elif normed and last == "weight":
            role = "gain"
        if tensor.ndim:
            parts.append(Part(f"{stem}.{last}" if stem else last, 0, entries, role))
    return tuple(parts)
