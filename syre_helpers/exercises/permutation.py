"""The exercises of the chapter "Permutation: twin neurons"."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ._compare import difference
from ._declare import Function, Judged, Mistake, Number, float64, normal

Params = Mapping[str, Tensor]


def _layers(*sizes: int) -> dict[str, Tensor]:
    """Return random parameters of an MLP."""
    shapes: dict[str, tuple[int, ...]] = {}
    for k, (inputs, outputs) in enumerate(pairwise(sizes)):
        shapes |= {f"{2 * k}.weight": (outputs, inputs), f"{2 * k}.bias": (outputs,)}
    return {name: normal(*shape, seed=k) for k, (name, shape) in enumerate(shapes.items())}


def _judge_counts(answer: Any) -> None:
    if isinstance(answer, (Tensor, np.ndarray)):
        answer = answer.tolist()
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Mistake("The answer should be a pair of numbers: (rank, planes).")
    for count, number in zip((RANK, PLANES), answer, strict=True):
        if not (verdict := count(number)):
            raise Mistake(verdict.message)


def _swapping(*places: tuple[str, int]) -> Callable[[Params, int, int], dict[str, Tensor]]:
    """Return a swap of two entries, along an axis each, of some tensors."""

    def swap(p: Params, i: int, j: int) -> dict[str, Tensor]:
        swapped = dict(p)
        for name, axis in places:
            order = torch.arange(p[name].shape[axis])
            order[[i, j]] = order[[j, i]]
            swapped[name] = swapped[name].index_select(axis, order)
        return swapped

    return swap


def _twins() -> dict[str, Tensor]:
    """Return the parameters of a network in which unit 1 is a copy of unit 0."""
    p = _layers(3, 4, 1)
    for units in (p["0.weight"], p["0.bias"], p["2.weight"].T):
        units[1] = units[0]
    return p


def _parted(p: Params) -> dict[str, Tensor]:
    return {**p, "2.weight": p["2.weight"] * float64(1.5, 0.5, 1, 1)}


def _network(p: Params, x: Tensor) -> Tensor:
    hidden = torch.tanh(x @ p["0.weight"].T + p["0.bias"])
    return hidden @ p["2.weight"].T + p["2.bias"]


def _unit(p: Params, i: int) -> Tensor:
    """Return all that a unit owns."""
    return torch.cat([p["0.weight"][i], p["0.bias"][i : i + 1], p["2.weight"][:, i]])


def _after_a_step(p: Params, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    leaves = {name: value.detach().clone().requires_grad_() for name, value in p.items()}
    loss = (_network(leaves, x) - y).square().mean()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {
        name: (leaf - 0.1 * gradient).detach()
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }


def _judge_parting(parted: Any, p: Params) -> str:
    """Return nothing where the function is kept and the twins part after a step of descent."""
    if told := difference(parted, p, math.inf, math.inf):
        raise Mistake(f"Your function returns {told}.")
    parted = {name: torch.as_tensor(parted[name]) for name in p}
    x, y = normal(50, 3, seed=8), normal(50, 1, seed=9)
    change = float((_network(parted, x) - _network(p, x)).detach().abs().max())
    if not change < 1e-6:
        raise Mistake(f"The outputs change by up to {change:.1e}; they must stay as they are.")
    if torch.equal(_unit(parted, 0), _unit(parted, 1)):
        raise Mistake("The two units are still identical.")
    after = _after_a_step(parted, x, y)
    first, second = _unit(after, 0), _unit(after, 1)
    if torch.allclose(first, -second, atol=1e-9):
        raise Mistake(
            "The function is kept, but now the units are mirror images with all signs changed: "
            "tanh is odd, and that is a mirror plane, too. Gradient descent stays on it."
        )
    if torch.allclose(first, second, atol=1e-9):
        raise Mistake("After one step of gradient descent the two units are identical again.")
    return ""


_UNITS = 64
_ROWS, _BIAS, _COLUMNS = ("2.weight", 0), ("2.bias", 0), ("4.weight", 1)
_THREE_LAYERS = _layers(3, 5, 4, 2)

RANK = Number(
    what="The rank",
    right=20 + 1 + 10,
    praise="",
    mistakes={
        "A unit has a bias, too.": 20 + 10,
        "The outgoing weights are swapped, too.": 20 + 1,
        "The incoming weights are swapped, too.": 1 + 10,
        "On the plane one unit is still free; lost is what the other would own.": 2 * 31,
        "That is the number of planes; the rank comes first.": math.comb(_UNITS, 2),
    },
)
PLANES = Number(
    what="The number of planes",
    right=math.comb(_UNITS, 2),
    praise="",
    mistakes={
        "Each pair is counted twice: swapping i and j is swapping j, i.": _UNITS * (_UNITS - 1),
        "A unit is not swapped with itself, and each pair counts once.": _UNITS**2,
        "That is the number of orders, and of equal copies.": float(math.factorial(_UNITS)),
        "There is a plane for each pair of units, not for each unit.": _UNITS,
    },
)

check_permutation_count = Judged(
    what="The pair",
    right=(RANK.right, PLANES.right),
    judged_by=_judge_counts,
    praise="Quadratically many mirrors, in one layer.",
)

check_permutation_swap = Function(
    what="Your swap",
    right=_swapping(_ROWS, _BIAS, _COLUMNS),
    cases={"units 0 and 2": (_THREE_LAYERS, 0, 2), "units 3 and 1": (_THREE_LAYERS, 3, 1)},
    praise="Rows where the units are computed, columns where they are read.",
    mistakes={
        "Nothing is swapped.": _swapping(),
        "The function changes: the layer that reads the units must read them in the new order, "
        "too. That is a matter of columns.": _swapping(_ROWS, _BIAS),
        "The biases must be swapped, too.": _swapping(_ROWS, _COLUMNS),
        "The units' incoming weights and biases must be swapped, too.": _swapping(_COLUMNS),
        "The columns of layer 2 belong to the first hidden layer: leave them.": _swapping(
            _ROWS, _BIAS, ("2.weight", 1), _COLUMNS
        ),
        "That swaps units of the first hidden layer.": _swapping(
            ("0.weight", 0), ("0.bias", 0), ("2.weight", 1)
        ),
    },
)

check_permutation_part_twins = Function(
    right=_parted,
    view=_judge_parting,
    cases={"twins": (_twins(),)},
    praise="The twin with the larger outgoing weight takes larger steps.",
    mistakes={},
)
