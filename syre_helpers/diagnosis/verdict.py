"""From measures to a verdict: alarms by rules that were fixed before, and what to do.

The rules were fixed on 24 healthy and 4 collapsing trainings, none of which is among the tests'.
Stable rank, dormant units and correlations would alarm falsely there: healthy layers of 64 units
have stable ranks of 4 to 9. They are reported, and alarm nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .dead import Dead
from .planes import Planes
from .ranks import Ranks

DEAD_SHARE = 0.05
ENOUGH_SAMPLES = 64  # a unit that is open on one sample in twenty is shut on all of fewer
RATIOS = (0.01, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Findings:
    """All that was measured of one class.

    Parameters
    ----------
    name : str
        Of the class.
    kinds : tuple of str
        Families of its reflections.
    width : int
        Number of units.
    dead : Dead
        Its dead units.
    planes : Planes
        Its nearest mirror planes.
    weights, features : Ranks
        Of the incoming weights and of what the units do.
    samples : int
        Number of samples that the features are of.
    spread : float
        Distance of a nearest pair at rest under syre with ``sigma_ratio=1`` and no stiffness but
        decay, in relative units: what the ratio to be advised follows from. NaN if not known.
    finite : bool
        Whether all its parameters are.
    last : bool
        Whether the model's outputs are read from it.
    """

    name: str
    kinds: tuple[str, ...]
    width: int
    dead: Dead = field(default_factory=Dead)
    planes: Planes = field(default_factory=Planes)
    weights: Ranks = field(default_factory=Ranks)
    features: Ranks = field(default_factory=Ranks)
    samples: int = 0
    spread: float = math.nan
    finite: bool = True
    last: bool = False

    @property
    def dead_for_sure(self) -> int:
        """Number of dead units, those by function left out where there are too few samples."""
        sure = self.samples >= ENOUGH_SAMPLES
        return len(self.dead.units if sure else self.dead.by_weights)

    @property
    def what(self) -> str:
        """The word for its units."""
        return "modules" if "module swap" in self.kinds else "units"

    @property
    def twins(self) -> int:
        """Number of units that copy an earlier one exactly."""
        return sum(len(group) - 1 for group in self.planes.groups)


def _pace(rate: float) -> str:
    if rate >= 0:
        return "where loss and decay hold them"
    return f"which shrinks by {-rate:.2g} of itself per step and unit of learning rate"


def alarms(found: Findings, least_rank: float = math.inf) -> list[str]:
    """Return the alarms of one class, each a clause with its numbers; empty if there is none.

    Parameters
    ----------
    found : Findings
        The class.
    least_rank : float
        A rank that is no alarm: the number of classes minus 1 is that of a well-trained classifier
        (neural collapse). Default: infinite.

    Returns
    -------
    list of str
        In the order of the rules: dead units, a pair that attracts, lost rank.
    """
    said = []
    if not found.finite:
        return ["has parameters that are NaN or infinite"]
    dead = found.dead_for_sure
    if dead > DEAD_SHARE * found.width:
        roads = ", ".join(f"{count} by {road}" for road, count in found.dead.on_each_road.items())
        are = "is" if dead == 1 else "are"
        said.append(f"{dead} of {found.width} {found.what} {are} dead ({roads})")
    planes = found.planes
    if found.twins:
        groups = f"{len(planes.groups)} group{'s' if len(planes.groups) > 1 else ''}"
        one = found.what.removesuffix("s")
        copy = f"{one} copies another" if found.twins == 1 else f"{found.what} copy others"
        flipped = f", {planes.opposite} with the opposite sign" if planes.opposite else ""
        said.append(f"{found.twins} {copy} exactly, in {groups}{flipped}")
    if (pair := planes.closing) is not None:
        i, j = pair.units
        null = "" if math.isnan(planes.null) else f"; shuffled weights: {planes.null:.2g}"
        said.append(
            f"{found.what} {i} and {j}{' (its sign flipped)' if pair.opposite else ''} attract "
            f"each other at a distance of {pair.distance:.2g} (unrelated {found.what}: about 1"
            f"{null}), {_pace(pair.rate)}"
        )
    for what, ranks in (("weights", found.weights), ("features", found.features)):
        if ranks.deficient and ranks.exact < least_rank:
            said.append(f"the {what} have rank {ranks.exact:.0f} of {ranks.most:.0f}")
    return said
