"""What the census measures on the units of one layer, and by which rules it calls a unit dead.

All rules are relative to the layer's median unit. A unit may be dead by its *weights* (no input
moves it, or nothing reads it), by its *function* (on the inputs that were tried its output does not
vary) and by the *record of training* that the file holds (BatchNorm's running variance, Adam's
second moment). The three are counted apart, since each can be fooled; where two of them agree, the
death of a unit is confirmed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from syre_helpers import effective_rank, numerical_rank
from syre_helpers._random import generator

CLOSED = 4.0
"""A gate is closed if it opens for inputs above this many standard deviations only."""
LOW_GAIN = 0.01
"""A norm's gain is next to zero below this share of the median."""
FLAT = 0.01
"""An activation is flat where its slope is below this."""
ZERO = 1e-3
"""Weights are zero, what a unit sends on is constant, and training has left no trace, below this
share of the median."""
FAINT = 0.01
"""What a unit sends on is faint below this share of the median."""
ON_PLANE = 0.01
"""A unit is on its mirror plane if what the sign flip negates is below this share of the median."""
TWIN = 0.1
"""Two units are twins below this distance, where two unrelated ones are at the root of 2."""
SHUFFLES = 5

ROADS = (
    "mirror plane",
    "closed gate",
    "flat point",
    "low gain",
    "zero weights",
    "gate seen closed",
    "unknown",
)
"""How a dead unit is locked in; the first that fits. All but the last two are read from weights."""

COUNTS = ("by weights", "by function", "in training")
"""The three counts of dead units."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The units of one layer, as one row per unit.

    Parameters
    ----------
    name, activation : str
        For the table.
    incoming : Tensor
        Weights that make the unit, (units, entries).
    outgoing : Tensor, optional
        Weights that read the unit, (units, entries).
    negated : Tensor, optional
        What the sign flip of the unit negates, (units, entries); None where it has none.
    gates : tuple of Tensor
        For each gate that the unit passes: how many standard deviations its input must exceed its
        mean to open it, (units,). A smooth activation without a scale of its own, such as SiLU
        behind a norm with a gain, has none: see `slope`.
    shut : Tensor, optional
        Where the weights and the range of the inputs prove the gate shut, (units,).
    gain, slope : Tensor, optional
        The norm's gain, and the activation's slope where the gain is zero, (units,).
    activity, trace : Tensor, optional
        By how much the output varies on the inputs tried, and what training left, (units,).
    off : Tensor, optional
        Where the gate was shut on all inputs tried, (units,).
    """

    name: str
    activation: str
    incoming: Tensor
    outgoing: Tensor | None = None
    negated: Tensor | None = None
    gates: tuple[Tensor, ...] = ()
    shut: Tensor | None = None
    gain: Tensor | None = None
    slope: Tensor | None = None
    activity: Tensor | None = None
    trace: Tensor | None = None
    off: Tensor | None = None


def gate(bias: Tensor, gain: Tensor) -> Tensor:
    """Return by how many standard deviations a norm's output lies below zero in the mean.

    Parameters
    ----------
    bias, gain : Tensor
        Of the norm, (units,).

    Returns
    -------
    Tensor
        ``-bias / |gain|``; infinite where the gain is 0 and the bias is not positive.

    Examples
    --------
    >>> gate(torch.tensor([-2.0, 1.0, -1.0]), torch.tensor([0.5, -1.0, 0.0])).tolist()
    [4.0, -1.0, inf]
    """
    return torch.where(gain == 0, torch.where(bias <= 0, torch.inf, -torch.inf), -bias / gain.abs())


