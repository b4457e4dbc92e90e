"""All measures of the classes of a model, put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..removal.theta_0 import fan_ins
from .dead import WEIGHTS, Dead, dead_units
from .features import Features
from .observe import Observed
from .planes import Decay, Pair, nearest_planes
from .ranks import Ranks, feature_ranks, rotation_ranks, weight_ranks
from .units import State, UnitClass
from .verdict import Findings


def judge(
    classes: Sequence[UnitClass], state: State, seen: Observed, decay: Decay | None
) -> list[Findings]:
    """Return the findings on each class.

    Parameters
    ----------
    classes : sequence of UnitClass
        The classes.
    state : mapping of str to Tensor
        Parameters and buffers.
    seen : Observed
        What a run of the model showed.
    decay : Decay or None
        What pulls on the parameters.

    Returns
    -------
    list of Findings
        One per class.
    """
    first = [
        _of_weights(units, state, features, seen.gradient, decay)
        for units, features in zip(classes, seen.features, strict=True)
    ]
    ranks, read_at = [], dict(seen.inputs)
    for found, features in zip(first, seen.features, strict=True):
        if features is None or not found.finite:
            ranks.append(Ranks())
            continue
        own = feature_ranks(features, _live(found))
        # Samples that are alike have features that are alike, whatever the weights.
        most = min(features.samples * seen.distinct, seen.tokens) - 1
        ranks.append(replace(own, most=min(own.most, max(math.floor(most), 1))))
        if features.read:
            read_at[features.where] = own.exact
    made = {part.tensor for units in classes for part in units.parts if part.role == "incoming"}
    findings = []
    for units, found, own, features in zip(classes, first, ranks, seen.features, strict=True):
        most = min(own.most, _rank_of_inputs(units, state, read_at))
        readers = {part.tensor for part in units.parts if part.role == "outgoing"}
        findings.append(
            replace(
                found,
                features=replace(own, most=most),
                samples=0 if features is None else features.samples,
                last=not readers & made,
            )
        )
    return findings


def _of_weights(
    units: UnitClass,
    state: State,
    features: Features | None,
    gradient: State | None,
    decay: Decay | None,
) -> Findings:
    """Return the findings on a class, but for the ranks of its features."""
    found = Findings(units.name, units.kinds, units.width)
    if units.vectors is not None:
        return _of_vectors(found, units.vectors(state))
    trained = [state[name] for part in units.trained for name in part.names if name in state]
    if not all(bool(tensor.isfinite().all()) for tensor in trained):
        return replace(found, finite=False)
    found = replace(found, dead=dead_units(units, state, features, gradient))
    live = _live(found)
    planes = nearest_planes(units, state, live, gradient, decay)
    return replace(
        found,
        planes=planes,
        weights=weight_ranks(units, state, live),
        spread=_spread(units, state, planes.closing),
    )


def _of_vectors(found: Findings, vectors: Tensor) -> Findings:
    """Return the findings on rotations, and on signs of units that do not change places."""
    if not bool(vectors.isfinite().all()):
        return replace(found, finite=False)
    if "rotation" in found.kinds:
        return replace(found, weights=rotation_ranks(vectors))
    norms = vectors.norm(dim=-1).flatten()
    gone = (norms <= WEIGHTS * norms.quantile(0.9)).nonzero().flatten().tolist()
    dead = Dead(tuple(gone), None, dict.fromkeys(gone, "mirror plane"))
    return replace(found, width=len(norms), dead=dead)


def _live(found: Findings) -> Tensor:
    alive = sorted(set(range(found.width)) - set(found.dead.units))
    return torch.tensor(alive, dtype=torch.int64)


def _rank_of_inputs(units: UnitClass, state: State, read_at: dict[str, float]) -> float:
    """Return the rank that what the units read can have; infinite where it is not known."""
    # Of several modules that write to the same units, as into a residual stream, all but one may
    # begin at 0: no more can be asked for than what the one that gives least gives.
    found: dict[str, float] = {}
    for part in units.parts:
        if part.role == "incoming" and part.tensor in state:
            weight, module = state[part.tensor], part.tensor.rpartition(".")[0]
            patch = math.prod(weight.shape[2:])  # places that a convolution sees at once
            known = read_at.get(module, math.inf) * patch
            most = min(weight.numel() / weight.shape[part.axis], known)
            found[module] = found.get(module, 0.0) + most
    return min(found.values(), default=math.inf)


def _spread(units: UnitClass, state: State, pair: Pair | None) -> float:
    """Return the typical distance of two units of theta_0 with ``sigma_ratio=1``, relative."""
    if pair is None:
        return math.nan
    fan_in = fan_ins({part.tensor: state[part.tensor].shape for part in units.trained})
    squares, own = 0.0, 0.0
    for part, rows in units.rows(state):
        squares += 2 * rows.shape[1] / max(fan_in[part.tensor], 1)
        own += float(rows[list(pair.units)].square().sum())
    return math.sqrt(squares / own) if own else math.nan
