"""Dead units of a class, by their weights and by what they do, and by which road they died.

A unit is dead if the gradient cannot bring it back by itself. The roads differ in their remedy, so
each dead unit is counted on one of them:

- *closed gate*: a norm's bias so far below 0, ``-bias / |gain|``, or weights and bias so, that the
  activation behind lets nothing through;
- *norm gain*: the gain of the unit's norm is next to 0, and so is all that passes it;
- *mirror plane*: the weights that make the unit and those that read it are all next to 0, where a
  flip of sign would not change it; of a module, all its weights;
- *zero weights*: the weights that make the unit are next to 0, and what reads it is not known;
- *silent*: it is made, but nothing reads it, and no gradient is there that would change this;
- *flat point*: its value is a constant, where the activation has no slope.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .features import Features
from .units import State, UnitClass

ROADS = ("closed gate", "norm gain", "mirror plane", "zero weights", "silent", "flat point")
GATE = 4.0  # standard deviations of a normal value: open on 3 of 100,000 samples
GAIN = 0.01  # of the median gain
WEIGHTS = 1e-3  # of the norm of the larger units, or of the norm that a layer is made with
TO_THE_PLANE = 0.05  # the same, of a unit that is dead: what it has lost tells the road
RANGE = 1e-3  # of the range of the more active units of the class


@dataclass(frozen=True)
class Dead:
    """The dead units of a class.

    Parameters
    ----------
    by_weights, by_function : tuple of int, optional
        Numbers of the units; None where that could not be told.
    roads : dict of int to str
        The road of each dead unit, one of `ROADS`.
    gates : Tensor, optional
        ``-bias / |gain|`` of each unit's BatchNorm (the least, if it has several).
    """

    by_weights: tuple[int, ...] = ()
    by_function: tuple[int, ...] | None = None
    roads: dict[int, str] = field(default_factory=dict)
    gates: Tensor | None = None

    @property
    def units(self) -> list[int]:
        """All dead units, by weights or by function."""
        return sorted(self.roads)

    @property
    def on_each_road(self) -> dict[str, int]:
        """Number of dead units by road."""
        counts = Counter(self.roads.values())
        return {road: counts[road] for road in ROADS if counts[road]}


def dead_units(
    units: UnitClass,
    state: State,
    features: Features | None = None,
    gradient: State | None = None,
) -> Dead:
    """Return the dead units of a class.

    Parameters
    ----------
    units : UnitClass
        The class.
    state : mapping of str to Tensor
        Parameters and buffers.
    features : Features, optional
        What the units do on a batch.
    gradient : mapping of str to Tensor, optional
        Of the loss: a silent unit whose outgoing weights have a gradient is not dead.

    Returns
    -------
    Dead
        By weights alone where `features` are not given.
    """
    gates = _gates(units, state)
    normed = any(part.role == "gain" for part in units.parts)
    made, read = units.norms(state, "incoming"), units.norms(state, "outgoing")
    # Behind a norm the size of weights is free; elsewhere a whole layer may decay to nothing.
    new = [0.0 if normed else units.new_norm(state, role) for role in ("incoming", "outgoing")]
    incoming, outgoing = _small(made, new[0]), _small(read)
    # Norms side by side close a unit together; of norms in a row each does, if the unit is dead.
    closed = _none(units) if gates is None else gates.amin(0) > GATE
    one_closed = _none(units) if gates is None else gates.amax(0) > GATE
    no_gain = _without_gain(units, state)
    silent = _silent(units, outgoing, gradient)
    empty = _empty(units, state, gradient)
    gone = incoming & _small(read, new[1])
    by_weights = closed | no_gain | incoming | silent | empty
    constant = features.constant(RANGE) if features is not None and features.samples > 1 else None
    if constant is not None:
        # A gate may be closed to all but what a skip connection brings: what varies is not dead.
        by_weights = by_weights & (constant | gone | silent)
    dead = by_weights if constant is None else by_weights | constant
    lost = _small(made, new[0], TO_THE_PLANE)
    blind = lost if read is None else _none(units)
    if read is not None:
        lost = lost & _small(read, new[1], TO_THE_PLANE)
    varies = _none(units) if constant is None else ~constant
    tests = {
        "closed gate": one_closed,
        "norm gain": no_gain,
        "mirror plane": (lost & ~blind) | empty,
        "zero weights": blind,
        "silent": silent & (varies | ~incoming),
        "flat point": dead,
    }
    if features is not None and features.depth is not None:
        # Without weights and bias what arrives at the gate is 0: that is no gate below 0.
        below = features.depth
        tests["closed gate"] = one_closed | (below <= -RANGE) | ((below <= 0) & ~lost)
    roads = {
        unit: next(road for road, found in tests.items() if found.expand(units.width)[unit])
        for unit in dead.nonzero().flatten().tolist()
    }
    return Dead(
        tuple(by_weights.nonzero().flatten().tolist()),
        None if constant is None else tuple(constant.nonzero().flatten().tolist()),
        roads,
        None if gates is None else gates.amin(0),
    )


def _without_gain(units: UnitClass, state: State) -> Tensor:
    """Return a mask of norm gains next to 0 beside the others; none if most start at 0."""
    gains = units.norms(state, "gain")
    if gains is None or not gains.median() > 0:
        return _none(units)
    return gains <= GAIN * gains.median()


def _none(units: UnitClass) -> Tensor:
    return torch.zeros(units.width, dtype=torch.bool)


def _small(norms: Tensor | None, new: float = 0.0, tolerance: float = WEIGHTS) -> Tensor:
    """Return a mask of norms next to nothing beside the larger ones and beside a new layer's."""
    if norms is None:
        return torch.tensor(False)
    return norms <= tolerance * norms.quantile(0.9).clamp_min(new)


def _silent(units: UnitClass, outgoing: Tensor, gradient: State | None) -> Tensor:
    """Return a mask of units that nothing reads; none if all are so, or if a gradient mends it."""
    if outgoing.ndim == 0 or outgoing.all():
        return _none(units)
    pulled = None if gradient is None else units.norms(gradient, "outgoing")
    return outgoing if pulled is None else outgoing & _small(pulled)


def _empty(units: UnitClass, state: State, gradient: State | None) -> Tensor:
    """Return a mask of modules whose weights are all next to 0, and have no gradient there."""
    own = [part for part in units.parts if part.role == "module"]
    matrices = [part for part in own if state[part.tensor].ndim > (1 if part.others else 2)]
    if len(matrices) < 2:
        return _none(units)  # two behind one another have no gradient at 0, a lone one has
    weights = replace(units, parts=tuple(matrices))
    new = weights.new_norm(state)
    if gradient is None:  # a bias that is not 0 may bring the weights back
        rest = [part for part in own if part.others] or own
        return _small(replace(units, parts=tuple(rest)).norms(state), new)
    return _small(weights.norms(state), new) & _small(weights.norms(gradient))


def _gates(units: UnitClass, state: State) -> Tensor | None:
    """Return ``-bias / |gain|`` of each unit's BatchNorms: (norms, units)."""
    found = []
    for part in units.parts:
        stem, _, last = part.tensor.rpartition(".")
        if last != "running_var" or f"{stem}.weight" not in state:
            continue
        gain, bias = (part.rows(state[f"{stem}.{name}"])[:, 0].cpu() for name in ("weight", "bias"))
        found.append(-bias / gain.abs().clamp_min(1e-300))
    return torch.stack(found) if found else None