def second_moments(
    optimizer: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return Adam's running mean of squared gradients by the names of the parameters.

    Parameters
    ----------
    optimizer : mapping
        The state of an Adam with one group.
    weights : mapping of str to Tensor
        All parameters of the model, in their order.

    Returns
    -------
    dict of str to Tensor
        Parameters that never had a gradient are missing.

    Raises
    ------
    ValueError
        If shapes show that the order is another.
    """
    (group,) = optimizer["param_groups"]
    found = {}
    for number, (name, value) in zip(group["params"], weights.items(), strict=True):
        if number in optimizer["state"]:
            found[name] = optimizer["state"][number]["exp_avg_sq"]
            if found[name].shape != value.shape:
                raise ValueError(f"the optimizer's parameters are not in order: {name} differs")
    return found


def share(size: Tensor) -> Tensor:
    """Return sizes over their median; where the median is zero, 1 for every unit."""
    middle = size.median()
    return size / middle if middle > 0 else torch.ones_like(size)


def judged(layer: Layer) -> dict[str, Tensor]:
    """Return the rules that hold for each unit of a layer: a mask per rule, all of one length.

    Parameters
    ----------
    layer : Layer
        What to judge.

    Returns
    -------
    dict of str to Tensor
        Keys are the roads but "unknown", and "by weights", "by function", "faint", "in training",
        and "confirmed". What could not be measured is nowhere true.
    """
    units = len(layer.incoming)
    never = torch.zeros(units, dtype=torch.bool)

    def below(size: Tensor | None, bound: float) -> Tensor:
        return never if size is None else share(size.double()) < bound

    found = {
        "mirror plane": below(_norms(layer.negated), ON_PLANE),
        "closed gate": never if layer.shut is None else layer.shut,
        "low gain": below(None if layer.gain is None else layer.gain.abs(), LOW_GAIN),
        "zero weights": below(_norms(layer.incoming), ZERO) | below(_norms(layer.outgoing), ZERO),
    }
    for own in layer.gates:
        found["closed gate"] = found["closed gate"] | (own > CLOSED)
    flat = never if layer.slope is None else layer.slope.abs() < FLAT
    found["flat point"] = found["low gain"] & flat
    found["by weights"] = torch.stack(list(found.values())).any(0)
    found["by function"] = below(layer.activity, ZERO)
    found["faint"] = below(layer.activity, FAINT)
    found["in training"] = below(layer.trace, ZERO)
    found["gate seen closed"] = never if layer.off is None else layer.off
    counts = [found[name].int() for name in COUNTS]
    found["confirmed"] = torch.stack(counts).sum(0) >= 2
    return found


def road(found: dict[str, Tensor], unit: int) -> str:
    """Return the first road that fits a unit, or "unknown"."""
    return next((name for name in ROADS[:-1] if found[name][unit]), ROADS[-1])


def layer_row(layer: Layer) -> dict[str, Any]:
    """Return the row of the census on a layer.

    Parameters
    ----------
    layer : Layer
        What to measure.

    Returns
    -------
    dict
        Counts of units by rule (None where the rule could not be applied), the nearest pair and the
        nearest mirror plane of a sign flip, each beside its shuffled null, and ranks of the
        incoming weights. Units whose death is confirmed are left out of pairs and ranks: zeros are
        copies of each other.
    """
    found = judged(layer)
    there = {
        "by function": layer.activity,
        "faint": layer.activity,
        "in training": layer.trace,
        "gate seen closed": layer.off,
    }
    counts = {
        name.replace(" ", "_"): None if name in there and there[name] is None else int(mask.sum())
        for name, mask in found.items()
    }
    alive = ~found["confirmed"]
    rows = _scaled(layer, alive)
    incoming = layer.incoming[alive].double()
    return {
        "layer": layer.name,
        "activation": layer.activation,
        "units": len(alive),
        **counts,
        **_pairs(rows, layer.name),
        **_planes(layer.negated, alive, layer.name),
        "largest_gate_alive": _largest_gate(layer, alive),
        "effective_rank": float(effective_rank(incoming)),
        "numerical_rank": int(numerical_rank(incoming, rtol=1e-3)),
        "full_rank": min(incoming.shape),
    }


def unit_rows(layer: Layer) -> list[dict[str, Any]]:
    """Return a row for each unit of a layer that is dead by at least one of the three counts.

    Parameters
    ----------
    layer : Layer
        What to measure.

    Returns
    -------
    list of dict
        The unit, its road, and the numbers behind it, relative to the layer's median unit.
    """
    found = judged(layer)
    dead = torch.stack([found[name] for name in COUNTS]).any(0)
    numbers = {
        "incoming": _norms(layer.incoming),
        "outgoing": _norms(layer.outgoing),
        "negated": _norms(layer.negated),
        "gain": None if layer.gain is None else layer.gain.abs(),
        "activity": layer.activity,
        "trace": layer.trace,
    }
    shares = {n: None if v is None else share(v.double()) for n, v in numbers.items()}
    largest = torch.stack(layer.gates).amax(0) if layer.gates else None
    return [
        {
            "layer": layer.name,
            "unit": unit,
            "road": road(found, unit),
            **{n.replace(" ", "_"): bool(m[unit]) for n, m in found.items()},
            "gate": None if largest is None else float(largest[unit]),
            **{n: None if v is None else float(v[unit]) for n, v in shares.items()},
        }
        for unit in dead.nonzero().flatten().tolist()
    ]


def nearest_pair(rows: Tensor) -> tuple[float, int]:
    """Return the smallest distance of two rows, and the number of pairs of twins.

    Parameters
    ----------
    rows : Tensor
        (units, entries).

    Returns
    -------
    float
        ``|a - b|`` over the root mean square of the two norms: 0 for copies, the root of 2 for
        unrelated rows; NaN for fewer than two rows.
    int
        Pairs nearer than `TWIN`.

    Examples
    --------
    >>> nearest_pair(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]))
    (0.0, 1)
    """
    if len(rows) < 2:
        return float("nan"), 0
    rows = rows.double()
    squares = rows.square().sum(1)
    sums = squares[:, None] + squares
    apart = (sums - 2 * rows @ rows.T).clamp_min(0) / (sums / 2)
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    distances = apart[first, second].sqrt()
    return float(distances.min()), int((distances < TWIN).sum())


def _pairs(rows: Tensor, name: str) -> dict[str, Any]:
    distance, twins = nearest_pair(rows)
    null = torch.tensor([nearest_pair(s)[0] for s in _shuffled(rows, "pairs", name)])
    return {"nearest_pair": distance, "nearest_pair_null": float(null.median()), "twins": twins}


def _planes(negated: Tensor | None, alive: Tensor, name: str) -> dict[str, Any]:
    if negated is None:
        return {"nearest_plane": None, "nearest_plane_null": None}
    middle = negated.double().norm(dim=1).median()
    own = negated[alive].double()
    null = [s.norm(dim=1).min() / s.norm(dim=1).median() for s in _shuffled(own, "planes", name)]
    return {
        # Over all units, the dead ones too: are they on the plane?
        "nearest_plane": float(negated.double().norm(dim=1).min() / middle),
        "nearest_plane_null": float(torch.stack(null).median()),
    }


def _shuffled(rows: Tensor, *purpose: str) -> Sequence[Tensor]:
    """Return rows whose entries are exchanged between units, column by column, several times."""
    draw = generator(0, "census", *purpose)
    orders = (torch.rand(rows.shape, generator=draw).argsort(0) for _ in range(SHUFFLES))
    return [rows.gather(0, order) for order in orders]


def _scaled(layer: Layer, alive: Tensor) -> Tensor:
    """Return incoming and outgoing weights side by side, each in units of their median norm."""
    parts = [p[alive] for p in (layer.incoming, layer.outgoing) if p is not None]
    return torch.cat([p / p.norm(dim=1).median() for p in parts], 1)


def _largest_gate(layer: Layer, alive: Tensor) -> float | None:
    if not layer.gates:
        return None
    return float(torch.stack(layer.gates)[:, alive].amax())


def _norms(rows: Tensor | None) -> Tensor | None:
    return None if rows is None else rows.double().norm(dim=1)
