"""Mode connectivity: its arms and rules against what they say, and what it must show."""

from itertools import product

import pandas as pd
import pytest
import torch
from torch import nn

from syre_helpers import arms, models
from syre_helpers.experiments import _pairs
from syre_helpers.experiments import mode_connectivity as module
from syre_helpers.experiments._common import seeds_of
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

    for name in ("syre 1%", "syre 150%", "symmetric bias 150%", "pull to a third"):
        assert (centre(name, 4) == centre(name, 5)).all(), name
        assert (centre(name, 4) != centre(name, 6)).any(), name
    assert (centre("syre 150%, not shared", 4) != centre("syre 150%, not shared", 5)).any()
    fixed = [
        compared["W-fix 12.5%, kappa = 0.5"].pull(params, s, 0).mask["0.weight"] for s in (4, 5)
    ]
    assert (fixed[0] == fixed[1]).all()
    zeros = {n: torch.zeros_like(p) for n, p in params.items()}
    first, second = (
        compared["W-fix 12.5%, kappa = 0.5"].start(zeros, s)["0.weight"] for s in (4, 5)
    )
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
    bias = compared["symmetric bias 150%"].pull(params, 2, 0).centre
    for layer, units in (("0", (1, 4)), ("2", (0, 3))):
        distance = permutation_reflection(model, layer, *units).distance(bias)
        assert float(distance) == pytest.approx(0, abs=1e-6)
    theta_0 = compared["syre 150%"].pull(params, 2, 0).centre
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


def test_w_fix_by_layer_has_the_shares_and_kappas_of_its_authors_network():
    theirs = arms.weight_fix((64 / 784, 0.125, 0.125, 0.5), 0.1, kappa=(1.0, 1.0, 0.5, 0.25))
    assert _pairs.fixed_by_layer(0.1, 4) == theirs
    assert _pairs.fixed_by_layer(0.1, 2) == arms.weight_fix((64 / 784, 0.5), 0.1, kappa=(1.0, 0.25))
    long = _pairs.fixed_by_layer(0.1, 6)
    assert (len(long.fraction), long.kappa) == (6, (1.0, 1.0, 1.0, 1.0, 0.5, 0.25))
    params = dict(models.mlp([784, 512, 512, 512, 10], "relu").named_parameters())
    frozen = {n: int((m[0] == 0).sum()) for n, m in theirs.pull(params, 0).mask.items()}
    assert list(frozen.values()) == [64, 64, 64, 256]


def test_w_fix_and_syre_are_tuned_with_as_many_settings_on_other_pairs():
    tuning = module.PRESETS["quick-tuning"]
    syre, fixed = tuning.sigma_ratios, [*product(tuning.fix_shares, tuning.fix_kappas)]
    assert len(syre) == len(fixed) == 9
    assert module.STRONG in syre
    assert (module.FIXED, module.KAPPA) in fixed
    others = (p.seeds for name, p in module.PRESETS.items() if name != "quick-tuning")
    assert not set(tuning.seeds) & {k for seeds in others for k in seeds_of(seeds)}


@pytest.mark.parametrize(
    ("words", "ratios", "outcome"),
    [
        ("at least halves", [0.2, 0.22, 0.21], "reproduced"),
        ("at least halves", [0.2, 0.9, 0.3], "not shown"),
        ("at least halves", [0.7, 0.72, 0.71], "partly"),
        ("at least halves", [0.9, 0.95, 0.92], "not"),
        ("lowers the barrier by less than a fifth", [0.9, 0.95, 0.92], "reproduced"),
        ("lowers the barrier by less than a fifth", [0.7, 0.72, 0.71], "not"),
    ],
)
def test_rules_test_what_the_claims_say(words, ratios, outcome):
    told = [claim for claim in module.CLAIMS if words in claim.text]
    assert len(told) >= 4
    for claim in told:
        assert claim.holds.outcome(claim.interval(pd.Series(ratios))) == outcome, claim.text
