"""Syre: three forms that agree, values that depend on nothing but seed, name and index."""

import copy
import json
import warnings

import pytest
import torch
from torch import nn

import syre_helpers as sh
from syre_helpers.removal import names, on_the_fly

DECAY = 0.05


def net(dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).to(dtype)


def task(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 5, generator=generator).to(dtype)
    return x, torch.randn(64, 2, generator=generator).to(dtype)


def flat(model):
    return torch.cat([p.flatten() for p in sh.effective_parameters(model).values()])


def train(form, syre, make_optimizer, steps=200):
    """Return the effective parameters after training under one form, or a control."""
    model, (x, y) = net(), task()
    decays_itself = form in ("parametrize", "plain decay")
    if form == "parametrize":
        syre.parametrize(model)
    optimizer = make_optimizer(model.parameters(), DECAY if decays_itself else 0)
    if form == "attach":
        syre.attach(optimizer, model)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        if form == "penalty":
            loss = loss + syre.penalty(model)
        loss.backward()
        optimizer.step()
    return flat(model)


def sgd(params, decay):
    return torch.optim.SGD(params, lr=0.1, weight_decay=decay)


def momentum(params, decay):
    return torch.optim.SGD(params, lr=0.02, momentum=0.9, weight_decay=decay)


def adam(params, decay):
    return torch.optim.Adam(params, lr=0.01, weight_decay=decay)


def adamw(params, decay):
    return torch.optim.AdamW(params, lr=0.01, weight_decay=decay)


@pytest.mark.parametrize("sigma_D", [0.0, 0.2], ids=["basic", "advanced"])
@pytest.mark.parametrize(
    ("make_optimizer", "forms"),
    [
        (sgd, ["attach", "parametrize", "penalty"]),
        (momentum, ["parametrize", "penalty"]),
        (adam, ["parametrize", "penalty"]),
    ],
)
def test_forms_agree(make_optimizer, forms, sigma_D):
    syre = sh.Syre(DECAY, sigma_ratio=0.3, sigma_D=sigma_D, seed=3)
    results = [train(form, syre, make_optimizer) for form in forms]
    for other in results[1:]:
        assert (other - results[0]).abs().max() < 1e-10
    for control in ("vanilla", "plain decay"):
        assert (train(control, syre, make_optimizer) - results[0]).abs().max() > 1e-3
    if sigma_D:
        basic = train(forms[0], sh.Syre(DECAY, sigma_ratio=0.3, seed=3), make_optimizer)
        assert (basic - results[0]).abs().max() > 1e-4


def test_forms_agree_under_decoupled_decay():
    syre = sh.Syre(DECAY, sigma_ratio=0.3, seed=3)
    attached = train("attach", syre, lambda p, decay: torch.optim.Adam(p, lr=0.01))
    assert (attached - train("parametrize", syre, adamw)).abs().max() < 1e-10
    for control in ("vanilla", "plain decay"):
        assert (attached - train(control, syre, adamw)).abs().max() > 1e-3


def test_without_bias_it_is_plain_decay():
    syre = sh.Syre(DECAY, sigma_0=0.0)
    for form in ("attach", "parametrize", "penalty"):
        assert (train(form, syre, sgd) - train("plain decay", syre, sgd)).abs().max() < 1e-12


