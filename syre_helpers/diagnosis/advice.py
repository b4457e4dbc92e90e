"""What to do about a diagnosis, in the order of the book's decision chart."""

from __future__ import annotations

from collections.abc import Sequence

from .planes import NEAR, Decay, Pair
from .verdict import RATIOS, Findings

_NO_RATE = 0.01  # of the whole rate: what the loss does to a pair is next to nothing
_FIRST = (
    "First ask what is worse than it should be: a loss, an accuracy, a return. This report does "
    "not know. If nothing is, leave syre out."
)
_NOTHING = (
    "Nothing here asks for a remedy. A low rank alone is nothing wrong, and a high one is no "
    "merit. If a loss or an accuracy is worse than it should be, look for the cause elsewhere "
    "first."
)
_LESS = (
    "Train with a tenth of the weight decay, and with none: where decay is too strong, a weaker "
    "one does more than syre."
)
_UNKNOWN = (
    "Nothing could be judged, so there is nothing to advise. What was left out says why; a model "
    "in float32 and a batch that it runs on are what a diagnosis takes."
)
_OPTIMUM = (
    "Trap, noise or optimum? Train from a generic start once more, and again with a tenth of the "
    "learning rate. If the smaller rate is better, it was the noise of the gradient: keep that "
    "rate. If both end as badly, loss and decay ask for it, and neither a kick nor syre repairs it."
)
_ROADS = {
    "closed gate": (
        "A closed gate passes no gradient, so neither less decay, nor syre, nor a kick of the "
        "usual size revives {units}. Open the gate (set the bias in front of the activation back "
        "to 0) and, where the weights are next to 0, give new ones; either alone is rarely enough. "
        "Or delete the units: what the network computes stays the same."
    ),
    "norm gain": (
        "A norm gain next to 0 stops {units}. Set gain and bias back to those of a new layer. Syre "
        "at its usual strength pulls gains to 0 too: leave them out of it (where=...)."
    ),
    "mirror plane": (
        "The incoming and the outgoing weights of {units} are next to 0 together. If they were "
        "made so, kick once: random noise of 1% of the usual size of initial weights. If decay "
        "brought them there, less decay comes first; syre with sigma_ratio=0.01 keeps them off "
        "their planes afterwards."
    ),
    "zero weights": (
        "The weights that make {units} are next to 0, and what reads them is not known here. If "
        "pruning did that, it is meant. If not, diagnose the model with a batch, which tells the "
        "road by which they died."
    ),
    "silent": (
        "Nothing reads {units}, and no gradient was seen that changes it. Pass loss=..., or give "
        "new outgoing weights."
    ),
    "flat point": (
        "The values of {units} are constants, where the activation has no slope: no pull of "
        "decay's size moves them. Set their biases back to 0, or delete them and add the constants "
        "to the biases of what reads them."
    ),
}


def advise(findings: Sequence[Findings], alarmed: Sequence[str], decay: Decay | None) -> list[str]:
    """Return advice, one paragraph per step.

    Parameters
    ----------
    findings : sequence of Findings
        All classes.
    alarmed : sequence of str
        Names of the classes with an alarm.
    decay : Decay or None
        What pulls, if it is known.

    Returns
    -------
    list of str
        At least one paragraph.
    """
    ill = [found for found in findings if found.name in alarmed]
    if not findings:
        return [_UNKNOWN]
    if not ill:
        return [_NOTHING]
    if any(not found.finite for found in ill):
        return ["Training diverged: go back to a checkpoint whose parameters are finite."]
    said = [_FIRST]
    near = [one for one in ill if one.twins or one.planes.closing]
    lost = [one for one in ill if one.weights.deficient or one.features.deficient]
    at_zero = [one for one in ill if "mirror plane" in one.dead.on_each_road]
    decays = decay is None or decay.weight_decay > 0
    if decays and (near or lost or at_zero):
        said += [_LESS, _OPTIMUM]
    roads: dict[str, int] = {}
    for found in ill:
        for road, count in found.dead.on_each_road.items():
            roads[road] = roads.get(road, 0) + count
    for road, count in roads.items():
        units = f"{count} unit{'s' if count > 1 else ''}"
        said.append(_ROADS[road].format(units=units))
    said += [_of_pair(found, decay) for found in near]
    return said


def _of_pair(found: Findings, decay: Decay | None) -> str:
    """Return advice on parting the pairs of a class, with numbers."""
    pair = found.planes.closing or found.planes.nearest
    assert pair is not None
    said = f"In {found.name}, {found.what} {pair.units[0]} and {pair.units[1]}: "
    if found.kinds == ("rows",):
        return said + (
            "they compute the same. If what reads them is the same too, no gradient parts them; "
            "the weights alone do not tell."
        )
    if decay is not None and decay.theta_0:
        return said + _under_syre(pair)
    if found.planes.closing is None:
        return said + (
            "exact copies, which no gradient parts. Kick once, with random noise of 1% of "
            "the usual size of initial weights; if copies come again, syre with sigma_ratio=0.01 "
            "all the time."
        )
    if abs(pair.rate_of_loss) < _NO_RATE * -pair.rate:
        return said + (
            "decay alone draws the pair, and the loss does not care: with less decay it stays "
            "where it is. Syre with sigma_ratio=0.01 keeps it off its plane."
        )
    if pair.rate_of_loss > 0:
        return said + (
            f"decay is what draws the pair; with weight_decay below {pair.rate_of_loss:.2g} the "
            "loss would part it. Syre with sigma_ratio=0.01 keeps it off its plane."
        )
    return said + _drawn_by_the_loss(pair, decay.weight_decay if decay else 0.0, found.spread)


def _under_syre(pair: Pair) -> str:
    said = f"syre pushes the pair off its plane with a force of {pair.force:.2g}"
    if pair.rest < NEAR:
        said += (
            f", and it comes to rest at a distance of {pair.rest:.2g}: loss and decay hold it "
            f"there. A sigma_ratio {NEAR / pair.rest:.0f} times as large would keep it at {NEAR:g}"
        )
    return said + "."


def _drawn_by_the_loss(pair: Pair, weight_decay: float, spread: float) -> str:
    """Return advice where less decay does not help: loss and decay both draw a pair at rest."""
    stiffness = weight_decay - pair.rate_of_loss
    rests = {ratio: weight_decay * ratio * spread / stiffness for ratio in RATIOS}
    said = (
        "the loss itself draws the pair, so less decay alone will not part it, and a kick is "
        f"forgotten at the rate {-pair.rate:.2g}. "
    )
    if weight_decay == 0:
        return said + "Syre works through decay, and none is known of here."
    enough = [ratio for ratio, rest in rests.items() if rest >= NEAR]
    if enough:
        return said + (
            f"Syre with sigma_ratio={enough[0]:g} would hold it at a distance of "
            f"{rests[enough[0]]:.2g}."
        )
    return said + (
        f"Syre cannot help here: even sigma_ratio=1 would hold it at {rests[1.0]:.2g} only. The "
        "data may ask for no more units."
    )
