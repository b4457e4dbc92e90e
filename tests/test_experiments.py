"""Experiments: presets, and what each quick run must show."""

import dataclasses

import pandas as pd
import pytest

from syre_helpers import experiments


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_is_complete(name):
    module = experiments.load(name)
    assert {"quick", "paper"} <= set(module.PRESETS)
    for config in module.PRESETS.values():
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.seeds = 3
    assert module.PRESETS["quick"].seeds >= 8
    assert module.CLAIMS
    assert len({claim.text for claim in module.CLAIMS}) == len(module.CLAIMS)


def last(table):
    return table[table.step == table.step.max()].set_index(["arm", "seed"])


@pytest.fixture(scope="module")
def from_dead():
    return last(experiments.run("dead_neurons"))


def test_syre_revives_dead_coordinates_in_every_seed(from_dead):
    assert (from_dead.dead["syre 0.01"] == 0).all()
    for arm in ("vanilla", "plain decay", "D only"):
        assert (from_dead.dead[arm] == 0.5).all(), arm
    ratio = from_dead.test_loss["plain decay"] / from_dead.test_loss["syre 0.01"]
    assert ratio.min() > 100


def test_freezing_weights_revives_only_those_it_meets(from_dead):
    # A dead pair stays dead unless one of its two weights is frozen at a random value.
    assert from_dead.dead["W-fix 10%"].mean() > 0.3
    for share in (0.1, 0.3, 0.5):
        expected = 0.5 * (1 - share) ** 2
        assert from_dead.dead[f"W-fix {share:.0%}"].mean() == pytest.approx(expected, abs=0.05)


def test_true_shrinkage_is_left_alone():
    """From a generic start under strong decay syre keeps what an L1 penalty would kill."""
    table = last(experiments.run("dead_neurons", "quick-generic", seeds=8))
    errors = table.test_loss.groupby("arm").mean()
    assert errors["syre 0.01"] == pytest.approx(errors["plain decay"], rel=0.05)


def test_the_claims_measure_what_they_say(from_dead):
    table = from_dead.reset_index()
    module = experiments.load("dead_neurons")
    claims = [c for c in module.CLAIMS if c.is_about("quick")]
    assert [c.verdict(c.values(table)) for c in claims] == ["reproduced"] * 4
    # The same claims about a run in which syre does what plain decay does.
    decay = table[table.arm == "plain decay"]
    fake = pd.concat([table[table.arm != "syre 0.01"], decay.assign(arm="syre 0.01")])
    verdicts = [c.verdict(c.values(fake)) for c in claims]
    assert verdicts == ["reproduced", "not", "not", "reproduced"]
    with pytest.raises(ValueError, match="measures"):
        claims[0].values(table.assign(dead=float("nan")))


def test_results_repeat():
    runs = [experiments.run("dead_neurons", steps=40, seeds=2) for _ in range(2)]
    pd.testing.assert_frame_equal(*runs, check_exact=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: experiments.load("nothing"), "dead_neurons"),
        (lambda: experiments.run("dead-neurons", "huge"), "quick"),
        (lambda: experiments.run("dead_neurons", colour="red"), "'colour'"),
    ],
)
def test_wrong_names_are_answered(call, words):
    with pytest.raises(ValueError, match=words):
        call()
