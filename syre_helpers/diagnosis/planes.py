r"""The mirror planes of a class: how near its units are to them, and where training moves them.

Swapping the units i and j has the plane on which both are twins. Where a flip of sign goes with the
swap, it has the plane on which they are opposite; each pair is judged by the nearer one. Gradient
descent with decay changes their difference :math:`\Delta = \theta_i - \theta_j` at the rate

.. math:: -\Delta \cdot (g_i - g_j) / \|\Delta\|^2 - \lambda

per unit of learning rate and step, so one gradient gives the rates of all pairs of a class in two
matrix products. A negative rate: the pair attracts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .._random import generator
from .units import State, UnitClass

ON_THE_PLANE = 1e-5  # float32 copies that were trained on stay nearer than this
NEAREST = 20
_NULL_COLUMNS = 4096
_MOST_PAIRS = 10_000


@dataclass(frozen=True)
class Decay:
    """What pulls on the parameters beside the loss.

    Parameters
    ----------
    weight_decay : float
        PyTorch's number.
    theta_0 : mapping of str to Tensor
        Where decay pulls to, by name; empty for plain decay, which pulls to 0.
    """

    weight_decay: float
    theta_0: State


@dataclass(frozen=True)
class Pair:
    r"""Two units of a class; NaN for what is not known.

    Parameters
    ----------
    units : tuple of int
        Their numbers.
    distance : float
        :math:`\|\Delta\| / \sqrt{\|\theta_i\|^2 + \|\theta_j\|^2}`: 0 for twins, 1 for orthogonal
        units.
    rate, rate_of_loss : float
        With decay and without; NaN for exact twins.
    force : float
        Under syre: the force away from their plane.
    rest : float
        Under syre, where the pair attracts: the distance at which it comes to rest.
    opposite : bool
        Whether the second unit's sign was flipped for that.
    """

    units: tuple[int, int]
    distance: float
    rate: float = math.nan
    rate_of_loss: float = math.nan
    force: float = math.nan
    rest: float = math.nan
    opposite: bool = False


@dataclass(frozen=True)
class Planes:
    """The nearest mirror planes of a class; NaN for what is not known.

    Parameters
    ----------
    nearest : Pair, optional
        The two units that are most alike; None with fewer than two.
    closing : Pair, optional
        Of the pairs that are nearer than `NEAR` and than half the null, if there is one, and
        attract or are at rest (a rate below a tenth of the decay), the nearest.
    null : float
        The distance of the nearest pair after every scalar was shuffled among the units; NaN for
        two units, which no shuffle brings nearer.
    groups : tuple of tuple of int
        Exact twins, opposite ones among them.
    opposite : int
        Number of twins that are the first of their group with its sign flipped.
    near : int
        Number of units with another nearer than `NEAR`, exact twins left out.
    attracting : float
        The share of the `NEAREST` nearest pairs that attract.
    apart : float
        The median of their distances, not relative to anything.
    """

    nearest: Pair | None = None
    closing: Pair | None = None
    null: float = math.nan
    groups: tuple[tuple[int, ...], ...] = ()
    opposite: int = 0
    near: int = 0
    attracting: float = math.nan
    apart: float = math.nan


NEAR = 0.1
OF_NULL = 0.5
AT_REST = 0.1  # of decay: where loss and decay balance, the noise of training decides on the sign


def pair_rates(units: UnitClass, state: State, gradient: State) -> Tensor:
    """Return the rate of every pair of units under the loss alone, from one gradient.

    Parameters
    ----------
    units : UnitClass
        The class.
    state, gradient : mapping of str to Tensor
        Parameters, and the gradient of the loss.

    Returns
    -------
    Tensor
        Shape (units, units), float64, per unit of learning rate and step; negative where the pair
        attracts, NaN for exact twins and on the diagonal.
    """
    return _rates(_grams(units, state, state)[0], _grams(units, state, gradient)[0])


def nearest_planes(
    units: UnitClass,
    state: State,
    live: Tensor,
    gradient: State | None = None,
    decay: Decay | None = None,
) -> Planes:
    """Return the nearest mirror planes of the swaps of a class.

    Parameters
    ----------
    units : UnitClass
        The class.
    state : mapping of str to Tensor
        Parameters.
    live : Tensor
        Numbers of the units to count, int64: dead ones are all alike, and no twins.
    gradient : mapping of str to Tensor, optional
        Of the loss, for the rates.
    decay : Decay, optional
        For the rates, and for the force under syre.

    Returns
    -------
    Planes
        All NaN where a parameter is not finite.
    """
    grams = _grams(units, state, state)[:, live][:, :, live]
    if len(live) < 2 or not grams.isfinite().all():
        return Planes()
    gram, flips = grams.max(0)
    flips.fill_diagonal_(0)
    gram.diagonal().copy_(grams[0].diagonal())

    def beside(other: State) -> Tensor:
        crosses = _grams(units, state, other)[:, live][:, :, live]
        return crosses.gather(0, flips[None])[0]

    distance = _relative(gram)
    flat = torch.triu_indices(len(live), len(live), offset=1)
    values = distance[flat[0], flat[1]]
    null = _null(units, state, live)
    limit = NEAR if math.isnan(null) else min(NEAR, OF_NULL * null)
    # All near pairs, and the nearest ones in any case.
    count = min(max(NEAREST, int((values < limit).sum())), len(values), _MOST_PAIRS)
    order = values.topk(count, largest=False).indices
    first, second = flat[0][order], flat[1][order]
    rates, of_loss = torch.full((2, count), torch.nan, dtype=torch.float64)
    own = decay.weight_decay if decay else 0.0
    theta_0 = decay.theta_0 if decay else {}
    if gradient is not None:
        of_loss = _rates(gram, beside(gradient))[first, second]
        rates = of_loss - own
        if theta_0:
            rates = rates - own * _rates(gram, beside(theta_0))[first, second]

    sizes = (gram.diagonal()[first] + gram.diagonal()[second]).sqrt()

    def pair(k: int) -> Pair:
        numbers = int(live[first[k]]), int(live[second[k]])
        flip = int(flips[first[k], second[k]])
        found = Pair(
            numbers, float(values[order[k]]), float(rates[k]), float(of_loss[k]), opposite=flip > 0
        )
        if not theta_0:
            return found
        apart = math.sqrt(_squared_difference(units, theta_0, *numbers, flip))
        stiffness = own - found.rate_of_loss
        rest = own * apart / stiffness / float(sizes[k]) if stiffness > 0 else math.nan
        return replace(found, force=own * apart / math.sqrt(2), rest=rest)

    twins = distance <= ON_THE_PLANE
    close = distance.fill_diagonal_(1.0).masked_fill(twins, 1.0) < NEAR
    closing = (values[order] < limit) & (rates < AT_REST * own)
    # A pair on its plane stays there, and only there has no rate.
    attracting = (rates < 0) | (values[order] <= ON_THE_PLANE)
    heads = twins.clone().fill_diagonal_(True).double().argmax(1)
    return Planes(
        pair(0),
        pair(int(closing.double().argmax())) if closing.any() else None,
        null,
        _groups(heads, live),
        int((flips[heads, torch.arange(len(live))] > 0).sum()),
        int(close.any(1).sum()),
        math.nan if gradient is None else float(attracting[:NEAREST].double().mean()),
        float((sizes * values[order])[:NEAREST].median()),
    )


def _grams(units: UnitClass, state: State, other: State) -> Tensor:
    """Return the inner products of all units' rows of two states, the second's with each flip."""
    signs = units.signs()
    total = torch.zeros(len(signs), units.width, units.width, dtype=torch.float64)
    for number, part in enumerate(units.parts):
        if part.role == "buffer" or not (part.within(state) and part.within(other)):
            continue  # of the frozen there is no gradient
        rows = part.of(state)
        others = rows if other is state else part.of(other)
        product = (rows @ others.T).cpu()
        for one, sign in zip(total, signs[:, number].tolist(), strict=True):
            one += sign * product
    return total


def _rates(gram: Tensor, cross: Tensor) -> Tensor:
    """Return minus the share of a gradient along each pair's difference, NaN where that is 0."""
    own, with_gradient = gram.diagonal(), cross.diagonal()
    squares = own[:, None] + own - 2 * gram
    along = with_gradient[:, None] + with_gradient - cross - cross.T
    apart = squares > ON_THE_PLANE**2 * (own[:, None] + own)
    return torch.where(apart, -along / squares, torch.nan)


