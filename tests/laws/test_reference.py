"""The reference is the oracle: each route of the package goes where it goes, in float64."""

from itertools import product

import pytest
import torch
from torch import nn

import syre_helpers as sh
from small_task import largest_difference, net, remedied, task, train, values
from syre_helpers import arms, reference
from syre_helpers.removal import Syre, attach_pull, on_the_fly
from syre_helpers.removal.pull import pulled, stack_pulls

DECAY, RATIO, STEPS, LR = 0.05, 0.3, 30, 0.02
OPTIMIZERS = {
    "SGD": lambda p, decay: torch.optim.SGD(p, lr=LR, weight_decay=decay),
    "momentum": lambda p, decay: torch.optim.SGD(p, lr=LR, momentum=0.9, weight_decay=decay),
    "Adam": lambda p, decay: torch.optim.Adam(p, lr=LR, weight_decay=decay),
    "AdamW": lambda p, decay: torch.optim.AdamW(p, lr=LR, weight_decay=decay),
}


def rate(step):
    """Return the learning rate under a schedule, which each form follows as decay does."""
    return LR / (1 + step / 10)


def given(sigma_D):
    """Return the remedy, and its theta_0 and D for the reference."""
    syre, params = sh.Syre(DECAY, RATIO, sigma_D=sigma_D, seed=3), values(net())
    pull = syre.pull(params)
    return syre, dict(pull.centre), {n: syre.metric(n, p) for n, p in params.items()}


def by_reference(form, make, sigma_D):
    """Return the effective parameters after training by one of the forms of the reference."""
    _, theta_0, D = given(sigma_D)
    model = net()
    if form == "parametrize":
        reference.parametrize_(model, theta_0)
    optimizer = make(model.parameters(), DECAY if form in ("parametrize", "plain decay") else 0)
    params = dict(model.named_parameters())
    add_up = {"penalty": lambda: reference.penalty(params, theta_0, D, DECAY)}
    before = {
        "attach": lambda: reference.pull_(
            params, theta_0, D, optimizer.param_groups[0]["lr"], DECAY
        ),
        "parametrize": lambda: reference.add_D_(model, D, DECAY) if sigma_D else None,
    }
    train(model, optimizer, STEPS, add_up.get(form), before.get(form), rate)
    return sh.effective_parameters(model)


def by_hand_written_loop(route, make, sigma_D):
    (syre, *_), model = given(sigma_D), net()
    form, _, stored = route.partition(", store=")
    how = {"store": stored == "True"} if stored else {}
    optimizer, penalty = remedied(form, syre, model, make, **how)
    if route == "attach_pull":
        attach_pull(syre.pull(values(model)), optimizer, model)
    train(model, optimizer, STEPS, penalty, schedule=rate)
    return sh.effective_parameters(model)


@pytest.fixture
def no_kernel(monkeypatch):
    monkeypatch.setattr(on_the_fly, "_kernel", lambda *_: None)


ROUTES = ["attach, store=True", "attach, store=False", "attach_pull", "penalty", "parametrize"]


@pytest.mark.parametrize(
    ("route", "optimizer", "sigma_D"),
    # Advanced parametrize under AdamW is refused.
    sorted({*product(ROUTES, OPTIMIZERS, [0.0, 0.2])} - {("parametrize", "AdamW", 0.2)}),
)
def test_each_route_is_its_form_of_the_reference(no_kernel, route, optimizer, sigma_D):
    make, form = OPTIMIZERS[optimizer], route.partition(",")[0].partition("_")[0]
    found = by_hand_written_loop(route, make, sigma_D)
    assert largest_difference(found, by_reference(form, make, sigma_D)) < 1e-12
    for control in ("vanilla", "plain decay"):
        assert largest_difference(found, by_reference(control, make, sigma_D)) > 1e-4
    if sigma_D:
        assert largest_difference(found, by_reference(form, make, 0.0)) > 1e-4