def test_attach_follows_learning_rate_groups_and_gradients():
    model = net()
    syre = sh.Syre(DECAY, sigma_ratio=0.5)
    groups = [
        {"params": model[0].parameters(), "lr": 0.1},
        {"params": model[2].parameters(), "lr": 0.4},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    syre.attach(optimizer, model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    model[0].bias.grad = None  # an optimizer leaves such a parameter alone, so must the pull
    start = sh.effective_parameters(model)
    expected = {name: p.clone() for name, p in start.items()}
    for factor in (1.0, 0.5):
        optimizer.step()
        schedule.step()
        for name, lr in (("0.weight", 0.1), ("2.weight", 0.4), ("2.bias", 0.4)):
            p = expected[name]
            expected[name] = p - factor * lr * DECAY * (p - syre.bias(name, p))
    for name, p in sh.effective_parameters(model).items():
        assert (p - expected[name]).abs().max() < 1e-15, name


def test_attach_ends_with_remove_and_can_be_repeated():
    model = net()
    optimizer = sgd(model.parameters(), 0)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    start = flat(model)
    handle = sh.Syre(DECAY).attach(optimizer, model)
    with pytest.raises(ValueError, match=r"'0.weight'.*earlier attach"):
        sh.Syre(DECAY).attach(optimizer, model)
    handle.remove()
    optimizer.step()
    assert torch.equal(flat(model), start)
    sh.Syre(DECAY).attach(optimizer, model)
    optimizer.step()
    assert not torch.equal(flat(model), start)


def test_where_selects_parameters():
    model = net()
    optimizer = sgd(model.parameters(), 0)
    sh.Syre(DECAY, seed=2).attach(optimizer, model, where=lambda name, p: p.ndim > 1)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    start = sh.effective_parameters(net())
    optimizer.step()
    changed = {n for n, p in sh.effective_parameters(model).items() if not torch.equal(p, start[n])}
    assert changed == {"0.weight", "2.weight"}
    with pytest.raises(ValueError, match="where selects no parameter"):
        sh.Syre().penalty(model, where=lambda name, p: False)


def test_penalty_is_gamma_times_the_square():
    model = net()
    syre = sh.Syre(0.3, sigma_ratio=0.5, sigma_D=0.4, seed=1)
    penalty = syre.penalty(model)  # from here on the scales of the model's biases are known
    expected = sum(
        0.15 * (syre.metric(n, p) * (p - syre.bias(n, p)) ** 2).sum()
        for n, p in model.named_parameters()
    )
    assert torch.allclose(penalty, expected, rtol=1e-12)


def test_bias_scale_is_the_ratio_over_the_root_of_the_owning_fan_in():
    model = nn.Sequential(nn.Conv2d(3, 500, 5), nn.BatchNorm2d(500), nn.ReLU())
    syre = sh.Syre(0.1, sigma_ratio=0.2, seed=0)
    syre.attach(sgd(model.parameters(), 0), model)
    named = dict(model.named_parameters())
    for name, fan_in in (("0.weight", 75), ("0.bias", 75), ("1.weight", 500), ("1.bias", 500)):
        bias = syre.bias(name, named[name])
        expected = 0.2 / fan_in**0.5
        assert bias.std() == pytest.approx(expected, rel=4 / bias.numel() ** 0.5)
    outright = sh.Syre(0.1, sigma_0=0.7).bias("0.weight", named["0.weight"])
    assert outright.std() == pytest.approx(0.7, rel=0.05)
    default = sh.Syre(0.1).bias("0.weight", named["0.weight"])
    assert default.std() == pytest.approx(0.01 / 75**0.5, rel=0.05)


def test_bias_depends_on_seed_name_and_index_only():
    syre = sh.Syre(seed=4)
    tensor = torch.zeros(6, 5)
    bias = syre.bias("a.weight", tensor)
    assert torch.equal(bias, sh.Syre(seed=4).bias("module._orig_mod.a.weight", tensor))
    assert torch.equal(bias, syre.bias("a.parametrizations.weight.original", tensor))
    assert not torch.equal(bias, sh.Syre(seed=5).bias("a.weight", tensor))
    assert not torch.equal(bias, syre.bias("b.weight", tensor))
    torch.manual_seed(9)
    syre.bias("other", torch.zeros(3))
    assert torch.equal(bias, syre.bias("a.weight", torch.randn(6, 5)))
    assert torch.equal(bias.half(), syre.bias("a.weight", tensor.half()))
    # float64 differs by float32's rounding only
    assert torch.allclose(bias.double(), syre.bias("a.weight", tensor.double()), rtol=1e-6, atol=0)


def test_global_random_state_is_left_alone():
    state = torch.random.get_rng_state()
    model = net()
    sh.Syre(sigma_D=0.001).parametrize(model)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_metric():
    syre = sh.Syre(sigma_ratio=1.0, sigma_D=0.5)
    tensor = torch.zeros(1000, 50, dtype=torch.float64)
    metric = syre.metric("w", tensor)
    assert metric.min() > 0.5
    assert metric.max() < 1.5
    assert metric.unique().numel() == metric.numel(), "entries of D must be distinct"
    # Near 1 float32 cannot tell them apart; the D - 1 that the pull uses still can.
    small = sh.Syre(sigma_ratio=1.0, sigma_D=1e-4)
    single = torch.zeros(1000, 50)
    assert small.metric("w", single).unique().numel() < 0.1 * single.numel()
    assert small._D_minus_1("w", single).unique().numel() > 0.99 * single.numel()


def test_parametrize_keeps_what_the_model_computes_and_stays_assignable():
    model, (x, _) = net(), task()
    before = model(x).detach()
    weight = model[0].weight.detach().clone()
    syre = sh.Syre(0.1, sigma_ratio=1.0)
    optimizer = sgd(
        model.parameters(), 0.1
    )  # made before: its parameters must stay the same objects
    assert syre.parametrize(model) is model
    assert (model(x) - before).abs().max() < 1e-14
    theta = model[0].parametrizations.weight.original
    assert torch.allclose(theta, weight - syre.bias("0.weight", weight), atol=1e-15)
    assert any(p is theta for g in optimizer.param_groups for p in g["params"])
    model[0].weight = torch.ones_like(weight)
    assert (model[0].weight - 1).abs().max() < 1e-14
    effective = sh.effective_parameters(model)
    assert list(effective) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    syre.remove(model)
    assert set(model.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert all(torch.equal(effective[n], p) for n, p in model.named_parameters())
    with pytest.raises(ValueError, match="nothing to remove"):
        syre.remove(model)


def test_tied_weights_are_shifted_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    model[2].weight = model[0].weight
    weight = model[0].weight.detach().clone()
    syre = sh.Syre(0.1, sigma_ratio=1.0)
    syre.parametrize(model)
    for layer in (model[0], model[2]):
        assert (layer.weight - weight).abs().max() < 1e-15
    assert model[0].parametrizations.weight.original is model[2].parametrizations.weight.original
    assert len(sh.effective_parameters(model)) == 3
    syre.remove(model)
    assert model[2].weight is model[0].weight
    assert (model[0].weight - weight).abs().max() < 1e-15


def test_deep_copies_keep_the_advanced_part():
    model, (x, y) = net(), task()
    sh.Syre(0.5, sigma_ratio=1.0, sigma_D=0.5).parametrize(model)
    twin = copy.deepcopy(model)
    for m in (model, twin):
        optimizer = sgd(m.parameters(), 0.5)
        for _ in range(3):
            optimizer.zero_grad()
            (m(x) - y).square().mean().backward()
            optimizer.step()
    assert torch.equal(flat(model), flat(twin))


def test_advanced_parametrize_refuses_decoupled_decay():
    model, (x, _) = net(), task()
    sh.Syre(0.1, sigma_ratio=1.0, sigma_D=0.5).parametrize(model)
    optimizer = adamw(model.parameters(), 0.1)
    model(x).sum().backward()
    with pytest.raises(ValueError, match=r"AdamW.*attach"):
        optimizer.step()


def test_parametrize_warns_when_the_optimizer_decays_otherwise():
    model, (x, _) = net(), task()
    sh.Syre(0.1).parametrize(model)
    optimizer = sgd(model.parameters(), 0.0)
    model(x).sum().backward()
    with pytest.warns(sh.SyreWarning, match=r"weight_decay=0.*0\.1"):
        optimizer.step()


def test_saved_state_restores_everything():
    model = net()
    syre = sh.Syre(0.2, sigma_ratio=0.5, sigma_D=0.1, seed=8)
    syre.attach(sgd(model.parameters(), 0), model)
    state = json.loads(json.dumps(syre.state_dict()))
    bias = syre.bias("0.bias", torch.zeros(7))
    other = sh.Syre()
    other.load_state_dict(state)
    # The scale of a bias comes from the layer's fan-in, which only the saved state knows.
    assert torch.equal(other.bias("0.bias", torch.zeros(7)), bias)
    assert not torch.equal(
        sh.Syre(0.2, 0.5, sigma_D=0.1, seed=8).bias("0.bias", torch.zeros(7)), bias
    )
    assert other.state_dict() == syre.state_dict()
    with pytest.raises(ValueError, match="keys"):
        other.load_state_dict({"seed": 1})
    assert other.state_dict() == syre.state_dict()


def test_changing_the_seed_on_resume_changes_an_attached_pull():
    model = net()
    syre = sh.Syre(1.0, sigma_0=1.0, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    syre.attach(optimizer, model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    syre.load_state_dict(syre.state_dict())
    for seed in (3, 5):
        with pytest.warns(sh.SyreWarning, match=f"the state has seed={seed}, this"):
            syre.load_state_dict(syre.state_dict() | {"seed": seed})
        optimizer.step()  # lr * weight_decay = 1 lands on theta_0
        expected = sh.Syre(1.0, sigma_0=1.0, seed=seed).bias("2.weight", model[2].weight)
        assert torch.allclose(model[2].weight, expected)


def test_moved_and_recast_models_keep_being_pulled():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    sh.Syre(1.0, sigma_0=1.0).attach(optimizer, model)
    for dtype in (torch.float64, torch.float32):
        model.to(dtype)
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        expected = sh.Syre(sigma_0=1.0).bias("0.weight", model[0].weight)
        assert torch.allclose(model[0].weight, expected)


def test_centre_at_pretrained_weights_by_penalty_on_differences():
    """Fine-tuning: Pull lets the centre be anything, here pretrained weights plus theta_0."""
    params = {n: p.detach() for n, p in net().named_parameters()}
    pull = sh.Syre(0.2, sigma_ratio=0.1).pull(params)
    centre = {n: p + pull.centre[n] for n, p in params.items()}
    fine = sh.Pull(0.2, centre=centre)
    for name, p in params.items():
        assert torch.allclose(fine.force(name, p), -0.2 * pull.centre[name], atol=1e-15)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("module.0.weight", "0.weight"),
        ("_orig_mod.module.0.weight", "0.weight"),
        ("a.parametrizations.weight.original", "a.weight"),
        ("a.parametrizations.weight.original0", "a.weight0"),
        ("submodule.weight", "submodule.weight"),
        ("a.module.b", "a.b"),
    ],
)
def test_canonical_names(name, expected):
    assert names.canonical_name(name) == expected


def test_clashing_canonical_names_are_refused():
    model = nn.Module()
    model.weight = nn.Parameter(torch.ones(2))
    model.module = nn.Module()
    model.module.weight = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match="'weight'"):
        names.named_parameters(model)


def test_wrapped_models_get_the_same_bias():
    plain, wrapped = net(), nn.Module()
    wrapped.module = net()
    for model in (plain, wrapped):
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        sh.Syre(1.0, sigma_0=1.0).attach(optimizer, model)
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    assert torch.equal(plain[0].weight, wrapped.module[0].weight)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weight_decay": -0.1}, ["weight_decay=-0.1", ">= 0"]),
        ({"weight_decay": float("nan")}, ["weight_decay=nan"]),
        ({"sigma_ratio": float("inf")}, ["sigma_ratio=inf"]),
        ({"sigma_0": -1.0}, ["sigma_0=-1.0"]),
        ({"sigma_0": 0.1, "sigma_ratio": 0.1}, ["sigma_ratio=0.1", "sigma_0=0.1", "exclude"]),
        ({"sigma_D": 1.0}, ["sigma_D=1.0", "below 1"]),
    ],
)
def test_bad_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=r".") as caught:
        sh.Syre(**settings)
    for word in words:
        assert word in str(caught.value)


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match="weight_decay must be a number"):
        sh.Syre("0.1")
    with pytest.raises(TypeError, match="seed must be an int"):
        sh.Syre(seed=1.5)
    with pytest.raises(TypeError, match=r"'steps' has dtype torch\.int64"):
        sh.Syre().bias("steps", torch.arange(3))


