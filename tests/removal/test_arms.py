"""What each arm does to parameters by itself; training with all is tested with `fit_many`."""

import pytest
import torch

from syre_helpers import Syre, arms

START = {"0.weight": torch.linspace(-1, 1, 40_000, dtype=torch.float64).reshape(100, 400)}


def test_shrink_and_perturb_takes_a_share_off_and_adds_fresh_noise():
    arm = arms.shrink_and_perturb(0.2, 0.1, 7)
    noise = {
        (seed, step): arm.event(START, seed, step)["0.weight"] - 0.8 * START["0.weight"]
        for seed, step in [(0, 7), (0, 14), (1, 7)]
    }
    for one in noise.values():
        assert one.std() == pytest.approx(0.1 / 20, rel=0.02)
    first, *others = noise.values()
    assert all((first - other).std() > 0.1 / 20 for other in others)


def test_a_start_may_pull_from_afar():
    centre = arms.pull_to_start(0.1, scale=0.5).pull(START, 0).centre["0.weight"]
    assert torch.equal(centre, 0.5 * START["0.weight"])
    assert torch.equal(arms.pull_to_start(0.1).pull(START, 0).centre["0.weight"], START["0.weight"])


def test_theta_0_and_D_belong_to_the_seed_of_the_run():
    for arm, part in [(arms.syre(0.1, 0.3), "centre"), (arms.metric_only(0.1, 0.2), "xi")]:
        first, other = (getattr(arm.pull(START, seed), part)["0.weight"] for seed in (0, 1))
        assert 0 < first.std() < 0.2
        assert not torch.equal(first, other)


def test_a_bias_and_its_controls_have_a_size_outright_too():
    params = {"0.weight": torch.zeros(100, 400), "2.weight": torch.zeros(50, 100)}
    biases = {
        "syre": arms.syre(0.1, sigma_0=0.3).pull(params, 1).centre,
        "bias added after": arms.bias_added_after(0.1, sigma_0=0.3).finish(params, 1),
        "perturbed once": arms.perturbed_once(0.1, sigma_0=0.3).start(params, 1),
        "resampled bias": arms.resampled_bias(0.1, sigma_0=0.3).pull(params, 1, 7).centre,
        "symmetric bias": arms.symmetric_bias(0.1, lambda p: p, sigma_0=0.3).pull(params, 1).centre,
    }
    for method, bias in biases.items():
        for values in bias.values():
            assert values.std() == pytest.approx(0.3, rel=0.05), method
    control = arms.bias_added_after(0.1, sigma_0=0.3)
    assert control.label == "bias added after, sigma_0 = 0.3"
    assert control.sigma_ratio is None
    assert arms.bias_added_after(0.1) == arms.bias_added_after(0.1, 0.01)
    assert torch.equal(biases["syre"]["2.weight"], biases["bias added after"]["2.weight"])
    for make in (arms.bias_added_after, arms.perturbed_once, arms.resampled_bias):
        with pytest.raises(ValueError, match="exclude each other"):
            make(0.1, 0.2, sigma_0=0.3)
        with pytest.raises(ValueError, match=r"sigma_0=-0.1 must be"):
            make(0.1, sigma_0=-0.1)


def test_the_bias_that_is_added_after_is_that_of_syre():
    finished = arms.bias_added_after(0.1, 0.3).finish(START, 1)["0.weight"]
    theta_0 = Syre(0.1, 0.3, seed=1).pull(START).centre["0.weight"]
    assert torch.equal(finished, START["0.weight"] + theta_0)