def _relative(gram: Tensor) -> Tensor:
    own = gram.diagonal()
    both = own[:, None] + own
    squares = (both - 2 * gram).clamp_min(0)
    return (squares / both.clamp_min(1e-300)).sqrt()


def _groups(heads: Tensor, live: Tensor) -> tuple[tuple[int, ...], ...]:
    """Return the groups of exact twins: of units that have the same first twin."""
    groups = [live[heads == head].tolist() for head in heads.unique()]
    return tuple(tuple(group) for group in groups if len(group) > 1)


def _null(units: UnitClass, state: State, live: Tensor) -> float:
    """Return the nearest distance after each scalar was shuffled among the units by itself."""
    if len(live) < 3:
        return math.nan  # exchanging scalars of two units leaves their distance as it is
    parts = [(number, part) for number, part in enumerate(units.parts) if part.role != "buffer"]
    parts = [(number, part) for number, part in parts if part.within(state)]
    rows = [part.of(state).cpu() for _, part in parts]
    every = max(1, sum(one.shape[1] for one in rows) // _NULL_COLUMNS)
    kept = [one[live, ::every] for one in rows]
    columns = torch.cat(kept, 1)
    order = torch.rand(columns.shape, generator=generator(0, "null", units.name)).argsort(0)
    shuffled = columns.gather(0, order)
    signs = units.signs()[:, [number for number, _ in parts]]
    signs = signs.repeat_interleave(torch.tensor([one.shape[1] for one in kept]), 1)
    own = shuffled @ shuffled.T
    gram = torch.stack([shuffled @ (shuffled * sign).T for sign in signs]).amax(0)
    gram.diagonal().copy_(own.diagonal())
    return float(_relative(gram).fill_diagonal_(torch.inf).min())


def _squared_difference(units: UnitClass, state: State, i: int, j: int, flip: int) -> float:
    """Return the squared distance of two units, the second with a flip of its sign."""
    total = 0.0
    for part, sign in zip(units.parts, units.signs()[flip].tolist(), strict=True):
        if part.role != "buffer" and part.within(state):
            rows = part.of(state)
            total += float((rows[i] - sign * rows[j]).square().sum())
    return total