def test_attach_refuses_what_would_mislead():
    model = net()
    with pytest.raises(ValueError, match=r"weight_decay=0\.1"):
        sh.Syre().attach(sgd(model.parameters(), 0.1), model)
    with pytest.raises(ValueError, match="none of the model's parameters"):
        sh.Syre().attach(sgd(net().parameters(), 0), model)
    sh.Syre().parametrize(model)
    with pytest.raises(ValueError, match="under parametrize"):
        sh.Syre().attach(sgd(model.parameters(), 0), model)
    with pytest.raises(ValueError, match="under parametrize"):
        sh.Syre().penalty(model)
    with pytest.raises(ValueError, match="parametrized already"):
        sh.Syre().parametrize(model)
    with pytest.raises(ValueError, match="LSTM"):
        sh.Syre().parametrize(nn.LSTM(3, 3))


def test_low_precision_is_warned_of():
    model = net(torch.bfloat16)
    with pytest.warns(sh.SyreWarning, match="float32 master weights"):
        sh.Syre().attach(sgd(model.parameters(), 0), model)
    single = net(torch.float32)
    with pytest.warns(sh.SyreWarning, match="rounding"):
        sh.Syre(1e-4).attach(torch.optim.SGD(single.parameters(), lr=0.01), single)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh = net(torch.float32)
        sh.Syre(1e-2).attach(torch.optim.SGD(fresh.parameters(), lr=0.1), fresh)


