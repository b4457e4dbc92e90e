"""Mode connectivity: its arms and rules against what they say, and what it must show."""

import pandas as pd
import pytest
import torch
from torch import nn

from syre_helpers import models
from syre_helpers.experiments import mode_connectivity as module
from syre_helpers.symmetry import permutation_reflection


def test_the_relative_distance_of_equal_and_of_unrelated_networks():
    model = nn.Linear(2, 1, bias=False)
    a = {"weight": torch.tensor([[3.0, 4.0]])}
    for other, expected in (([3.0, 4.0], 0), ([-4.0, 3.0], 1), ([-3.0, -4.0], 2), ([0.0, 0.0], 1)):
        b = {"weight": torch.tensor([other])}
        assert module.relative_distance(model, a, b) == pytest.approx(expected)


def test_both_networks_of_a_pair_have_the_same_bias_mask_and_third():
    config = module.Config(widths=(6,))
    params = dict(models.mlp([64, 6, 10], "relu").named_parameters())
    compared = {arm.label: arm for arm in module.compared_arms(config)}

    def centre(name, seed):
        return compared[name].pull(params, seed, 0).centre["0.weight"]

    for name in ("syre 1%", "syre 100%", "symmetric bias 100%", "pull to a third"):
        assert (centre(name, 4) == centre(name, 5)).all(), name
        assert (centre(name, 4) != centre(name, 6)).any(), name
    assert (centre("syre 100%, not shared", 4) != centre("syre 100%, not shared", 5)).any()
    fixed = [compared["W-fix 50%"].pull(params, s, 0).mask["0.weight"] for s in (4, 5)]
    assert (fixed[0] == fixed[1]).all()
    zeros = {n: torch.zeros_like(p) for n, p in params.items()}
    first, second = (compared["W-fix 50%"].start(zeros, s)["0.weight"] for s in (4, 5))
    assert (first == second).all()
    first, second = (
        compared["plain decay, same start"].start(params, s)["0.weight"] for s in (4, 5)
    )
    assert (first == second).all()


def test_the_symmetric_bias_is_on_all_mirror_planes_and_as_long():
    config = module.Config(widths=(6, 5))
    model = models.mlp([64, 6, 5, 10], "relu")
    params = dict(model.named_parameters())
    compared = {arm.label: arm for arm in module.compared_arms(config)}
    bias = compared["symmetric bias 100%"].pull(params, 2, 0).centre
    for layer, units in (("0", (1, 4)), ("2", (0, 3))):
        distance = permutation_reflection(model, layer, *units).distance(bias)
        assert float(distance) == pytest.approx(0, abs=1e-6)
    theta_0 = compared["syre 100%"].pull(params, 2, 0).centre
    norms = [sum(p.double().square().sum() for p in c.values()).sqrt() for c in (bias, theta_0)]
    assert float(norms[0]) == pytest.approx(float(norms[1]), rel=1e-5)


def test_the_callers_random_state_is_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    module.compared_arms(module.PRESETS["batchnorm"])
    assert (torch.get_rng_state() == before).all()


@pytest.mark.slow
def test_what_the_quick_run_must_show_beside_its_claims(quick, end):
    last = end(quick("mode_connectivity"))
    decay = last.barrier["plain decay"]
    assert (last.barrier["pull to a third"] / decay < 0.75).all()
    assert (last.aligned_barrier["plain decay"] / decay < 0.25).all()
    accuracy = last.accuracy.groupby("arm").mean()
    assert accuracy["vanilla"] > accuracy["plain decay"], "the price is that of the decay"


@pytest.mark.parametrize(
    ("words", "ratios", "holds"),
    [
        ("at least halves", [0.2, 0.49], True),
        ("at least halves", [0.2, 0.51], None),
        ("at least halves", [0.7, 0.95], False),
        ("lowers the barrier by less than a fifth", [0.7, 0.95], True),
        ("lowers the barrier by less than a fifth", [0.7, 0.89], False),
    ],
)
def test_rules_test_what_the_claims_say(words, ratios, holds):
    """Halved in every pair, in part where the mean is a fifth lower; kept where it is not."""
    told = [claim for claim in module.CLAIMS if words in claim.text]
    assert len(told) >= 4
    for claim in told:
        assert claim.holds(pd.Series(ratios)) is holds, claim.text
        assert ("in every pair" in claim.text) == (words == "at least halves")
