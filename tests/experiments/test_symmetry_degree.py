"""Degree of symmetry: the loss against its closed forms and the package's own reflections."""

import math

import pandas as pd
import pytest
import torch

import syre_helpers as sh
from syre_helpers import arms
from syre_helpers.experiments import _mirrors as mirrors
from syre_helpers.experiments import symmetry_degree


def model(spectrum="unstructured", d=12, seed=0):
    torch.manual_seed(seed)
    return mirrors.KnownMirrors(d, spectrum).double()


def state(known):
    return {name: p.detach() for name, p in known.named_parameters()}


def reflection(v):
    def turn(params):
        w = params["weight"]
        return {"weight": w - 2 * (w @ v)[..., None] * v}

    return sh.Reflection(turn)


@pytest.mark.parametrize("spectrum", mirrors.SPECTRA)
def test_each_direction_is_a_mirror_of_the_loss_and_a_random_one_is_not(spectrum):
    known = model(spectrum)
    fixed = state(known)

    def loss(params):
        return mirrors.loss_of(params["weight"], fixed["mirrors"], fixed["spectrum"])

    params = {"weight": torch.randn(1, 12, dtype=torch.float64)}
    for v in fixed["mirrors"]:
        assert reflection(v).violation(loss, params) < 1e-10
    other = torch.nn.functional.normalize(torch.randn(12, dtype=torch.float64), dim=0)
    assert reflection(other).violation(loss, params) > 1e-3
    assert (fixed["spectrum"] > 0).any()
    assert (fixed["spectrum"] < 0).any()


def test_the_degree_is_that_of_the_packages_own_measure():
    known = model()
    params, near = state(known), 0.1
    ours = (mirrors.across(params).abs() < near).double().mean().item()
    weight = {"weight": params["weight"]}
    reflections = [reflection(v) for v in params["mirrors"]]
    # The package's tolerance is in units of the norm of all parameters.
    tol = near / params["weight"].norm().item()
    assert ours == sh.degree_of_symmetry(reflections, weight, tol)
    assert 0 < ours < 1


def test_excess_is_0_at_the_minimum_and_1_where_all_planes_meet():
    params = state(model("structured"))
    best = params["spectrum"].clamp_min(0).sqrt()
    at_best = params | {"weight": (best @ params["mirrors"])[None]}
    assert mirrors.excess(at_best).item() == pytest.approx(0, abs=1e-12)
    assert mirrors.excess(params | {"weight": 0 * params["weight"]}).item() == pytest.approx(1)


@pytest.mark.parametrize(
    "arm", [arms.vanilla(), arms.plain_decay(0.1), arms.syre(0.1, sigma_0=0.5)]
)
def test_training_comes_to_rest_where_the_closed_form_says(arm):
    """Gradient descent, mirror by mirror, against the roots of the cubic equation."""
    arm = mirrors.OnWeights(arm)
    _, trained = sh.train_many(
        model,
        (None, torch.zeros(1).double()),
        [arm],
        [3],
        steps=4000,
        loss=lambda output, _: output,
        optimizer=lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    )
    params = trained[arm, 3]
    found = mirrors.across(params)
    decay = getattr(arm.arm, "weight_decay", 0.0)
    centre = arm.pull(params, 3).centre.get("weight", torch.zeros(1, 12).double())
    theta_0 = (centre @ params["mirrors"].mT)[0]
    for y, a, bias in zip(found, params["spectrum"], theta_0, strict=True):
        best = mirrors.at_rest(a.item(), decay, bias.item())
        # Without a bias both sides are alike; with one, training may rest on the other side.
        root = y**3 - a * y + decay * (y - bias)
        assert root.abs() < 1e-6
        if not bias:
            assert abs(y) == pytest.approx(abs(best), abs=1e-3)
    assert params["rate"] == 0


def test_the_closed_form_of_plain_decay_is_a_soft_threshold():
    for a, decay in ((0.5, 0.1), (0.1, 0.5), (-0.3, 0.1)):
        assert mirrors.at_rest(a, decay, 0.0) == pytest.approx(math.sqrt(max(0, a - decay)))
    assert mirrors.at_rest(-1.0, 0.1, 0.2) == pytest.approx(0.1 / 1.1 * 0.2, rel=1e-2)


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    known = model(d=400)
    with torch.no_grad():
        known.mirrors.copy_(torch.eye(400))
        known.spectrum.zero_()
        known.weight.fill_(1.0)
        known.rate.fill_(0.25)
    losses = torch.stack([known() for _ in range(200)])
    # The loss is a quarter of the sum of fourth powers: 1 / 0.75^4 where kept, in 3 of 4 places.
    assert losses.mean().item() == pytest.approx(400 / 4 * 0.75 / 0.75**4, rel=0.02)
    known.rate.data.zero_()
    assert known().item() == pytest.approx(100)


def test_no_arm_pulls_the_rate():
    params = {name: p + 0.5 for name, p in state(model()).items()}
    for arm in symmetry_degree.compared_arms(symmetry_degree.Config()):
        pull = arm.pull(params, 0)
        if "rate" in pull.centre:
            assert pull.masked("rate", pull.force("rate", params["rate"])) == 0, arm


def test_the_price_is_a_mean_over_degrees():
    rows = pd.DataFrame({"degree": [0.5, 0.2, 0.0], "excess": [0.0, 0.3, 7.0]})
    # At 0 to 0.15 the only setting is worse than 1; from 0.2 on it is 0.3.
    assert symmetry_degree.price(rows) == pytest.approx((4 * 1 + 5 * 0.3) / 9)
    assert symmetry_degree.price(rows[:1]) == 1
    assert math.isnan(symmetry_degree.price(rows.assign(excess=[0.0, math.nan, 7.0])))


def test_all_methods_have_as_many_settings():
    for config in symmetry_degree.PRESETS.values():
        generic = [a for a in symmetry_degree.compared_arms(config) if not a.variant]
        methods = pd.Series([a.method for a in generic]).value_counts()
        assert methods.drop("vanilla").nunique() == 1, methods


def test_a_run_depends_on_its_seeds_alone_and_leaves_the_global_generator_alone(small):
    config = small("symmetry_degree")
    tables = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        expected = torch.rand(1)
        torch.manual_seed(seed)
        tables.append(symmetry_degree.run(config))
        assert torch.rand(1) == expected
    pd.testing.assert_frame_equal(*tables, check_exact=True)
