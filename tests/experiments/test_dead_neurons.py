"""Dead neurons: who revives them, and where there is nothing to revive."""

import pytest

from syre_helpers import experiments


def test_without_a_bias_nothing_is_revived(quick, end):
    dead = end(quick("dead_neurons")).dead
    assert (dead[["vanilla", "D only"]] == 0.5).all()


def test_freezing_weights_revives_only_those_it_meets(quick, end):
    # A dead pair stays dead unless one of its two weights is frozen at a random value.
    last = end(quick("dead_neurons"))
    for share in (0.1, 0.3, 0.5):
        expected = 0.5 * (1 - share) ** 2
        assert last.dead[f"W-fix {share:.0%}"].mean() == pytest.approx(expected, abs=0.05)


def test_true_shrinkage_is_left_alone(end):
    """From a generic start under strong decay syre keeps what an L1 penalty would kill."""
    table = experiments.run("dead_neurons", "quick-generic", seeds=8)
    claims = [c for c in experiments.load("dead_neurons").CLAIMS if c.is_about("quick-generic")]
    assert [claim.verdict(claim.values(table)) for claim in claims] == ["holds"] * 2
    errors = end(table).test_loss.groupby("arm").mean()
    assert errors["syre 1%"] == pytest.approx(errors["plain decay"], rel=0.05)
