"""What is claimed of the experiment `transformers`, with rules that were fixed before it ran."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _rules as rules
from ._claims import Claim, difference, of, ratio, value
from ._heads import PAIRS, WORTH

if TYPE_CHECKING:
    import pandas as pd


_VANILLA = of(method="vanilla")
_LESSER = of(method="plain decay", variant="", weight_decay=min)
_GREATER = of(method="plain decay", variant="", weight_decay=max)
_D_ALONE = of(method="D only")
_NO_OUTPUT = of(variant="no output")
_AT_PLANE = {
    method: of(method=method, variant="no queries, keys")
    for method in ("plain decay", "perturbed once", "syre")
}
# Strengths that all presets have, in both units.
_STRENGTHS = {"10%": {"sigma_ratio": 0.1}, "100%": {"sigma_ratio": 1.0}}
_STRENGTHS |= {f"sigma_0 = {sigma:g}": {"sigma_0": sigma} for sigma in (0.01, 0.1)}
_SYRE = {words: of(method="syre", variant="", **own) for words, own in _STRENGTHS.items()}
_ADDED = {words: of(method="bias added after", **own) for words, own in _STRENGTHS.items()}
_STRONG = ("100%", "sigma_0 = 0.1")


def _best_syre(last: pd.DataFrame) -> pd.Series:
    """Return by how much the strength of syre with the lowest mean loss is above less decay."""
    losses = min((rows(last).test_loss for rows in _SYRE.values()), key=lambda loss: loss.mean())
    return losses - _LESSER(last).test_loss


_NATS = "nats per byte"

CLAIMS = (
    *(
        Claim(
            text=f"The greater decay halves the effective rank of {pair} products",
            measure=ratio(_GREATER, _VANILLA, f"{short}_effective_rank"),
            unit="effective rank, greater decay / none",
            holds=rules.below(0.5),
            comment="A rank of weights; what it is worth, the next rows say.",
        )
        for short, pair in PAIRS.items()
    ),
    Claim(
        text="At the greater decay queries and keys can be cut to rank 1 for next to nothing",
        measure=value(_GREATER, "qk_cost_1"),
        unit=f"cost of the cut, {_NATS}",
        holds=rules.below(WORTH),
        comment="All heads are cut at once, each to its best product of that rank.",
    ),
    Claim(
        text="Without decay they cannot",
        measure=value(_VANILLA, "qk_cost_1"),
        unit=f"cost of the cut, {_NATS}",
        holds=rules.above(WORTH),
        comment="The control of the row above: there is something that a cut can cost.",
    ),
    Claim(
        text="The greater decay is a worse choice than the lesser one",
        measure=difference(_GREATER, _LESSER, "test_loss"),
        unit=f"test loss, greater decay - lesser, {_NATS}",
        holds=rules.above(0.05),
        comment="What is lost is what the remedies could give back.",
    ),
    Claim(
        text="The lesser decay costs nothing",
        measure=difference(_LESSER, _VANILLA, "test_loss"),
        unit=f"test loss, lesser decay - none, {_NATS}",
        holds=rules.below(0.02),
        comment="It lowers ranks, too.",
    ),
    *(
        claim
        for words in _STRENGTHS
        for claim in (
            Claim(
                text=f"Syre, {words}, has a higher rank of query-key products than theta_0 gives "
                "when it is added after training",
                measure=ratio(_SYRE[words], _ADDED[words], "qk_effective_rank"),
                unit="effective rank, syre / its bias added after",
                holds=rules.above(1.1),
                comment="Near 1, or below it, noise alone explains the rank.",
            ),
            Claim(
                text=f"Syre, {words}, uses more rank of value-output products than plain decay",
                measure=difference(_SYRE[words], _GREATER, "vo_used_rank"),
                unit="used rank of syre - plain decay, both at the greater decay",
                holds=rules.above(0),
                comment="By function: below the used rank a cut costs a hundredth of a nat.",
            ),
            Claim(
                text=f"Syre, {words}, lowers the loss at the greater decay",
                measure=difference(_SYRE[words], _GREATER, "test_loss"),
                unit=f"test loss of syre - plain decay, both at the greater decay, {_NATS}",
                holds=rules.below(-WORTH),
                comment="The decay itself is as strong as before; only its centre has moved.",
            ),
        )
    ),
    *(
        Claim(
            text=f"Syre, {words}, has a lower loss than its control",
            measure=difference(_SYRE[words], _ADDED[words], "test_loss"),
            unit=f"test loss of syre - its bias added after, {_NATS}",
            holds=rules.below(0),
            comment="Noise that training has not seen raises the loss; plain decay is below its "
            "control, too.",
        )
        for words in _STRONG
    ),
    Claim(
        text="Less decay is better than syre at the greater decay, whatever its strength",
        measure=_best_syre,
        unit=f"test loss, best strength of syre - lesser decay, {_NATS}",
        holds=rules.above(0),
        comment="The best of four strengths by the same losses: that favours syre.",
    ),
    Claim(
        text="D alone changes nothing",
        measure=difference(_D_ALONE, _GREATER, "test_loss"),
        unit=f"test loss, D only - plain decay, {_NATS}",
        holds=rules.between(-0.02, 0.02),
        comment="Decay of unequal strength is still decay to zero.",
    ),
    Claim(
        text="D beside the bias changes nothing",
        measure=difference(
            of(method="syre + D"), of(method="syre", variant="", sigma_ratio=max), "test_loss"
        ),
        unit=f"test loss, syre + D - syre, {_NATS}",
        holds=rules.between(-0.02, 0.02),
        comment="The paper uses no D in its experiments either.",
    ),
    Claim(
        text="From queries and keys at zero plain decay never leaves",
        measure=value(_AT_PLANE["plain decay"], "qk_norm"),
        unit="norm of the query-key products after training",
        holds=rules.between(0, 0),
        comment="Each gradient has the other factor in it.",
    ),
    Claim(
        text="To stay there costs more than 0.02 nats per byte",
        measure=difference(_AT_PLANE["plain decay"], _LESSER, "test_loss"),
        unit=f"test loss, start at zero - ordinary start, {_NATS}",
        holds=rules.above(0.02),
        comment="Attention without queries and keys is a mean over all places before.",
    ),
    Claim(
        text="From there syre, 1%, gets to within 0.05 nats of an ordinary start",
        measure=difference(_AT_PLANE["syre"], _LESSER, "test_loss"),
        unit=f"test loss, syre from zero - plain decay from an ordinary start, {_NATS}",
        holds=rules.below(0.05),
        comment="The way back takes steps, which an ordinary start has for learning.",
    ),
    Claim(
        text="From there one kick of the same size does as well as syre",
        measure=difference(_AT_PLANE["perturbed once"], _AT_PLANE["syre"], "test_loss"),
        unit=f"test loss, kick - syre, {_NATS}",
        holds=rules.below(0.01),
        comment="A saddle that is left at once does not ask for a lasting push.",
    ),
    Claim(
        text="A start with an output of zero alone is no trap",
        measure=difference(_NO_OUTPUT, _LESSER, "test_loss"),
        unit=f"test loss, output at zero - ordinary start, {_NATS}",
        holds=rules.below(0.02),
        comment="One factor of zero has a gradient: the mirror plane asks for both.",
    ),
)
