"""What each arm does to parameters by itself; training with all is tested with `fit_many`."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from syre_helpers import Syre, arms
from syre_helpers.models import ProductRegression

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


def conv_and_linear():
    net = nn.Sequential(
        nn.Conv2d(3, 40, 5), nn.BatchNorm2d(40), nn.Flatten(), nn.Linear(1000, 30), nn.LayerNorm(30)
    )
    return {name: p.detach() for name, p in net.double().named_parameters()}


@pytest.mark.parametrize("kappa", [0.25, 3.0])
@pytest.mark.parametrize("share", [0.08, 0.5])
def test_w_fix_freezes_an_exact_share_of_each_row_of_the_weights_and_nothing_else(share, kappa):
    """Lim et al.'s method: kernels and matrices only, at N(0, kappa^2)."""
    params, arm = conv_and_linear(), arms.weight_fix(share, 0.1, kappa=kappa)
    started, mask = arm.start(params, 3), arm.pull(params, 3).mask
    assert set(mask) == {"0.weight", "3.weight"}
    for name, p in params.items():
        if name not in mask:
            assert started[name] is p
            continue
        frozen = (mask[name] == 0).reshape(len(p), -1)
        assert (frozen.sum(1) == round(share * frozen.shape[1])).all()
        assert (frozen != frozen[0]).any(1)[1:].all(), "each row is another one"
        values = started[name].reshape(len(p), -1)[frozen]
        assert values.std() == pytest.approx(kappa, rel=0.15)
        assert values.mean() == pytest.approx(0, abs=0.15 * kappa)
        assert torch.equal(started[name][mask[name] == 1], p[mask[name] == 1])
    # No place is favoured, and another seed has others.
    by_column = (mask["3.weight"] == 0).double().mean(0)
    assert by_column.var() == pytest.approx(share * (1 - share) / 30, rel=0.3)
    assert not torch.equal(arm.pull(params, 4).mask["3.weight"], mask["3.weight"])
    again = dict(reversed(params.items()))
    assert torch.equal(arm.start(again, 3)["3.weight"], started["3.weight"]), "in any order"


def test_w_fix_by_layer():
    params = conv_and_linear()
    arm = arms.weight_fix((0.08, 0.5), kappa=(1.0, 0.25))
    started, mask = arm.start(params, 0), arm.pull(params, 0).mask
    for name, count, kappa in (("0.weight", 6, 1.0), ("3.weight", 500, 0.25)):
        frozen = mask[name] == 0
        assert frozen.sum() == count * len(frozen)
        assert started[name][frozen].std() == pytest.approx(kappa, rel=0.15)
    assert arm.label == "W-fix 8%/50%, kappa = 1/0.25"
    assert (arm.settings()["fraction"], arm.settings()["kappa"]) == (None, None)
    with pytest.raises(ValueError, match=r"fraction=.*3 numbers.*'0.weight', '3.weight'"):
        arms.weight_fix((0.1, 0.1, 0.1)).start(params, 0)


def test_w_fix_of_vectors_and_of_rows_that_are_too_short():
    vectors = {name: p.detach() for name, p in ProductRegression(50).named_parameters()}
    mask = arms.weight_fix(0.1).pull(vectors, 0).mask
    assert {name: int((m == 0).sum()) for name, m in mask.items()} == {"u": 5, "w": 5}
    # The lengths of rows under weight_norm are gains, though they have two axes.
    net = nn.Sequential(weight_norm(nn.Linear(10, 4)))
    (only,) = arms.weight_fix(0.5).pull(dict(net.named_parameters()), 0).mask
    assert only.endswith("original1")
    with pytest.raises(ValueError, match="freezes no entry"):
        arms.weight_fix(0.1).start({"weight": torch.zeros(5, 3)}, 0)
