"""Checks for the chapter "Permutation: twin neurons"."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ._compare import difference
from .base import NO_ANSWER, Verdict, check_function, check_number

Params = Mapping[str, Tensor]


def check_permutation_count(answer: object) -> Verdict:
    """Check rank(P) of a swap and the number of mirror planes of a layer, exercise 1.

    Parameters
    ----------
    answer : object
        The reader's pair of numbers.

    Returns
    -------
    Verdict
        Whether both are right, else which usual mistake was made.

    Examples
    --------
    >>> check_permutation_count((30, 2016))
    Not yet. A unit has a bias, too.
    """
    if answer is None or answer is Ellipsis:
        return Verdict(False, NO_ANSWER)
    if isinstance(answer, (Tensor, np.ndarray)):
        answer = answer.tolist()
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        return Verdict(False, "The answer should be a pair of numbers: (rank, planes).")
    rank, planes = answer
    inputs, outputs, units = 20, 10, 64
    first = check_number(
        rank,
        inputs + 1 + outputs,
        what="The rank",
        rtol=0,
        hints=[
            (inputs + outputs, "A unit has a bias, too."),
            (inputs + 1, "The outgoing weights are swapped, too."),
            (1 + outputs, "The incoming weights are swapped, too."),
            (
                2 * (inputs + 1 + outputs),
                "On the plane one unit is still free; lost is what the other would own.",
            ),
            (math.comb(units, 2), "That is the number of planes; the rank comes first."),
        ],
    )
    if not first:
        return first
    return check_number(
        planes,
        math.comb(units, 2),
        what="The number of planes",
        rtol=0,
        hints=[
            (units * (units - 1), "Each pair is counted twice: swapping i and j is swapping j, i."),
            (units**2, "A unit is not swapped with itself, and each pair counts once."),
            (float(math.factorial(units)), "That is the number of orders, and of equal copies."),
            (units, "There is a plane for each pair of units, not for each unit."),
        ],
        right="Quadratically many mirrors, in one layer.",
    )


def check_permutation_swap(answer: object) -> Verdict:
    """Check the swap of two units of the second hidden layer, exercise 2.

    Parameters
    ----------
    answer : object
        The reader's function of (p, i, j).

    Returns
    -------
    Verdict
        Whether it is right, else which usual mistake was made.

    Examples
    --------
    >>> check_permutation_swap(lambda p, i, j: dict(p))
    Not yet. Nothing is swapped.
    """
    p = _random(
        {"0.weight": (5, 3), "0.bias": (5,), "2.weight": (4, 5), "2.bias": (4,)}
        | {"4.weight": (2, 4), "4.bias": (2,)}
    )
    rows, bias, columns = ("2.weight", 0), ("2.bias", 0), ("4.weight", 1)
    return check_function(
        answer,
        _swapping(rows, bias, columns),
        {"units 0 and 2": (p, 0, 2), "units 3 and 1": (p, 3, 1)},
        what="Your swap",
        hints=[
            (_swapping(), "Nothing is swapped."),
            (
                _swapping(rows, bias),
                "The function changes: the layer that reads the units must read them in the new "
                "order, too. That is a matter of columns.",
            ),
            (_swapping(rows, columns), "The biases must be swapped, too."),
            (_swapping(columns), "The units' incoming weights and biases must be swapped, too."),
            (
                _swapping(rows, bias, ("2.weight", 1), columns),
                "The columns of layer 2 belong to the first hidden layer: leave them.",
            ),
            (
                _swapping(("0.weight", 0), ("0.bias", 0), ("2.weight", 1)),
                "That swaps units of the first hidden layer.",
            ),
        ],
        right="Rows where the units are computed, columns where they are read.",
    )


def check_permutation_part_twins(answer: object) -> Verdict:
    """Check that twins are parted without a change of the function, exercise 3.

    Parameters
    ----------
    answer : object
        The reader's function of the parameters.

    Returns
    -------
    Verdict
        Whether the function is kept and the twins part after a step of gradient descent.

    Examples
    --------
    >>> check_permutation_part_twins(lambda p: dict(p))
    Not yet. The two units are still identical.
    """
    if answer is None or answer is Ellipsis:
        return Verdict(False, NO_ANSWER)
    if not callable(answer):
        return Verdict(False, "The answer should be a function of the parameters.")
    p = _random({"0.weight": (4, 3), "0.bias": (4,), "2.weight": (1, 4), "2.bias": (1,)})
    p["0.weight"][1], p["0.bias"][1], p["2.weight"][:, 1] = (
        p["0.weight"][0],
        p["0.bias"][0],
        p["2.weight"][:, 0],
    )
    given = copy.deepcopy(p)
    try:
        parted = answer(given)
    except Exception as error:  # whatever the reader's own code does
        reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": ")
        return Verdict(False, f"Your function stops: {reason}")
    if parted is None or parted is Ellipsis:
        return Verdict(False, "Your function returns nothing: replace the …, and end with return.")
    if difference(given, p, 0.0, 0.0):
        return Verdict(False, "Your function changes what it is given: work on a copy.")
    if told := difference(parted, p, math.inf, math.inf):
        return Verdict(False, f"Your function returns {told}.")
    problem = _problem_with_parting(p, {name: torch.as_tensor(parted[name]) for name in p})
    if problem:
        return Verdict(False, problem)
    return Verdict(True, "The twin with the larger outgoing weight takes larger steps.")


def _random(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


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


def _network(p: Params, x: Tensor) -> Tensor:
    hidden = torch.tanh(x @ p["0.weight"].T + p["0.bias"])
    return hidden @ p["2.weight"].T + p["2.bias"]


def _problem_with_parting(p: Params, parted: Params) -> str:
    x, y = _random({"x": (50, 3), "y": (50, 1)}).values()
    change = float((_network(parted, x) - _network(p, x)).detach().abs().max())
    if not change < 1e-6:
        return f"The outputs change by up to {change:.1e}; they must stay as they are."
    if torch.equal(_unit(parted, 0), _unit(parted, 1)):
        return "The two units are still identical."
    leaves = {name: value.detach().clone().requires_grad_() for name, value in parted.items()}
    loss = (_network(leaves, x) - y).square().mean()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    after = {
        name: (leaf - 0.1 * gradient).detach()
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True)
    }
    first, second = _unit(after, 0), _unit(after, 1)
    if bool(torch.isclose(first, -second, atol=1e-9).all()):
        return (
            "The function is kept, but now the units are mirror images with all signs changed: "
            "tanh is odd, and that is a mirror plane, too. Gradient descent stays on it."
        )
    if bool(torch.isclose(first, second, atol=1e-9).all()):
        return "After one step of gradient descent the two units are identical again."
    return ""


def _unit(p: Params, i: int) -> Tensor:
    """Return all that a unit owns."""
    return torch.cat([p["0.weight"][i], p["0.bias"][i : i + 1], p["2.weight"][:, i]])