def test_a_large_D_is_warned_of():
    with pytest.warns(sh.SyreWarning, match=r"sigma_D=0\.5"):
        sh.Syre(sigma_D=0.5)


def test_training_from_a_warm_up_at_rate_zero_works():
    model = net(torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sh.Syre(0.1).attach(optimizer, model)
    start = flat(model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.equal(flat(model), start)


# ---- any optimizer, any loop -------------------------------------------------------------------

GROUPS = {"0.weight": 0.1, "0.bias": 0.1, "2.weight": 0.02, "2.bias": 0.02}


def grouped(make):
    """Make an optimizer with another learning rate for each layer."""

    def make_optimizer(model):
        first = [{"params": list(model[0].parameters()), "lr": 0.1}]
        return make([*first, {"params": list(model[2].parameters()), "lr": 0.02}])

    return make_optimizer


OPTIMIZERS = {
    "AdamW foreach": lambda g: torch.optim.AdamW(g, weight_decay=0, foreach=True),
    "AdamW fused": lambda g: torch.optim.AdamW(g, weight_decay=0, fused=True),
    "AdamW loop": lambda g: torch.optim.AdamW(g, weight_decay=0, foreach=False),
    "SGD momentum": lambda g: torch.optim.SGD(g, momentum=0.9, nesterov=True),
    "SGD fused": lambda g: torch.optim.SGD(g, momentum=0.9, fused=True),
    "Adam": torch.optim.Adam,
    "RMSprop": lambda g: torch.optim.RMSprop(g, momentum=0.5, centered=True),
    "Adagrad": torch.optim.Adagrad,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "Adamax": torch.optim.Adamax,
    "Adadelta": torch.optim.Adadelta,
    "ASGD": torch.optim.ASGD,
    "Rprop": torch.optim.Rprop,
}


@torch.no_grad()
def pull_by_hand(syre, model):
    """The pull in full: p - lr * weight_decay * D * (p - theta_0)."""
    for name, p in model.named_parameters():
        difference = p - syre.bias(name, p)
        p.copy_(p - GROUPS[name] * DECAY * syre.metric(name, p) * difference)


def accumulate(model, x, y):
    """Add up the gradients of three parts of the batch."""
    for k in range(3):
        ((model(x[k::3]) - y[k::3]).square().sum() / y.numel()).backward()


@pytest.fixture(params=[True, False], ids=["stored", "computed"])
def store(request, monkeypatch):
    """Attach with theta_0 stored, or computed in every step (here without a compiler)."""
    monkeypatch.setattr(on_the_fly, "_kernel", lambda *_: None)
    return request.param


@pytest.mark.parametrize("sigma_D", [0.0, 0.2], ids=["basic", "advanced"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_with_groups_and_accumulation(name, sigma_D, store):
    make, (x, y) = grouped(OPTIMIZERS[name]), task()
    syre = sh.Syre(DECAY, sigma_ratio=0.3, sigma_D=sigma_D, seed=3)
    runs = [(model, make(model)) for model in (net(), net(), net())]
    (attached, pulled), (by_hand, _), (vanilla, _) = runs
    syre.attach(pulled, attached, store=store)
    for _ in range(10):
        for model, optimizer in runs:
            optimizer.zero_grad()
            accumulate(model, x, y)
            if model is by_hand:
                pull_by_hand(syre, model)
            optimizer.step()
    assert (flat(attached) - flat(by_hand)).abs().max() < 1e-12
    assert (flat(vanilla) - flat(by_hand)).abs().max() > 1e-3


def test_a_closure_is_pulled_after_its_gradients(store):
    """As AdamW decays: the gradient belongs to the parameters before the pull."""
    (x, y), syre = task(), sh.Syre(DECAY, sigma_ratio=0.3)
    make = grouped(OPTIMIZERS["SGD momentum"])
    attached, by_hand = net(), net()
    optimizer, reference = make(attached), make(by_hand)
    syre.attach(optimizer, attached, store=store)
    for step in range(5):

        def closure():
            optimizer.zero_grad()
            loss = (attached(x) - y).square().mean()
            loss.backward()
            return loss

        loss = optimizer.step(closure) if step % 2 else optimizer.step(closure=closure)
        reference.zero_grad()
        expected = (by_hand(x) - y).square().mean()
        expected.backward()
        pull_by_hand(syre, by_hand)
        reference.step()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    assert (flat(attached) - flat(by_hand)).abs().max() < 1e-12


def test_optimizers_that_evaluate_many_times_are_refused():
    model = net()
    with pytest.raises(ValueError, match=r"LBFGS.*syre\.penalty"):
        sh.Syre().attach(torch.optim.LBFGS(model.parameters()), model)
    sh.Syre().attach(sgd(model.parameters(), 0), model)  # nothing was left behind


@pytest.mark.parametrize("name", ["AdamW foreach", "AdamW fused", "SGD momentum", "SGD fused"])
def test_a_step_that_the_gradient_scaler_skips_is_not_pulled(name, store):
    """Fused optimizers are called even then, and leave the parameters alone themselves."""
    (x, y), syre = task(torch.float32), sh.Syre(DECAY, sigma_ratio=0.3)
    make = grouped(OPTIMIZERS[name])
    attached, by_hand = net(torch.float32), net(torch.float32)
    optimizer, reference = make(attached), make(by_hand)
    syre.attach(optimizer, attached, store=store)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(6):
        optimizer.zero_grad()
        scaler.scale((attached(x) - y).square().mean()).backward()
        before = flat(attached).clone()
        if step in (1, 4):
            attached[0].bias.grad[0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
        if step in (1, 4):
            assert torch.equal(flat(attached), before)
            continue
        reference.zero_grad()
        (by_hand(x) - y).square().mean().backward()
        pull_by_hand(syre, by_hand)
        reference.step()
    assert scaler.get_scale() == 256.0, "two steps were skipped"
    assert (flat(attached) - flat(by_hand)).abs().max() < 1e-5


def test_compiled_models_are_pulled_by_their_own_names(store):
    (x, y), syre = task(), sh.Syre(DECAY, sigma_ratio=0.3)
    make = grouped(OPTIMIZERS["AdamW foreach"])
    inner, by_hand = net(), net()
    compiled = torch.compile(inner, backend="eager")
    assert all(name.startswith("_orig_mod.") for name, _ in compiled.named_parameters())
    optimizer, reference = make(inner), make(by_hand)
    syre.attach(optimizer, compiled, store=store)
    for _ in range(5):
        for model, steps in ((compiled, optimizer), (by_hand, reference)):
            steps.zero_grad()
            (model(x) - y).square().mean().backward()
        pull_by_hand(syre, by_hand)
        optimizer.step()
        reference.step()
    assert (flat(inner) - flat(by_hand)).abs().max() < 1e-12