@pytest.mark.parametrize("sigma_D", [0.0, 0.2], ids=["basic", "advanced"])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("optimizer", ["momentum", "Adam"])
def test_training_is_the_reference(optimizer, coupled, sigma_D):
    """One model by `fit`, and stacked with another one by `fit_many`."""
    make, (x, y) = OPTIMIZERS[optimizer], task()
    arm = arms.syre(DECAY, RATIO, sigma_D=sigma_D)
    settings = {
        "steps": STEPS, "loss": nn.functional.mse_loss, "coupled": coupled,
        "optimizer": lambda p: make(p, 0), "schedule": lambda step: rate(step) / LR,
    }  # fmt: skip
    expected = by_reference("penalty" if coupled else "attach", make, sigma_D)
    model = net()
    sh.fit(model, (x, y), arm, seed=3, **settings)
    assert largest_difference(values(model), expected) < 1e-12
    table = sh.fit_many(net, (x, y), [arms.vanilla(), arm], [2, 3], **settings)
    last = table[(table.arm != "vanilla") & (table.seed == 3)].train_loss.iloc[-1]
    loss = nn.functional.mse_loss(torch.func.functional_call(net(), expected, (x,)), y)
    assert last == pytest.approx(loss.item(), rel=1e-11)


@pytest.mark.parametrize("forms_of", ["SGD", "momentum", "Adam"])
@pytest.mark.parametrize("sigma_D", [0.0, 0.2], ids=["basic", "advanced"])
def test_forms_that_are_one_agree(forms_of, sigma_D):
    forms = ["attach", "parametrize", "penalty"][0 if forms_of == "SGD" else 1 :]
    first, *others = (by_reference(form, OPTIMIZERS[forms_of], sigma_D) for form in forms)
    assert all(largest_difference(first, other) < 1e-12 for other in others)


def test_decoupled_decay_of_the_shifted_model_is_the_attached_pull():
    found = by_reference("parametrize", OPTIMIZERS["AdamW"], 0.0)
    assert largest_difference(found, by_reference("attach", OPTIMIZERS["Adam"], 0.0)) < 1e-12


def test_one_step_in_every_spelling():
    syre, theta_0, D = given(0.2)
    params, other = values(net()), values(net(seed=2))
    pull = syre.pull(params)
    stacked = {n: torch.stack([p, other[n], p]) for n, p in params.items()}
    together = stack_pulls([pull, sh.Pull(0.3), pull], stacked)
    rate = torch.tensor(LR * DECAY, dtype=torch.float64)
    expected = {n: p.clone() for n, p in params.items()}
    reference.pull_(expected, theta_0, D, LR, DECAY)
    penalty = reference.penalty(params, theta_0, D, DECAY)
    assert pull.penalty(params).item() == pytest.approx(penalty.item(), rel=1e-12)
    for name, p in params.items():
        stepped = [
            pull.decoupled(name, p, LR),
            pull.decoupled_(name, p.clone(), LR),
            p - LR * (pull.coupled(name, p, 2 * p) - 2 * p),
            pulled(p, theta_0[name], D[name] - 1, rate),
            together.decoupled(name, stacked[name], LR)[2],
        ]
        for found in stepped:
            assert (found - expected[name]).abs().max() < 1e-15, name
        plain = together.decoupled(name, stacked[name], LR)[1]
        assert torch.allclose(plain, (1 - LR * 0.3) * other[name], atol=1e-15)


def test_what_is_drawn():
    params = {"w": torch.zeros(400, 25), "b": torch.zeros(10_000, dtype=torch.float64)}
    theta_0, D = reference.draw(params, 0.5, 0.2, seed=1)
    assert theta_0["w"].std() == pytest.approx(0.5 / 25**0.5, rel=0.05)
    assert theta_0["b"].std() == pytest.approx(0.5 / 10_000**0.5, rel=0.05)
    assert D["w"].std() == pytest.approx(0.2 / 3**0.5, rel=0.05)
    assert (D["w"] - 1).abs().max() < 0.2
    assert theta_0["b"].dtype == torch.float64
    again, other = (reference.draw(params, 0.5, 0.2, seed)[0] for seed in (1, 2))
    assert torch.equal(again["w"], theta_0["w"])
    assert not torch.equal(other["w"], theta_0["w"])


def test_a_bias_is_drawn_at_the_scale_of_its_layer():
    params = {"0.weight": torch.zeros(20_000, 4), "0.bias": torch.zeros(20_000)}
    theta_0, _ = reference.draw(params, 0.5, 0.0, seed=1)
    of_the_library = Syre(sigma_ratio=0.5).pull(params).centre["0.bias"]
    for drawn in (theta_0["0.bias"], of_the_library):
        assert drawn.std() == pytest.approx(0.5 / 4**0.5, rel=0.05)
